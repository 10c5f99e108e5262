// program_test.go is the specification of the two programs, seen from outside. It starts the
// server and the client and knows nothing of either but its command line and the protocol.
//
// Tests with a server of their own are parallel: while it hashes the passwords of its demo
// users, it keeps one processor busy.

package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"tokenserver/internal/apitest"
)

const goodLogin = "username=user1&password=password1"

// Starting.

func TestTheProgramSaysWhereItListensAndWhatToTypeNext(t *testing.T) {
	p := sharedProgram(t)
	want := strings.ReplaceAll(`listening on URL
  page      URL
  client    go run ./client -url URL
  users     user1/password1, user2/password2, user3/password3 (disabled)
  stop      Ctrl-C
`, "URL", p.url)
	if got := p.stdout.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheProgramPrintsAnAddressThatOpens(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"localhost:0": "http://localhost:", // a certificate may be for this name
		"127.0.0.1:0": "http://127.0.0.1:",
		"0.0.0.0:0":   "http://localhost:",
		":0":          "http://localhost:",
	} {
		p := startProgram(t, "-addr", addr, "-demo=false")
		if !strings.HasPrefix(p.url, want) {
			t.Errorf("-addr %s: got %s, want %s…", addr, p.url, want)
		}
		if status, _ := p.request(t, "GET", "/", ""); status != 200 {
			t.Errorf("-addr %s: got %d from %s, want 200", addr, status, p.url)
		}
	}
}

func TestABadCommandLineIsOneLineAndStatus2(t *testing.T) {
	for args, want := range map[string]string{
		"-ttl soon":               "-ttl",
		"-ttl 0":                  "-ttl",
		"-ttl -15m":               "-ttl",
		"-ttl 999ms":              "-ttl must be 1s to 8760h",
		"-ttl 8760h1s":            "-ttl must be 1s to 8760h",
		"-addr=":                  "-addr",
		"-addr 8001":              `such as 127.0.0.1:8001, not "8001"`,
		"-addr 127.0.0.1:":        "-addr",
		"-addr 127.0.0.1:99999":   "-addr",
		"-addr 127.0.0.1:0 -x":    "-x",
		"-addr 127.0.0.1:0 hello": "hello",
		"-cert cert.pem":          "-key",
		"-key key.pem":            "-cert",
		"-quiet=perhaps":          "-quiet",
		"-demo=perhaps":           "-demo",
		"-token paper":            "paper",
		"-host a.example:8001":    "-host",
		"-host http://a.example":  "-host",
	} {
		wantOneLine(t, 2, want, nil, strings.Fields(args)...)
	}
}

func TestAStartupFailureIsOneLineAndStatus1(t *testing.T) {
	taken := sharedProgram(t).address()
	wantOneLine(t, 1, taken+": bind: ", nil, "-addr", taken)

	const addr = "-addr=127.0.0.1:0"
	cert, key := apitest.Certificate(t)
	wantOneLine(t, 1, filepath.Base(key)+"x", nil, addr, "-cert", cert, "-key", key+"x")
	wantOneLine(t, 1, "PEM", nil, addr, "-cert", filepath.Join("..", "go.mod"), "-key", key)

	set := func(settings ...string) []string { return settings }
	// Where a warning would be due, too, the error is still the only line.
	wantOneLine(t, 1, "JWT_SECRET", set("JWT_SECRET=short"), "-addr=0.0.0.0:0", "-token=hs256")
	wantOneLine(t, 1, "JWT_KEY_FILE", set("JWT_KEY_FILE="+cert), addr, "-token=rs256")
	wantOneLine(t, 1, "JWT_AUDIENCE", set("JWT_ISSUER=https://issuer.example"), addr,
		"-token=external")
	wantOneLine(t, 1, "https", set("JWT_ISSUER=http://issuer.example", "JWT_AUDIENCE=a"), addr,
		"-token=external")
}

func TestHelpListsTheFlagsAndTheSettings(t *testing.T) {
	out, err := exec.Command(binary(t, "tokenserver"), "-h").CombinedOutput()
	if err != nil {
		t.Errorf("got %v, want exit status 0", err)
	}
	for _, name := range []string{"-addr", "-ttl", "-token", "-host", "-cert", "-key", "-demo",
		"-quiet", "JWT_SECRET", "JWT_KEY_FILE", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL"} {
		if !regexp.MustCompile(`(?m)^ +` + name + `\b`).Match(out) {
			t.Errorf("got\n%s\nwant a line on %s", out, name)
		}
	}
}

