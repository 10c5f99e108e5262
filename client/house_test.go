// house_test.go holds every Go file of this repository to what a machine can check: which file
// may import what, and how long files, functions and lines may be.

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const root = "../"

// Each file says in its first paragraph what it never touches.
func TestEachFileImportsOnlyWhatItNeeds(t *testing.T) {
	rooms := map[string][]string{ // an import, and who may have it
		"net/http":    {"main.go", "auth.go", "client/", "internal/httpd/", "internal/jwt/"},
		"crypto/rand": {"tokens.go", "internal/jwt/"},
		"os":          {"main.go", "client/", "internal/httpd/", "internal/jwt/"},
		"flag":        {"main.go", "client/"},
		"embed":       {"main.go"},

		"golang.org/x/crypto/bcrypt":      {"users.go"},
		"tokenserver/internal/apitest":    {}, // tests only
		"tokenserver/internal/httpd":      {"main.go"},
		"tokenserver/internal/jwt":        {"main.go", "auth.go"},
		"tokenserver/internal/recent":     {"tokens.go", "users.go"},
		"tokenserver/internal/strictjson": {"auth.go", "internal/jwt/"},
	}
	for _, file := range sourceFiles(t) {
		for _, imported := range parse(t, file).Imports {
			path := strings.Trim(imported.Path.Value, `"`)
			allowed, listed := rooms[path]
			mayImport := func(room string) bool { return strings.HasPrefix(file, room) }
			if listed && !slices.ContainsFunc(allowed, mayImport) {
				t.Errorf("%s imports %s, want that in %v only", file, path, allowed)
			}
			first, _, _ := strings.Cut(path, "/")
			if !listed && (strings.Contains(first, ".") || first == "tokenserver") {
				t.Errorf("%s imports %s, want the standard library or a line in this table",
					file, path)
			}
		}
	}
}

func TestARoomNamesOnlyThisOfAnother(t *testing.T) {
	for file, want := range map[string]string{
		"auth.go": "jwt.ErrUnavailable", // but does not know how a token is made
	} {
		name, _, _ := strings.Cut(want, ".")
		got := regexp.MustCompile(`\b`+name+`\.[A-Z]\w+`).FindAllString(code(t, file), -1)
		if !slices.Equal(slices.Compact(got), []string{want}) {
			t.Errorf("%s names %v, want %s only", file, got, want)
		}
	}
	for _, file := range sourceFiles(t) {
		settings := strings.HasPrefix(file, "internal/jwt/")
		if !settings && strings.Contains(code(t, file), "os.Getenv") {
			t.Errorf("%s reads the environment, want only package jwt to do so", file)
		}
	}
}

func TestFilesAndFunctionsAreShortEnoughToRead(t *testing.T) {
	if solving(t) {
		t.Skip("solutions of exercises may take more lines")
	}
	rooms := map[string]int{} // lines of each folder, tests aside
	for _, file := range sourceFiles(t) {
		text := source(t, file)
		lines := strings.Count(text, "\n")
		room, _, nested := strings.Cut(file, "/")
		if !nested {
			room = "root"
			wantAtMost(t, 250, lines, file)
		}
		rooms[room] += lines
		for _, declared := range parse(t, file).Decls {
			if f, ok := declared.(*ast.FuncDecl); ok {
				body := text[f.Pos()-1 : f.End()-1]
				wantAtMost(t, 30, strings.Count(body, "\n")+1, file+", func "+f.Name.Name)
			}
		}
	}
	wantAtMost(t, 680, rooms["root"], "the root")
	wantAtMost(t, 890, rooms["internal"], "internal/")
	wantAtMost(t, 80, rooms["client"], "client/")
	wantAtMost(t, 1150, strings.Count(source(t, "main_test.go"), "\n"), "main_test.go")
}

func wantAtMost(t *testing.T, want, got int, what string) {
	t.Helper()
	if got > want {
		t.Errorf("%s: got %d lines, want at most %d", what, got, want)
	}
}

func TestLinesAreShortEnoughToRead(t *testing.T) {
	for _, file := range goFiles(t) {
		for i, line := range strings.Split(source(t, file), "\n") {
			line = strings.ReplaceAll(line, "\t", "    ")
			if columns := utf8.RuneCountInString(line); columns > 100 {
				t.Errorf("%s:%d: got %d columns, want at most 100", file, i+1, columns)
			}
		}
	}
}

// Only main.go's paragraph is attached to package main: go doc would join them.
func TestEachFileOpensWithAParagraph(t *testing.T) {
	for _, file := range sourceFiles(t) {
		parsed := parse(t, file)
		if !strings.HasPrefix(source(t, file), "//") {
			t.Errorf("%s: got no paragraph at the top, want what it holds", file)
		}
		if !strings.Contains(file, "/") && (parsed.Doc != nil) != (file == "main.go") {
			t.Errorf("%s: got %v attached to the package, want main.go's only", file, parsed.Doc)
		}
	}
}

func TestThereIsNoInitAndNoGlobalMux(t *testing.T) {
	for _, file := range sourceFiles(t) {
		hidden := regexp.MustCompile(`(?m)^func init\(|\bhttp\.Handle(Func)?\(|DefaultServeMux`)
		if found := hidden.FindString(code(t, file)); found != "" {
			t.Errorf("%s: got %q, want nothing that acts from afar", file, found)
		}
	}
}

// sourceFiles lists what is read as part of the program, tests and their helpers aside.
func sourceFiles(t *testing.T) []string {
	return slices.DeleteFunc(goFiles(t), func(file string) bool {
		return strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "internal/apitest/")
	})
}

func goFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.go", "client/*.go", "internal/*/*.go"} {
		matches, err := filepath.Glob(root + pattern)
		if err != nil || matches == nil {
			t.Fatalf("got %v and %v for %s", matches, err, pattern)
		}
		for _, match := range matches {
			files = append(files, strings.TrimPrefix(filepath.ToSlash(match), root))
		}
	}
	return files
}

func source(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(root + file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// code returns a file without its comments.
func code(t *testing.T, file string) string {
	return regexp.MustCompile(`(?m)(^|\s)//.*$`).ReplaceAllString(source(t, file), "")
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source(t, file), parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
