package main

import (
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"tokenserver/internal/apitest"
)

// The last of the exercises in main_test.go stands here, as it starts the program.
func TestExercise5UsersSurviveARestart(t *testing.T) {
	t.Skip("exercise 5: a flag -users that names a file")
	program, folder := apitest.Build(t, ".."), t.TempDir()
	file := folder + "/users"
	start := func() (*apitest.API, func()) {
		return apitest.Start(t, program, "-addr", "127.0.0.1:0", "-users", file)
	}
	a, kill := start()
	a.Register("alice", "correct horse").Status(201)
	before, _ := os.Stat(file)
	a.Register("bob", "correct horse").Status(201)
	kill() // 201 means that both are in the file already

	text, _ := os.ReadFile(file)
	after, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	password := regexp.MustCompile("correct horse|Y29ycmVjdCBob3JzZ") // the latter is base64
	a.Want(password.Match(text), false, "the password in the file")
	private := after.Mode().Perm()&0o077 == 0 || runtime.GOOS == "windows"
	a.Want(private, true, "nobody else may read the file")
	// A crash while writing would lose all users, so a new file takes the place of the old one.
	a.Want(os.SameFile(before, after), false, "the same file after a registration")

	a, kill = start()
	a.Register("alice", "correct horse").Refused(409, "conflict")
	a.Login("alice", "wrong").Refused(401, "invalid_grant")
	a.Show(a.Login("alice", "correct horse").Token()).Status(200)
	a.Show(a.Login("bob", "correct horse").Token()).Status(200)
	a.Show(a.Login("user3", "password3").Token()).Refused(403, "access_denied")
	if os.Rename(folder, folder+"-gone") == nil { // where the file cannot be, 201 would be a lie
		a.Want(a.Register("carol", "correct horse").Code != 201, true, "a refusal")
	}
	kill()

	// Starting without the users would overwrite them at the next registration.
	for _, damaged := range []string{string(text[:len(text)/2]), ""} {
		file := t.TempDir() + "/damaged"
		os.WriteFile(file, []byte(damaged), 0o600)
		status, output := apitest.Run(t, program, "-addr", "127.0.0.1:0", "-users", file)
		a.Want(status, 1, "exit status")
		a.Want(strings.Count(output, "\n"), 1, "lines of "+output)
	}
}