func TestQuietPrintsWarningsOnly(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-quiet", "-addr", freeAddress(t))
	p.untilItListens(t)
	if status, got := runClient(t, "-url", p.url); status != 0 {
		t.Errorf("got exit status %d and %s from the client, want 0", status, got)
	}
	runClient(t, "-url", p.url, "-password", "wrong")
	p.wantCleanStop(t)
	if got := p.stdout.String() + p.stderr.String(); got != "" {
		t.Errorf("got %q, want nothing", got)
	}

	_, port, _ := net.SplitHostPort(freeAddress(t))
	p = startProgram(t, "-quiet", "-demo=false", "-addr", "0.0.0.0:"+port)
	p.untilItListens(t)
	p.request(t, "GET", "/protected", "") // answered, so the start is over
	p.wantCleanStop(t)
	if got := p.stdout.String(); got != "" || len(p.warnings()) != 1 {
		t.Errorf("got %q and warnings %q, want one warning only", got, p.warnings())
	}
}

// Warnings.

func TestPlainHTTPBeyondLoopbackPrintsAWarning(t *testing.T) {
	t.Parallel()
	wantWarnings(t, nil, []string{"-addr=0.0.0.0:0", "-demo=false"}, "passwords and tokens")
	wantWarnings(t, nil, []string{"-addr=127.0.0.1:0"})
	cert, key := apitest.Certificate(t)
	wantWarnings(t, nil, []string{"-addr=0.0.0.0:0", "-demo=false", "-cert", cert, "-key", key})
}

func TestDemoUsersBeyondLoopbackPrintAWarning(t *testing.T) {
	t.Parallel()
	cert, key := apitest.Certificate(t)
	wantWarnings(t, nil, []string{"-addr=0.0.0.0:0"}, "demo users", "passwords and tokens")
	wantWarnings(t, nil, []string{"-addr=0.0.0.0:0", "-cert", cert, "-key", key}, "demo users")
}

func TestASettingThatIsIgnoredPrintsAWarning(t *testing.T) {
	t.Parallel()
	all := []string{"JWT_SECRET=" + strings.Repeat("s", 32), "JWT_KEY_FILE=key.pem",
		"JWT_ISSUER=https://issuer.example", "JWT_AUDIENCE=a",
		"JWT_JWKS_URL=https://issuer.example/keys"}
	wantWarnings(t, all, []string{"-demo=false", "-addr=127.0.0.1:0"},
		"JWT_SECRET", "JWT_KEY_FILE", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL")
	wantWarnings(t, all, []string{"-demo=false", "-addr=127.0.0.1:0", "-token=hs256"},
		"JWT_KEY_FILE", "JWT_JWKS_URL")
	wantWarnings(t, all, []string{"-addr=127.0.0.1:0", "-token=external"},
		"JWT_SECRET", "JWT_KEY_FILE")
}

// wantWarnings starts the server and wants these warnings, in this order, and no other line.
func wantWarnings(t *testing.T, settings, args []string, want ...string) {
	t.Helper()
	p, err := startProcess(binary(t, "tokenserver"), settings, args...)
	if err != nil {
		t.Fatal(err)
	}
	// It prints warnings after the greeting. Being killed, as on Windows, could come first.
	for deadline := time.Now().Add(5 * time.Second); len(p.warnings()) < len(want) &&
		time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	p.wantCleanStop(t)
	got := p.warnings()
	if len(got) != len(want) || strings.Count(p.stderr.String(), "\n") != len(want) {
		t.Errorf("%v: got %s, want %d warnings and nothing else", args, &p.stderr, len(want))
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%v: got warning %s, want one with %q", args, got[i], want[i])
		}
	}
}

