// readme_test.go holds the README to its word: it runs what stands there, and looks up what
// is named there.

package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func readme(t *testing.T) string {
	t.Helper()
	return repository(t)["README.md"]
}

// solving reports whether exercises are being solved: then files may outgrow their limits.
func solving(t *testing.T) bool {
	t.Helper()
	waiting := make(map[string]bool)
	skip := regexp.MustCompile(`(?m)^\tt\.Skip\("exercise (\d)`)
	for name, text := range repository(t) {
		for _, match := range skip.FindAllStringSubmatch(text, -1) {
			if strings.HasSuffix(name, "_test.go") {
				waiting[match[1]] = true
			}
		}
	}
	return len(waiting) < 5
}

// What stands there.

func TestTheREADMEBeginsWithTheTwoCommandsToTry(t *testing.T) {
	beginning := strings.Join(strings.Fields(readme(t))[:60], " ")
	for _, command := range []string{"$ go run .", "$ go run ./client"} {
		if !strings.Contains(beginning+" ", command+" ") {
			t.Errorf("the first 60 words are %q, want %s in them", beginning, command)
		}
	}
	if lines := strings.Count(readme(t), "\n"); lines > 330 && !solving(t) {
		t.Errorf("got %d lines of README, want at most 330", lines)
	}
}

