// Package apitest asks an HTTP API from outside, without a network, and checks what every
// answer must have in common. A rule then reads like a sentence:
//
//	a.Show(token).Refused(401, "invalid_token")
package apitest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An API is a handler and the test that asks it.
type API struct {
	testing.TB
	Handler http.Handler
	Logged  *Log // what the handler logs: no request may leave a secret in it
	Shown   bool // whether go test -v shows each request and answer
}

// An Answer is what came back for one request.
type Answer struct {
	*httptest.ResponseRecorder
	api    *API
	method string
}

const formType = "application/x-www-form-urlencoded"

// Do sends a request with these headers, given as name, value, name, value …
func (a *API) Do(method, path, body string, headers ...string) *Answer {
	a.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8001"+path, strings.NewReader(body))
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	got := &Answer{httptest.NewRecorder(), a, method}
	if a.Shown {
		dump, _ := httputil.DumpRequest(r, true)
		a.Logf("→\n%s", dump)
	}
	before := len(a.Logged.String())
	a.Handler.ServeHTTP(got, r)
	if a.Shown {
		dump, _ := httputil.DumpResponse(got.Result(), true)
		a.Logf("←\n%s", dump)
	}
	if cors := got.Header().Get("Access-Control-Allow-Origin"); cors != "" {
		a.Errorf("got Access-Control-Allow-Origin %q, want none anywhere", cors)
	}
	start := body[:min(len(body), 8<<10)] // no body that is read is longer
	sent := strings.Join(append(headers, path, start, got.Body.String()), " ")
	log := a.Logged.String()
	a.wantNoSecret(log[min(before, len(log)):], sent)
	return got
}

func (a *API) wantNoSecret(log, exchange string) {
	a.Helper()
	for _, match := range secret.FindAllStringSubmatch(exchange, -1) {
		if strings.Contains(log, match[1]) {
			a.Errorf("got %q in the log\n%s", match[1], log)
		}
	}
}

// secret finds passwords and tokens in an exchange, but none so short that it may be a word.
var secret = regexp.MustCompile(`(?:password"?[=:]"?|token"?[=:]"?|Bearer )([^&"\s]{9,})`)

// In returns the same API for another test, for one that only asks: its log is not looked at.
func (a *API) In(t testing.TB) *API {
	return &API{TB: t, Handler: a.Handler, Logged: new(Log)}
}

// Fuzz tries inputs, these and whatever the fuzzer makes of them, on one API.
func Fuzz(f *testing.F, shared *API, seeds []string, try func(a *API, input string)) {
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) { try(shared.In(t), input) })
}

// Get sends one Authorization header for each of authorizations.
func (a *API) Get(path string, authorizations ...string) *Answer {
	a.Helper()
	var headers []string
	for _, value := range authorizations {
		headers = append(headers, "Authorization", value)
	}
	return a.Do("GET", path, "", headers...)
}

// Show sends a token to GET /protected.
func (a *API) Show(token string) *Answer {
	a.Helper()
	return a.Get("/protected", "Bearer "+token)
}

// Post sends a form.
func (a *API) Post(path, form string) *Answer {
	a.Helper()
	return a.Do("POST", path, form, "Content-Type", formType)
}

// Login sends a username and a password to POST /token.
func (a *API) Login(username, password string) *Answer {
	a.Helper()
	return a.Post("/token", url.Values{"username": {username}, "password": {password}}.Encode())
}

// Register sends a username and a password to POST /register.
func (a *API) Register(username, password string) *Answer {
	a.Helper()
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		a.Fatal(err)
	}
	return a.Do("POST", "/register", string(body), "Content-Type", "application/json")
}