func (p *process) warnings() (lines []string) {
	for line := range strings.Lines(p.stderr.String()) {
		if strings.Contains(line, " level=WARN ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// What the flags change.

func TestWithoutDemoUsersOnlyRegisteredUsersLogIn(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "-demo=false")
	if got := p.stdout.String(); strings.Contains(got, "user1") {
		t.Errorf("got greeting %q, want no demo users in it", got)
	}
	if status, got := runClient(t, "-url", p.url); status != 1 {
		t.Errorf("got exit status %d and %s for user1, want 1", status, got)
	}
	status, got := p.request(t, "POST", "/register",
		`{"username":"user1","password":"correct horse"}`, "Content-Type", "application/json")
	if status != 201 {
		t.Fatalf("got %d and %s, want 201", status, got)
	}
	if status, got := runClient(t, "-url", p.url, "-password", "correct horse"); status != 0 {
		t.Errorf("got exit status %d and %s after registering, want 0", status, got)
	}
}

func TestTheTTLFlagSaysHowLongATokenIsValid(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"opaque", "hs256"} {
		p := startProgram(t, "-ttl", "1m30s", "-token", kind)
		_, text := p.request(t, "POST", "/token", goodLogin)
		var answer struct {
			Seconds int       `json:"expires_in"`
			Expires time.Time `json:"expires_at"`
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("got %s: %v", text, err)
		}
		left := time.Until(answer.Expires)
		if answer.Seconds < 89 || answer.Seconds > 90 ||
			left < time.Minute || left > 90*time.Second {
			t.Errorf("%s: got %s, want a token for 90 seconds", kind, text)
		}
	}
}

func TestOnlyOurOwnHostNamesAreAnswered(t *testing.T) {
	plain := sharedProgram(t)
	named := startProgram(t, "-demo=false", "-host", "api.example")
	for _, c := range []struct {
		server *process
		host   string
		want   int // 401: it gets as far as the guard
	}{
		{plain, "127.0.0.1", 401}, {plain, "127.0.0.1:8001", 401}, {plain, "[::1]:8001", 401},
		{plain, "localhost", 401}, {plain, "LOCALHOST:80", 401}, {plain, "192.0.2.1", 401},
		{plain, "evil.example", 403}, {plain, "evil.example:8001", 403},
		{plain, "api.example", 403}, {plain, "localhost.evil.example", 403},
		{named, "api.example", 401}, {named, "Api.Example:443", 401}, {named, "localhost", 401},
		{named, "evil.example", 403}, {named, "x.api.example", 403},
	} {
		status, got := c.server.request(t, "GET", "/protected", "", "Host", c.host)
		if status != c.want || status == 403 && !strings.Contains(got, "-host") {
			t.Errorf("Host: %s: got %d and %s, want %d", c.host, status, got, c.want)
		}
	}
}

func TestAServerForAnotherIssuersTokensSaysWhatItTrusts(t *testing.T) {
	keys := "http://" + freeAddress(t) + "/keys" // where nothing answers
	p := startProgramWith(t, []string{"JWT_ISSUER=https://issuer.example/",
		"JWT_AUDIENCE=https://api.example", "JWT_JWKS_URL=" + keys + "?secret"},
		"-token", "external")
	want := "listening on " + p.url + `
  takes     RS256 tokens
  issuer    https://issuer.example/
  audience  https://api.example
  keys      ` + keys + `
  stop      Ctrl-C
`
	if got := p.stdout.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for request, want := range map[string]int{ // it has no users, so it issues nothing
		"POST /token": 404, "POST /register": 404, "POST /revoke": 404, "GET /": 404,
		"GET /page.js": 404, "GET /.well-known/jwks.json": 404,
		"GET /protected": 401, "GET /users/me": 401, "GET /users/me/items": 401,
		"GET /is_logged_in": 200,
	} {
		method, path, _ := strings.Cut(request, " ")
		if status, got := p.request(t, method, path, goodLogin); status != want {
			t.Errorf("%s: got %d and %s, want %d", request, status, got, want)
		}
	}

	// Whether a token is good, it cannot know without the keys.
	part := base64.RawURLEncoding.EncodeToString
	forged := part([]byte(`{"alg":"RS256","typ":"JWT","kid":"1"}`)) + "." + part([]byte("{}")) +
		"." + part([]byte("signature"))
	if status, got := p.request(t, "GET", "/protected", "",
		"Authorization", "Bearer "+forged); status != 503 {
		t.Errorf("got %d and %s without keys, want 503", status, got)
	}
	p.wantCleanStop(t)
	wantLogFormat(t, p, forged, "secret")
	if got := p.warnings(); len(got) != 1 || !strings.Contains(got[0], "keys not fetched") {
		t.Errorf("got warnings %q, want one on the keys", got)
	}
}

func TestThePageIsServedWithAStrictPolicy(t *testing.T) {
	p := sharedProgram(t)
	for path, contentType := range map[string]string{
		"/":         "text/html; charset=utf-8",
		"/page.js":  "text/javascript; charset=utf-8",
		"/page.css": "text/css; charset=utf-8",
	} {
		got, err := web.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if value := got.Header.Get("Content-Type"); got.StatusCode != 200 || value != contentType {
			t.Errorf("%s: got %d and %s, want 200 and %s", path, got.StatusCode, value, contentType)
		}
		policy := got.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
			!strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: got policy %q, want one that starts from nothing", path, policy)
		}
	}
	for _, path := range []string{"/main.go", "/client/main.go", "/client/", "/index.html"} {
		if status, _ := p.request(t, "GET", path, ""); status != 404 {
			t.Errorf("%s: got %d, want 404", path, status)
		}
	}
}