func TestEverythingTheREADMENamesExists(t *testing.T) {
	files := repository(t)
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join("..", filepath.FromSlash(name)))
		return err == nil
	}

	var tests strings.Builder
	for name, text := range files {
		if strings.HasSuffix(name, "_test.go") {
			tests.WriteString(text)
		}
	}
	named := regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w+`).FindAllString(readme(t), -1)
	if len(named) < 20 {
		t.Errorf("got %d tests named in the README, want one for each bug", len(named))
	}
	for _, name := range named {
		if !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("the README names %s, which does not exist", name)
		}
	}

	quoted := regexp.MustCompile("`((?:client|internal/\\w+|\\.ci)/[\\w.]+|\\w+\\.go)`")
	for _, match := range quoted.FindAllStringSubmatch(readme(t), -1) {
		if !exists(match[1]) {
			t.Errorf("the README names %s, which does not exist", match[1])
		}
	}

	// "`auth.go`, `issueToken` and `guard`", where the file may be a link.
	stops := regexp.MustCompile("`([\\w/]+\\.go)`(?:\\]\\([^)]*\\))?((?:,? (?:and )?`\\w+`)+)")
	for _, stop := range stops.FindAllStringSubmatch(readme(t), -1) {
		there := declared(t, stop[1])
		for _, name := range regexp.MustCompile(`\w+`).FindAllString(stop[2], -1) {
			if name != "and" && !slices.Contains(there, name) {
				t.Errorf("the README names %s of %s, which has %v", name, stop[1], there)
			}
		}
	}

	links := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, link := range links.FindAllStringSubmatch(readme(t), -1) {
		file, heading, _ := strings.Cut(link[1], "#")
		switch {
		case strings.Contains(link[1], "://"):
		case file == "" && !slices.Contains(anchors(readme(t)), heading),
			file != "" && !exists(file):
			t.Errorf("the README links to %s, which does not exist", link[1])
		}
	}
}

// declared returns the names of what is declared in a file: functions, methods, types,
// constants and variables.
func declared(t *testing.T, name string) (names []string) {
	t.Helper()
	text, ok := repository(t)[name]
	if !ok {
		t.Errorf("the README names %s, which does not exist", name)
		return nil
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// anchors returns what GitHub makes of the headings, for links to them.
func anchors(text string) (names []string) {
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		name := strings.ReplaceAll(strings.ToLower(match[1]), " ", "-")
		names = append(names, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, ""))
	}
	return names
}

func TestTheREADMECountsLinesRight(t *testing.T) {
	if solving(t) {
		t.Skip("exercises are being solved, which adds lines")
	}
	lines := func(name string) int {
		text, ok := repository(t)[name]
		if !ok {
			t.Errorf("the README counts the lines of %s, which does not exist", name)
		}
		return strings.Count(text, "\n")
	}
	// "`auth.go`, 250 lines" or "[auth.go](auth.go), 250 lines"
	sizes := regexp.MustCompile("[`[]([\\w./]+\\.\\w+)[`\\]]+(?:\\([^)]*\\))?, (\\d+) lines")
	counted := sizes.FindAllStringSubmatch(readme(t), -1)
	if len(counted) < 5 {
		t.Errorf("got %d files with their lines, want all that are to be read", len(counted))
	}
	for _, size := range counted {
		if got := lines(size[1]); size[2] != fmt.Sprint(got) {
			t.Errorf("the README counts %s lines in %s, want %d", size[2], size[1], got)
		}
	}
	root := lines("main.go") + lines("auth.go") + lines("tokens.go") + lines("users.go")
	if sum := fmt.Sprintf(" %d lines with their comments", root); !strings.Contains(
		strings.Join(strings.Fields(readme(t)), " "), sum) {
		t.Errorf("the README has no%s", sum)
	}
}

// The transcript of the tests cannot be executed: this test is a part of it.
func TestTheREADMEShowsHowToRunTheTests(t *testing.T) {
	var shown string
	for _, block := range consoleBlocks(readme(t)) {
		if len(block) == 1 && block[0].command == testCommand {
			shown = block[0].output
		}
	}
	tested := make(map[string]bool) // packages, and whether they have tests
	for name := range repository(t) {
		if path.Ext(name) == ".go" {
			folder := path.Join("tokenserver", path.Dir(name))
			tested[folder] = tested[folder] || strings.HasSuffix(name, "_test.go")
		}
	}
	var want []string
	for folder, hasTests := range tested {
		if hasTests {
			want = append(want, "ok "+folder)
		} else {
			want = append(want, "? "+folder+" [no test files]")
		}
	}
	var got []string
	for line := range strings.Lines(shown) {
		line = regexp.MustCompile(` \d+\.\d+s$`).ReplaceAllString(
			strings.Join(strings.Fields(line), " "), "")
		got = append(got, line)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("$ %s: got %q in a block of its own, want %q", testCommand, got, want)
	}
}

const testCommand = "go test ./..."

// The transcripts.

// The README's console blocks are commands and what they print. This test runs them
// all, in their order: a server goes on until another one takes its port.
func TestTheREADMEsTranscriptsAreTrue(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is missing, which the README's transcripts use")
		}
	}
	r := &reader{t: t, servers: make(map[string]*process), ports: strings.NewReplacer(
		"127.0.0.1:8001", freeAddress(t), "127.0.0.1:8002", freeAddress(t))}
	r.shell = startShell(t, binary(t, "client"))
	ran := 0
	for _, block := range consoleBlocks(readme(t)) {
		for _, step := range block {
			if step.command == testCommand {
				continue
			}
			ran++
			got, want := mask(r.run(step.command)), mask(r.ports.Replace(step.output))
			if got != want {
				t.Errorf("$ %s\ngot\n%s\nwant\n%s", step.command, got, want)
			}
		}
	}
	if ran < 5 {
		t.Errorf("got %d commands in the README, want the whole story", ran)
	}
}

// A reader types what the README shows.
type reader struct {
	t       *testing.T
	ports   *strings.Replacer // from the README's ports to free ones
	servers map[string]*process
	shell   *shell
}

var serverCommand = regexp.MustCompile(`^((?:\w+=\S+ )*)go run \.( .*)?$`)

func (r *reader) run(command string) (output string) {
	r.t.Helper()
	match := serverCommand.FindStringSubmatch(r.ports.Replace(command))
	if match == nil {
		client := `"$CLIENT" -url http://127.0.0.1:8001`
		command = strings.ReplaceAll(command, "go run ./client", client)
		return r.shell.run(r.ports.Replace(command))
	}
	args := strings.Fields(match[2])
	if !slices.Contains(args, "-addr") {
		args = append(args, "-addr", r.ports.Replace("127.0.0.1:8001"))
	}
	address := args[slices.Index(args, "-addr")+1]
	if old := r.servers[address]; old != nil {
		old.stop()
	}
	r.servers[address] = startProgramWith(r.t, strings.Fields(match[1]), args...)
	return r.servers[address].stdout.String()
}

type step struct{ command, output string }

