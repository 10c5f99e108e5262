// helpers_test.go builds the two programs, starts them as a user would, and reads what they
// print. It tests nothing itself.

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for a program before it gives up: far longer than any
// of them takes, so a busy machine fails no test, and a program that hangs fails only one.
const patience = 30 * time.Second

// web is the HTTP client of the tests.
var web = &http.Client{Timeout: patience}

func TestMain(m *testing.M) {
	if os.Getenv("SERVE_WITHOUT_GUARD") != "" {
		serveWithoutGuard()
		return
	}
	code := m.Run()
	stopBrowser()
	if shared.process != nil {
		shared.process.stop()
	}
	os.RemoveAll(binaries) // "" if no test needed any
	os.Exit(code)
}

// A process is a program that a test has started.
type process struct {
	cmd            *exec.Cmd
	url            string // where it listens
	stdout, stderr safeBuffer
	wait           func() (exitStatus int) // until it ends
}

// startProgram starts the server and reads its greeting. It listens on a free port, unless
// the arguments name one. It is stopped at the end of the test at the latest.
func startProgram(t testing.TB, args ...string) *process {
	t.Helper()
	return startProgramWith(t, nil, args...)
}

// startProgramWith adds to the environment, as in JWT_ISSUER=https://issuer.example.
func startProgramWith(t testing.TB, environment []string, args ...string) *process {
	t.Helper()
	if !slices.Contains(args, "-addr") {
		args = append(args, "-addr", "127.0.0.1:0")
	}
	p, err := startProcess(binary(t, "tokenserver"), environment, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// shared is one server for all tests that leave no trace in it. It starts with the first
// test that needs it: hashing the demo users' passwords takes most of a test's time.
var shared struct {
	sync.Mutex // guards process
	*process
}

func sharedProgram(t testing.TB) *process {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.process == nil {
		p, err := startProcess(binary(t, "tokenserver"), nil, "-addr", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		shared.process = p
	}
	return shared.process
}

// startProcess returns when the program has printed its greeting, the last line of which
// says how to stop it, or at once if it was told to be quiet.
func startProcess(program string, environment []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...)}
	p.cmd.Env = append(cleanEnvironment(), environment...)
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	kill := func() { p.cmd.Process.Kill() }
	lines := bufio.NewReader(stdout)
	p.wait = sync.OnceValue(func() int {
		defer time.AfterFunc(patience, kill).Stop()
		io.Copy(&p.stdout, lines)
		p.cmd.Wait()
		return p.cmd.ProcessState.ExitCode()
	})
	if slices.Contains(args, "-quiet") {
		p.url = "http://" + args[slices.Index(args, "-addr")+1]
		return p, nil
	}
	defer time.AfterFunc(patience, kill).Stop()
	for line := ""; !strings.HasPrefix(line, "  stop"); {
		if line, err = lines.ReadString('\n'); err != nil {
			status := p.wait()
			return nil, fmt.Errorf("%s %v: got status %d, stdout %q and stderr %q, want a greeting",
				program, args, status, &p.stdout, &p.stderr)
		}
		io.WriteString(&p.stdout, line)
	}
	p.url = regexp.MustCompile(`https?://\S+`).FindString(p.stdout.String())
	return p, nil
}

// cleanEnvironment leaves out settings that are in force where the tests run.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "JWT_")
	})
}

// stop asks the program to stop, and waits until it has. Windows cannot ask: it kills.
func (p *process) stop() (exitStatus int) {
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		p.cmd.Process.Kill()
	}
	return p.wait()
}

// wantCleanStop stops the program. What it has printed until then is complete afterwards.
func (p *process) wantCleanStop(t testing.TB) {
	t.Helper()
	if status := p.stop(); status != 0 && runtime.GOOS != "windows" {
		t.Errorf("got exit status %d and %s after SIGTERM, want 0", status, &p.stderr)
	}
}

func skipWithoutSignals(t testing.TB) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("on Windows one process cannot send another a signal")
	}
}

// untilItListens waits for a quiet program.
func (p *process) untilItListens(t testing.TB) {
	t.Helper()
	p.dialUntil(t, func(err error) bool { return err == nil })
}

// stopListening stops the server, which then still finishes what is in flight.
func (p *process) stopListening(t testing.TB, signal os.Signal) {
	t.Helper()
	p.cmd.Process.Signal(signal)
	p.dialUntil(t, func(err error) bool { return err != nil })
}

func (p *process) dialUntil(t testing.TB, done func(error) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", p.address())
		if err == nil {
			conn.Close()
		}
		if done(err) {
			return
		}
	}
	t.Fatalf("%s: nothing changed within %v; stderr: %s", p.url, patience, &p.stderr)
}

// address is the host and port it listens on.
func (p *process) address() string {
	_, address, _ := strings.Cut(p.url, "://")
	return address
}

// request sends a request to the server, with headers given as name, value, name, value …
// The body is a form, unless the headers say something else.
func (p *process) request(t testing.TB, method, path, body string, headers ...string) (
	status int, text string) {
	t.Helper()
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", formType)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

const formType = "application/x-www-form-urlencoded"

func runClient(t testing.TB, args ...string) (exitStatus int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t, "client"), args...)
	out, err := cmd.Output()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// wantOneLine starts the server and wants it to end at once.
func wantOneLine(t *testing.T, status int, want string, environment []string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience) // else a start never ends
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t, "tokenserver"), args...)
	cmd.Env = append(cleanEnvironment(), environment...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Run()
	got := stderr.String()
	if cmd.ProcessState.ExitCode() != status || strings.Count(got, "\n") != 1 ||
		!strings.Contains(got, want) || stdout.Len() > 0 {
		t.Errorf("%v: got exit status %d, stdout %q and stderr %q, want %d and one line with %q",
			args, cmd.ProcessState.ExitCode(), stdout.String(), got, status, want)
	}
}

// A safeBuffer may be written by one goroutine and read by another.
type safeBuffer struct {
	mu     sync.Mutex // guards buffer
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// binary returns the path of a program: "tokenserver" or "client". Both are built once, for
// all tests.
func binary(t testing.TB, name string) string {
	t.Helper()
	repository(t)
	if err := build(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(binaries, name)
}

var (
	binaries string // a folder that build makes and TestMain removes
	build    = sync.OnceValue(func() (err error) {
		if binaries, err = os.MkdirTemp("", "tokenserver"); err != nil {
			return err
		}
		out, err := exec.Command("go", "build", "-o", binaries, "..", ".").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
)

// repository returns the text of each file of the repository by its path, dotfiles aside.
//
// It has one more purpose. go test runs a test again only if its own code has changed, or a
// file that the test itself has opened. The programs are built and their sources read by
// another process, so without the reading here, the result of an older version would stand.
func repository(t testing.TB) map[string]string {
	t.Helper()
	texts, err := readRepository()
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

var readRepository = sync.OnceValues(func() (map[string]string, error) {
	texts := make(map[string]string)
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		hidden := name != "." && strings.HasPrefix(path.Base(name), ".")
		switch {
		case err != nil:
			return err
		case hidden && entry.IsDir():
			return fs.SkipDir
		case hidden || !entry.Type().IsRegular():
			return nil
		}
		text, err := fs.ReadFile(root, name)
		// On Windows, git may end lines in \r\n.
		texts[name] = strings.ReplaceAll(string(text), "\r\n", "\n")
		return err
	})
	return texts, err
})

// freeAddress returns an address on which nothing listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