// The log.

func TestTheLogHasOneLineForEachEvent(t *testing.T) {
	t.Parallel()
	p := startProgram(t)
	_, answer := p.request(t, "POST", "/token", goodLogin)
	token := regexp.MustCompile(`\w{32}`).FindString(answer)
	p.request(t, "GET", "/protected?access_token="+token, "", "Authorization", "Bearer "+token)
	p.request(t, "GET", "/protected", "", "Authorization", "Bearer unknown")
	p.request(t, "POST", "/token", "username=user1&password=wrong-password")
	p.request(t, "POST", "/revoke", "token="+token)
	p.request(t, "POST", "/register", `{"username":"alice","password":"correct horse"}`,
		"Content-Type", "application/json")
	p.wantCleanStop(t)

	events := []string{`INFO login user1`, `INFO access user1`, `INFO access refused ""`,
		`INFO login refused user1`, `INFO revocation user1`, `INFO registration alice`}
	var got []string
	line := regexp.MustCompile(
		`(?m)^time=\S+ level=(\w+) msg="?([\w ]+?)"? username=(\S*) client=127\.0\.0\.1:\d+\b`)
	for _, match := range line.FindAllStringSubmatch(p.stderr.String(), -1) {
		got = append(got, strings.Join(match[1:], " "))
	}
	if !slices.Equal(got, events) {
		t.Errorf("got %q from\n%s\nwant %q", got, &p.stderr, events)
	}
	wantLogFormat(t, p, token, "password1", "wrong-password", "correct horse", "unknown ")
}

// wantLogFormat wants each line of a log to have the same form, and no secret in it.
func wantLogFormat(t *testing.T, p *process, secrets ...string) {
	t.Helper()
	const value = `([^\s"=]+|"([^"\\]|\\.)*")`
	line := regexp.MustCompile(`^time=\S+Z level=[A-Z]+ msg=` + value + `( \w+=` + value + `)*$`)
	log := strings.TrimSuffix(p.stderr.String(), "\n")
	for got := range strings.SplitSeq(log, "\n") {
		if !line.MatchString(got) {
			t.Errorf("got %q in the log, want a line as all others", got)
		}
	}
	for _, secret := range append(secrets, "?") {
		if strings.Contains(log, secret) {
			t.Errorf("got %q in the log\n%s", secret, log)
		}
	}
}

// TLS.

func TestTLSKeepsPasswordsOffTheNetwork(t *testing.T) {
	t.Parallel()
	cert, key := apitest.Certificate(t)
	p := startProgram(t, "-cert", cert, "-key", key)
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") {
		t.Fatalf("got URL %s, want https", p.url)
	}
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(cert); err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate", err)
	}
	for protocol, offer := range map[string][]string{
		"HTTP/2.0": {"h2", "http/1.1"},
		"HTTP/1.1": {"http/1.1"},
	} {
		transport := &http.Transport{ForceAttemptHTTP2: protocol == "HTTP/2.0",
			TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: offer}}
		client := &http.Client{Transport: transport, Timeout: patience}
		got, err := client.PostForm(p.url+"/token",
			url.Values{"username": {"user1"}, "password": {"password1"}})
		if err != nil || got.StatusCode != 200 || got.Proto != protocol ||
			got.TLS.NegotiatedProtocol != offer[0] {
			t.Errorf("offering %v: got %v, %v, want 200 over %s", offer, got, err, protocol)
		}
		if err == nil {
			got.Body.Close()
		}
		transport.CloseIdleConnections()
	}
	if got, err := web.Get("http" + p.url[len("https"):] + "/protected"); err == nil &&
		got.StatusCode != 400 {
		t.Errorf("got %d for plain HTTP on the TLS port, want none or 400", got.StatusCode)
	}
}

// Stopping.

func TestALoginInFlightIsFinishedOnCtrlCAndSIGTERM(t *testing.T) {
	skipWithoutSignals(t)
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := startProgram(t)
		finish := loginInFlight(t, p)
		p.stopListening(t, signal)
		if got, err := finish(); err != nil || got.StatusCode != 200 {
			t.Fatalf("%v: got %v, %v, want 200", signal, got, err)
		}
		if got := p.wait(); got != 0 {
			t.Errorf("%v: got exit status %d, want 0", signal, got)
		}
	}
}