func consoleBlocks(text string) [][]step {
	var blocks [][]step
	console := regexp.MustCompile("(?s)```console\n(.*?)```")
	for _, match := range console.FindAllStringSubmatch(text, -1) {
		var block []step
		for line := range strings.Lines(match[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				block = append(block, step{command: strings.TrimSpace(command)})
			} else {
				block[len(block)-1].output += line
			}
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// mask takes out what differs from run to run: tokens, opaque or signed, and times.
func mask(output string) string {
	for _, what := range []string{`eyJ[\w-]+\.[\w-]+\.[\w-]+`, `\b[A-Za-z0-9]{32}\b`,
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`} {
		output = regexp.MustCompile(what).ReplaceAllString(output, "…")
	}
	return strings.TrimSpace(output)
}

// A shell keeps its variables from one command to the next.
type shell struct {
	t      *testing.T
	stdin  io.Writer
	stdout *bufio.Reader
}

func startShell(t *testing.T, client string) *shell {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh") // which ends it, should a command hang
	cmd.Env = append(cleanEnvironment(), "CLIENT="+client)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		stdin.Close()
		cmd.Wait()
	})
	return &shell{t, stdin, bufio.NewReader(stdout)}
}

func (s *shell) run(command string) (output string) {
	s.t.Helper()
	const end = "the end of the output"
	fmt.Fprintf(s.stdin, "%s\necho; echo %s\n", command, end)
	for {
		line, err := s.stdout.ReadString('\n')
		if err != nil {
			s.t.Fatalf("$ %s: %v after %q", command, err, output)
		}
		if strings.TrimSpace(line) == end {
			return output
		}
		output += line
	}
}

// The program in the text.

// The README's one block of Go is a whole program. Only its port is changed here.
func TestTheProgramInTheREADMEWorksWithTheClient(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) != 1 {
		t.Fatalf("got %d blocks of Go in the README, want one", len(blocks))
	}
	source := blocks[0][1]
	if lines := strings.Count(source, "\n"); lines > 90 {
		t.Errorf("got %d lines, want at most 90", lines)
	}
	const port = "127.0.0.1:8001"
	if !strings.Contains(source, port) {
		t.Fatalf("it does not listen on %s, want the port that the client asks", port)
	}
	p := startSource(t, source, port)

	status, got := runClient(t, "-url", p.url)
	want := regexp.MustCompile(`^Access Token: (\S+)
Authorization: Bearer (\S+)
\{"message":"Success to authentication, user1!"\}\s*$`)
	m := want.FindStringSubmatch(got)
	if status != 0 || m == nil || m[1] != m[2] {
		t.Fatalf("got exit status %d and\n%s\nwant 0 and %s", status, got, want)
	}
	status, got = runClient(t, "-url", p.url, "-password", "wrong")
	if status != 1 || strings.Contains(got, "Access Token") ||
		!regexp.MustCompile(`Error: .*Incorrect username or password`).MatchString(got) ||
		!strings.Contains(got, "Failed to get access token.") {
		t.Errorf("got exit status %d and\n%s\nwant 1 and both refusals", status, got)
	}
	for authorization, want := range map[string]int{
		"": 401, "Bearer": 401, "Bearer x": 401, m[1]: 401, "Bearer " + m[1] + "x": 401,
		"Bearer " + m[1]: 200,
	} {
		status, got := p.request(t, "GET", "/protected", "", "Authorization", authorization)
		if status != want || strings.Contains(got, "Success") != (want == 200) {
			t.Errorf("Authorization %q: got %d and %s, want %d", authorization, status, got, want)
		}
	}
	for _, form := range []string{"", "username=nobody", "username=&password=",
		"username=nobody&password=password1", "username=user1&password=password2"} {
		if status, got := p.request(t, "POST", "/token", form); status != 401 {
			t.Errorf("login with %q: got %d and %s, want 401", form, status, got)
		}
	}
}

// startSource builds a program of one file, in a folder of its own with the dependencies of
// this repository, and starts it on a free port.
func startSource(t *testing.T, source, port string) *process {
	t.Helper()
	folder, address := t.TempDir(), freeAddress(t)
	for name, text := range map[string]string{
		"main.go": strings.ReplaceAll(source, port, address),
		"go.mod":  repository(t)["go.mod"],
		"go.sum":  repository(t)["go.sum"],
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(folder, "program.exe") // the name that Windows wants
	build := exec.Command("go", "build", "-o", program)
	build.Dir = folder
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "GOPROXY=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p, err := startProcess(program, nil, "-quiet", "-addr", address) // which it ignores
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop() })
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return p
		}
	}
	t.Fatalf("nothing listens on %s: %s", address, &p.stderr)
	return nil
}