// Want compares two values of what.
func (a *API) Want(got, want any, what string) {
	a.Helper()
	if got != want {
		a.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// Status wants this status.
func (got *Answer) Status(want int) *Answer {
	got.api.Helper()
	if got.Code != want {
		got.api.Fatalf("got %d %s, want %d", got.Code, got.Body, want)
	}
	return got
}

// With wants this value of a header; "" means that the header is missing.
func (got *Answer) With(name, want string) *Answer {
	got.api.Helper()
	if value := strings.Join(got.Header()[name], " and "); value != want {
		got.api.Errorf("got %s %q, want %q", name, value, want)
	}
	return got
}

// JSON wants the headers that every JSON answer has, and returns the fields.
func (got *Answer) JSON() (fields map[string]any) {
	got.api.Helper()
	got.With("Content-Type", "application/json").With("Cache-Control", "no-store")
	got.With("X-Content-Type-Options", "nosniff")
	if err := json.Unmarshal(got.Body.Bytes(), &fields); err != nil {
		got.api.Fatalf("got body %q: %v", got.Body, err)
	}
	return fields
}

// Has wants this value of a field in the JSON.
func (got *Answer) Has(field string, want any) *Answer {
	got.api.Helper()
	got.api.Want(got.JSON()[field], want, field)
	return got
}

// Is wants status 200 and exactly this JSON.
func (got *Answer) Is(want string) {
	got.api.Helper()
	got.Status(200).With("Content-Type", "application/json").With("Cache-Control", "no-store")
	got.With("X-Content-Type-Options", "nosniff")
	if got.Body.String() != want {
		got.api.Errorf("got %s, want %s", got.Body, want)
	}
}

// Token wants a successful login, and returns its token.
func (got *Answer) Token() string {
	got.api.Helper()
	token, _ := got.Status(200).JSON()["access_token"].(string)
	if token == "" {
		got.api.Fatalf("got %s, want a token", got.Body)
	}
	return token
}

// Logs wants this to be the last line of the log, at level INFO. reason may be "".
func (got *Answer) Logs(event, username, reason string) {
	got.api.Helper()
	lines := strings.Split(strings.TrimSpace(got.api.Logged.String()), "\n")
	_, line, _ := strings.Cut(lines[len(lines)-1], " ") // the time
	want := "level=INFO msg=" + event + " username=" + username + " client=192.0.2.1:1234"
	if reason != "" {
		want += " reason=" + strconv.Quote(reason)
	}
	got.api.Want(line, want, "the last line of the log")
}

// RFC 6749 §5.2: what an error_description may consist of.
var description = regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`)

// Refused wants this status and code, and all that every refusal has in common.
func (got *Answer) Refused(status int, code string) *Answer {
	got.api.Helper()
	fields := got.Status(status).JSON()
	detail, _ := fields["detail"].(string)
	if fields["error"] != code || fields["error_description"] != detail || len(fields) != 3 {
		got.api.Errorf("got %v, want error %s, and detail equal to error_description",
			fields, code)
	}
	if !description.MatchString(detail) {
		got.api.Errorf("got detail %q, want plain ASCII without quotes", detail)
	}
	challenge := "" // RFC 6750 §3: error= only if a token was sent, and none for forms
	switch {
	case code == "invalid_token", code == "invalid_request" && got.method == "GET":
		challenge = `Bearer realm="token server", error="` + code + `"`
	case status == 401, status == 403:
		challenge = `Bearer realm="token server"`
	}
	return got.With("Www-Authenticate", challenge)
}

// RefusedAs is Refused for tables: want is a status and a code, "401 invalid_token".
func (got *Answer) RefusedAs(want string) *Answer {
	got.api.Helper()
	status, code, _ := strings.Cut(want, " ")
	number, _ := strconv.Atoi(status)
	return got.Refused(number, code)
}

// RefusedWithOneOf wants one of these statuses, and what every refusal has in common.
func (got *Answer) RefusedWithOneOf(statuses ...int) {
	got.api.Helper()
	if !slices.Contains(statuses, got.Code) {
		got.api.Fatalf("got %d %s, want one of %v", got.Code, got.Body, statuses)
	}
	code, _ := got.JSON()["error"].(string)
	got.Refused(got.Code, code)
}

// SameAs wants the same status, headers and body, byte for byte.
func (got *Answer) SameAs(want *Answer) {
	got.api.Helper()
	if got.Code != want.Code || fmt.Sprint(got.Header()) != fmt.Sprint(want.Header()) ||
		got.Body.String() != want.Body.String() {
		got.api.Errorf("got %d %v %s\nwant %d %v %s", got.Code, got.Header(), got.Body,
			want.Code, want.Header(), want.Body)
	}
}

// Pass lets time go by, at once, inside a testing/synctest bubble.
func Pass(d time.Duration) { <-time.After(d) }

// Together does something many times at once, and counts the results.
func Together(times int, do func(i int) int) map[int]int {
	results, counts := make(chan int), make(map[int]int)
	for i := range times {
		go func() { results <- do(i) }()
	}
	for range times {
		counts[<-results]++
	}
	return counts
}

// Memory prints all that can be reached from a value: through pointers, in maps and slices, and
// in fields that are not exported. Bytes are printed as numbers.
func Memory(value any) string {
	var text strings.Builder
	printAll(&text, reflect.ValueOf(value), make(map[uintptr]bool))
	return text.String()
}

func printAll(text *strings.Builder, v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !seen[v.Pointer()] {
			seen[v.Pointer()] = true
			printAll(text, v.Elem(), seen)
		}
	case reflect.Interface:
		printAll(text, v.Elem(), seen)
	case reflect.Struct:
		for i := range v.NumField() {
			printAll(text, v.Field(i), seen)
		}
	case reflect.Map:
		for each := v.MapRange(); each.Next(); {
			printAll(text, each.Key(), seen)
			printAll(text, each.Value(), seen)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			printAll(text, v.Index(i), seen)
		}
	case reflect.Invalid, reflect.Func, reflect.Chan:
	default:
		fmt.Fprint(text, v, " ")
	}
}

// Build builds the program in this folder, and returns its path.
func Build(t testing.TB, folder string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "program.exe") // a name that Windows can start
	if out, err := exec.Command("go", "build", "-o", program, folder).CombinedOutput(); err != nil {
		t.Fatalf("got %v: %s", err, out)
	}
	return program
}

// Run runs a program that should end by itself, for five seconds at most.
func Run(t testing.TB, program string, args ...string) (status int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// Start starts a program that prints its URL, and returns an API that asks it. kill ends the
// program at once, like a power cut.
func Start(t testing.TB, program string, args ...string) (a *API, kill func()) {
	t.Helper()
	a = &API{TB: t, Logged: new(Log)}
	cmd := exec.Command(program, args...)
	cmd.Stderr = a.Logged
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(kill)
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	address, err := url.Parse(regexp.MustCompile(`https?://\S+`).FindString(line))
	if err != nil || address.Host == "" {
		t.Fatalf("got %q and %s, want a URL", line, a.Logged)
	}
	a.Handler = httputil.NewSingleHostReverseProxy(address)
	return a, kill
}

// A Log keeps what is logged, a MiB of it at most. One goroutine may write to it while another
// reads.
type Log struct {
	mu     sync.Mutex // guards buffer
	buffer bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buffer.Len() > 1<<20 {
		l.buffer.Reset()
	}
	return l.buffer.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// Certificate makes a self-signed certificate for 127.0.0.1, and returns its two PEM files.
func Certificate(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template,
		private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "CERTIFICATE", public), writePEM(t, "PRIVATE KEY", secret)
}

func writePEM(t testing.TB, kind string, der []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "file.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Compare reports what two functions cost, in nanoseconds, and the ratio. They take turns.
func Compare(b *testing.B, name1 string, do1 func(), name2 string, do2 func()) {
	var took1, took2 time.Duration
	for b.Loop() {
		start := time.Now()
		do1()
		middle := time.Now()
		do2()
		took1 += middle.Sub(start)
		took2 += time.Since(middle)
	}
	b.ReportMetric(float64(took1)/float64(b.N), "ns/"+name1)
	b.ReportMetric(float64(took2)/float64(b.N), "ns/"+name2)
	b.ReportMetric(float64(took1)/float64(took2), "ratio")
}