func TestASecondSignalDoesNotWaitForLoginsInFlight(t *testing.T) {
	skipWithoutSignals(t)
	t.Parallel()
	p := startProgram(t, "-demo=false")
	finish := loginInFlight(t, p)
	p.stopListening(t, syscall.SIGTERM)
	if got := p.stop(); got != -1 {
		t.Errorf("got exit status %d, want the signal to end the program", got)
	}
	if got, err := finish(); err == nil {
		t.Errorf("got %v, want no answer any more", got)
	}
}

func TestASignalDuringStartupStopsTheProgram(t *testing.T) {
	skipWithoutSignals(t)
	t.Parallel()
	p := startProgram(t, "-quiet", "-addr", freeAddress(t))
	p.untilItListens(t) // and computes the hashes of the demo users' passwords
	p.wantCleanStop(t)
}

// loginInFlight sends a login all but its body, which finish sends.
func loginInFlight(t *testing.T, p *process) (finish func() (*http.Response, error)) {
	t.Helper()
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", formType, len(goodLogin))
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n') // it is reading the body now
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v, want 100 Continue", line, err)
	}
	answers.ReadString('\n')
	return func() (*http.Response, error) {
		io.WriteString(conn, goodLogin)
		return http.ReadResponse(answers, nil)
	}
}

// The client.

func TestTheClientLogsInAndOpensProtected(t *testing.T) {
	p := sharedProgram(t)
	status, got := runClient(t, "-url", p.url+"/")
	want := regexp.MustCompile(`^Access Token: (\w{32})
Authorization: Bearer (\w{32})
{"message":"Success to authentication, user1!"}
$`)
	if m := want.FindStringSubmatch(got); status != 0 || m == nil || m[1] != m[2] {
		t.Errorf("got exit status %d and\n%s\nwant 0 and %s", status, got, want)
	}
}

func TestTheClientShowsBothRefusalsOfAFailedLogin(t *testing.T) {
	p := sharedProgram(t)
	status, got := runClient(t, "-url", p.url, "-username", "nobody", "-password", "x")
	const want = `Error: {"detail":"Incorrect username or password",` +
		`"error":"invalid_grant","error_description":"Incorrect username or password"}
Failed to get access token.
{"detail":"Not authenticated","error":"unauthorized","error_description":"Not authenticated"}
`
	if status != 1 || got != want {
		t.Errorf("got exit status %d and\n%s\nwant 1 and\n%s", status, got, want)
	}
}

func TestTheClientExitsWith1IfARequestFails(t *testing.T) {
	p := sharedProgram(t)
	status, got := runClient(t, "-url", p.url, "-username", "user3", "-password", "password3")
	if status != 1 || !strings.Contains(got, "Inactive user") {
		t.Errorf("got %d and %s for a disabled user, want 1", status, got)
	}
}

func TestTheClientSaysOnceThatNoServerAnswers(t *testing.T) {
	address := freeAddress(t)
	status, got := runClient(t, "-url", "http://"+address)
	want := regexp.MustCompile(`^Error: .*dial tcp ` + address + `: .+
Failed to get access token\.
Is the server running\? Start it with: go run \.
$`)
	if status != 1 || !want.MatchString(got) {
		t.Errorf("got exit status %d and\n%s\nwant 1 and %s", status, got, want)
	}
}

func TestTheClientTrustsOnly200AndFollowsNoRedirect(t *testing.T) {
	var strayed atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved/token", "/moved/protected", "/half-moved/protected":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/half-moved/token":
			io.WriteString(w, `{"access_token":"x"}`)
		case "/elsewhere":
			strayed.Store(true)
		case "/created/token":
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"access_token":"x"}`)
		case "/empty/token":
			io.WriteString(w, `{}`)
		case "/broken/token":
			io.WriteString(w, `{"access_token":"x"`)
		case "/gone/token":
			panic(http.ErrAbortHandler) // no answer at all
		}
	}))
	defer srv.Close()
	for _, path := range []string{"/moved", "/created", "/empty", "/broken", "/gone"} {
		status, got := runClient(t, "-url", srv.URL+path)
		if status != 1 || !strings.Contains(got, "Failed to get access token.") ||
			strings.Contains(got, "Bearer") {
			t.Errorf("%s: got exit status %d and %s, want 1 and no token", path, status, got)
		}
	}
	if status, got := runClient(t, "-url", srv.URL+"/half-moved"); status != 1 {
		t.Errorf("got exit status %d and %s for a redirect of /protected, want 1", status, got)
	}
	if strayed.Load() {
		t.Error("the client followed a redirect")
	}
}
