package httpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"tokenserver/internal/apitest"
)

// A pipe accepts connections within this process. They can be in a bubble, where time passes
// at once.
type pipe chan net.Conn

func (p pipe) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipe) Close() error   { close(p); return nil }
func (p pipe) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p pipe) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

// A world is a Port in a bubble, serving.
type world struct {
	*testing.T
	port    *Port
	pipe    pipe
	conns   []net.Conn // of the clients
	log     *apitest.Log
	stopped func() error // waits until Serve returns
}

// serve serves in a bubble until the test is over.
func (w *world) serve(handler http.Handler, hosts ...string) {
	w.port.listener, w.port.signals = w.pipe, make(chan os.Signal, 1)
	returned := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(w.log, nil))
	go func() { returned <- w.port.Serve(handler, log, hosts...) }()
	w.stopped = sync.OnceValue(func() error { return <-returned })
}

// stop is the end of a bubble: all goroutines in it must have ended.
func (w *world) stop() {
	for _, conn := range w.conns {
		conn.Close()
	}
	select {
	case w.port.signals <- os.Interrupt:
	default: // the test has sent one
	}
	w.stopped()
	time.Sleep(time.Minute) // until the slowest handler is done
}

// bubble serves handler in a bubble for a test.
func bubble(t *testing.T, handler http.HandlerFunc, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, port: new(Port), pipe: make(pipe), log: new(apitest.Log)}
		w.serve(handler)
		defer w.stop()
		test(w)
	})
}

// send opens a connection and writes to it.
func (w *world) send(text string) (net.Conn, *bufio.Reader) {
	w.Helper()
	conn := w.pipe.dial()
	w.conns = append(w.conns, conn)
	if _, err := io.WriteString(conn, text); err != nil {
		w.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func (w *world) wantStatus(answers *bufio.Reader, want int) *http.Response {
	w.Helper()
	got, err := http.ReadResponse(answers, nil)
	if err != nil || got.StatusCode != want {
		w.Fatalf("got %v, %v, want %d", got, err, want)
	}
	return got
}

func ok(http.ResponseWriter, *http.Request) {}

const (
	get  = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	post = "POST / HTTP/1.1\r\nHost: localhost\r\n" // and what body there will be
)

// Waiting.

func TestTheServerNeverWaitsForever(t *testing.T) {
	readAll := func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, "the body broke off", 400)
		}
	}
	for _, c := range []struct {
		statement, sent string
		handler         http.HandlerFunc
		after           time.Duration
		answer          string
	}{
		{"a client that sends nothing", "", ok, 5 * time.Second, ""},
		{"one that stops in the headers", "GET / HTTP/1.1\r\nHost: localhost\r\n", ok,
			5 * time.Second, ""},
		{"one that stops in the body", post + "Content-Length: 99\r\n\r\nusername=user1", readAll,
			10 * time.Second, "400 Bad Request"},
		{"one that stops between requests", get, ok, 60 * time.Second, "200 OK"},
	} {
		t.Run(c.statement, func(t *testing.T) {
			bubble(t, c.handler, func(w *world) {
				start := time.Now()
				conn, _ := w.send(c.sent)
				answer, _ := io.ReadAll(conn) // until the server hangs up
				took := time.Since(start).Truncate(time.Second)
				if took != c.after || !strings.Contains(string(answer), c.answer) {
					t.Errorf("got cut off after %v with %q, want %v and %q",
						took, answer, c.after, c.answer)
				}
			})
		})
	}
}

func TestAClientThatReadsNoAnswerIsGivenUpAfter15Seconds(t *testing.T) {
	took := make(chan time.Duration, 1)
	large := func(w http.ResponseWriter, _ *http.Request) {
		start := time.Now()
		w.Write(make([]byte, 1<<20)) // returns when the connection is cut off
		took <- time.Since(start)
	}
	bubble(t, large, func(w *world) {
		w.send(get)
		time.Sleep(time.Minute)
		if got := <-took; got != 15*time.Second {
			t.Errorf("got cut off after %v, want 15s", got)
		}
	})
}

func TestAThousandSilentConnectionsStopNobody(t *testing.T) {
	bubble(t, ok, func(w *world) {
		for range 1000 {
			w.send("GET / HTTP/1.1\r\n")
		}
		start := time.Now()
		_, answers := w.send(get)
		w.wantStatus(answers, 200)
		if took := time.Since(start); took != 0 {
			t.Errorf("got the answer after %v, want at once", took)
		}
	})
}

func TestLargeHeadersAreRefused(t *testing.T) {
	bubble(t, ok, func(w *world) {
		for size, want := range map[int]int{16 << 10: 200, 24 << 10: 431} {
			conn, answers := w.send("GET / HTTP/1.1\r\nHost: localhost\r\n")
			go fmt.Fprintf(conn, "X: %s\r\n\r\n", strings.Repeat("x", size))
			w.wantStatus(answers, want)
		}
	})
}

// Early refusals.

// earlyRefusals are answered before the body is read.
var earlyRefusals = []struct{ statement, request string }{
	{"Expect: 100-continue", "Content-Length: 44\r\nExpect: 100-continue\r\n"},
	{"an announced body that never comes", "Content-Length: 44\r\n"},
	{"a chunked body that never comes", "Transfer-Encoding: chunked\r\n"},
	{"a body that is too large", "Content-Length: 99999999\r\n"},
}

func TestARefusalBeforeTheBodyComesAtOnce(t *testing.T) {
	for _, c := range earlyRefusals {
		for host, status := range map[string]int{"localhost": 415, "evil.example": 403} {
			t.Run(c.statement+" at "+host, func(t *testing.T) {
				refuse := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(415) }
				bubble(t, refuse, func(w *world) {
					start := time.Now()
					at := strings.Replace(post, "localhost", host, 1)
					_, answers := w.send(at + c.request + "\r\n")
					w.wantStatus(answers, status)
					if took := time.Since(start); took != 0 {
						t.Errorf("got the answer after %v, want at once", took)
					}
				})
			})
		}
	}
}

// If the connection were used again, a body that comes late could be taken for a request.
func TestALateBodyIsNeverTakenForARequest(t *testing.T) {
	for _, c := range earlyRefusals {
		t.Run(c.statement, func(t *testing.T) {
			var requests atomic.Int32
			refuse := func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.WriteHeader(415)
			}
			bubble(t, refuse, func(w *world) {
				conn, answers := w.send(post + c.request + "\r\n")
				got := w.wantStatus(answers, 415)
				if !got.Close {
					t.Error("got a connection that stays open, want Connection: close")
				}
				io.WriteString(conn, get+get) // the body
				io.Copy(io.Discard, answers)
				if got := requests.Load(); got != 1 {
					t.Errorf("got %d requests, want 1", got)
				}
			})
		})
	}
}

func TestAReadBodyReachesTheHandlerAndABodilessRequestKeepsTheConnection(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }
	bubble(t, echo, func(w *world) {
		_, answers := w.send(post + "Content-Length: 5\r\n\r\nhello")
		if got, err := io.ReadAll(w.wantStatus(answers, 200).Body); string(got) != "hello" {
			t.Errorf("got %q, %v, want hello", got, err)
		}
		conn, answers := w.send(get)
		if w.wantStatus(answers, 200).Close {
			t.Error("got the connection closed after a GET, want it kept")
		}
		io.WriteString(conn, get)
		w.wantStatus(answers, 200)
	})
}

// Stopping.

// slow answers after this time.
func slow(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { time.Sleep(d) }
}

func TestAStopLetsRequestsInFlightFinish(t *testing.T) {
	bubble(t, slow(9*time.Second), func(w *world) {
		_, answers := w.send(get)
		synctest.Wait() // until the handler has the request
		start := time.Now()
		w.port.signals <- os.Interrupt
		w.wantStatus(answers, 200)
		if err, took := w.stopped(), time.Since(start); err != nil || took.Truncate(time.Second) !=
			9*time.Second {
			t.Errorf("got %v after %v, want a stop after 9s", err, took)
		}
	})
}

func TestAStopWaitsFor10SecondsAtMost(t *testing.T) {
	bubble(t, slow(14*time.Second), func(w *world) {
		w.send(get)
		synctest.Wait()
		start := time.Now()
		w.port.signals <- os.Interrupt
		if err, took := w.stopped(), time.Since(start); err != nil || took != 10*time.Second {
			t.Errorf("got %v after %v, want a stop after 10s", err, took)
		}
	})
}

func TestAStoppedServerTakesNoNewConnections(t *testing.T) {
	p, err := Open("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.Serve(http.HandlerFunc(ok), slog.New(slog.DiscardHandler)) }()
	if got, err := http.Get(p.URL); err != nil || got.StatusCode != 200 {
		t.Errorf("got %v, %v, want 200", got, err)
	}
	p.signals <- os.Interrupt
	if err := <-stopped; err != nil {
		t.Errorf("got %v, want a stop without an error", err)
	}
	if got, err := http.Get(p.URL); err == nil {
		t.Errorf("got %v after the stop, want no answer", got)
	}
}

// The first signal may come before Serve does. After it, nobody listens for signals any more,
// so the second has its usual effect: the end of the program.
func TestASecondSignalHasItsUsualEffect(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	mine := make(chan os.Signal, 2) // or the second signal would end this test
	signal.Notify(mine, os.Interrupt)
	defer signal.Stop(mine)
	if err := self.Signal(os.Interrupt); err != nil {
		t.Skip("a process cannot be interrupted here: ", err)
	}
	<-mine
	if err := p.Serve(http.HandlerFunc(ok), slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("got %v, want a stop at once", err)
	}
	self.Signal(os.Interrupt)
	<-mine
	if got := len(p.signals); got != 0 {
		t.Error("got the second signal kept from its usual effect")
	}
}

func TestAFailureToServeIsReturned(t *testing.T) {
	p, err := Open("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	p.listener.Close()
	err = p.Serve(http.HandlerFunc(ok), slog.New(slog.DiscardHandler))
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

func TestAPanicInAHandlerIsLoggedAndTheServerGoesOn(t *testing.T) {
	panics := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("oops")
		}
	}
	bubble(t, panics, func(w *world) {
		_, answers := w.send(strings.Replace(get, "/", "/panic", 1))
		if got, err := http.ReadResponse(answers, nil); err == nil {
			t.Errorf("got %v from a handler that panicked, want no answer", got)
		}
		_, answers = w.send(get)
		w.wantStatus(answers, 200)
		if log := w.log.String(); !strings.Contains(log, "level=ERROR") ||
			!strings.Contains(log, "oops") {
			t.Errorf("got log %q, want the panic in it", log)
		}
	})
}

// Who is answered.

func TestOnlyKnownHostsAreAnswered(t *testing.T) {
	handler := Protect(http.HandlerFunc(ok), "api.example", "")
	for host, want := range map[string]int{
		"localhost":               200,
		"localhost:8001":          200,
		"LOCALHOST:8001":          200,
		"127.0.0.1":               200,
		"127.0.0.1:8001":          200,
		"127.0.0.2:8001":          200,
		"192.168.1.10:8001":       200,
		"[::1]":                   200,
		"[::1]:8001":              200,
		"[fe80::1%25eth0]:8001":   200,
		"api.example":             200,
		"api.example:443":         200,
		"Api.Example":             200,
		"":                        403,
		":8001":                   403,
		"evil.example":            403,
		"evil.example:8001":       403,
		"localhost.evil.example":  403,
		"evil.localhost":          403,
		"localhost@evil.example":  403,
		"127.0.0.1.evil.example":  403,
		"127.0.0.1.nip.io:8001":   403,
		"api.example.evil":        403,
		"evil-api.example":        403,
		"api.example, evil.test":  403,
		"0x7f000001:8001":         403,
		"[localhost.evil.example": 403,
	} {
		t.Run(host, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Host = host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != want || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("got %d %v, want %d and nosniff", w.Code, w.Header(), want)
			}
			if want == 403 && (!strings.Contains(w.Body.String(), "-host") ||
				!strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain")) {
				t.Errorf("got %v %q, want plain text that names the flag", w.Header(), w.Body)
			}
		})
	}
}

func TestTheNameInTheAddressAndTheGivenNamesAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, port: &Port{host: "named.example"}, pipe: make(pipe),
			log: new(apitest.Log)}
		w.serve(http.HandlerFunc(ok), "given.example")
		defer w.stop()
		for host, want := range map[string]int{
			"named.example": 200, "given.example": 200, "other.example": 403} {
			_, answers := w.send(strings.Replace(get, "localhost", host, 1))
			w.wantStatus(answers, want)
		}
	})
}

func TestAnotherSitesPageCannotPostHere(t *testing.T) {
	handler := Protect(http.HandlerFunc(ok))
	for _, c := range []struct {
		method, header, value string
		want                  int
	}{
		{"POST", "Sec-Fetch-Site", "cross-site", 403},
		{"POST", "Sec-Fetch-Site", "same-site", 403},
		{"POST", "Origin", "https://evil.example", 403},
		{"POST", "Origin", "http://127.0.0.1:9999", 403},
		{"POST", "Origin", "null", 403},
		{"DELETE", "Origin", "https://evil.example", 403},
		{"POST", "Sec-Fetch-Site", "same-origin", 200},
		{"POST", "Sec-Fetch-Site", "none", 200},
		{"POST", "Origin", "http://127.0.0.1:8001", 200},
		{"POST", "User-Agent", "curl", 200},
		{"GET", "Sec-Fetch-Site", "cross-site", 200},
	} {
		t.Run(fmt.Sprint(c.method, " ", c.header, ": ", c.value), func(t *testing.T) {
			r := httptest.NewRequest(c.method, "http://127.0.0.1:8001/", nil)
			r.Header.Set(c.header, c.value)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != c.want || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("got %d %v, want %d and nosniff", w.Code, w.Header(), c.want)
			}
		})
	}
}

// Opening.

func TestThePortHasAURLThatCanBeOpened(t *testing.T) {
	for addr, want := range map[string]struct {
		url     string
		exposed bool
	}{
		"localhost:0": {"http://localhost:", false}, // a certificate may be for this name
		"127.0.0.1:0": {"http://127.0.0.1:", false},
		"[::1]:0":     {"http://[::1]:", false},
		"0.0.0.0:0":   {"http://localhost:", true},
		":0":          {"http://localhost:", true},
	} {
		t.Run(addr, func(t *testing.T) {
			p, err := Open(addr, "", "")
			if err != nil {
				t.Skip("this machine has no such address: ", err)
			}
			defer p.listener.Close()
			if !strings.HasPrefix(p.URL, want.url) || p.Exposed != want.exposed {
				t.Errorf("got %s, %v, want %s…, %v", p.URL, p.Exposed, want.url, want.exposed)
			}
			go p.Serve(http.HandlerFunc(ok), slog.New(slog.DiscardHandler))
			got, err := http.Get(p.URL)
			if err != nil || got.StatusCode != 200 {
				t.Errorf("got %v, %v, want 200", got, err)
			}
			http.DefaultClient.CloseIdleConnections()
			p.signals <- os.Interrupt
		})
	}
}

func TestAnAddressOfTheNetworkIsExposed(t *testing.T) {
	addresses, _ := net.InterfaceAddrs()
	for _, address := range addresses {
		ip := address.(*net.IPNet).IP
		p, err := Open(net.JoinHostPort(ip.String(), "0"), "", "")
		if err != nil {
			continue // a link-local address needs a zone
		}
		p.listener.Close()
		if p.Exposed == ip.IsLoopback() {
			t.Errorf("%v: got exposed: %v", ip, p.Exposed)
		}
	}
}

func TestAPortThatCannotBeOpenedIsAnError(t *testing.T) {
	taken, err := Open("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.listener.Close()
	cert, key := apitest.Certificate(t)
	for statement, c := range map[string]struct{ addr, cert, key string }{
		"an address without a port": {"127.0.0.1", "", ""},
		"a taken port":              {strings.TrimPrefix(taken.URL, "http://"), "", ""},
		"a missing certificate":     {"127.0.0.1:0", cert + "x", key},
		"a missing key":             {"127.0.0.1:0", cert, key + "x"},
		"a key for a certificate":   {"127.0.0.1:0", key, key},
	} {
		t.Run(statement, func(t *testing.T) {
			if p, err := Open(c.addr, c.cert, c.key); err == nil {
				t.Errorf("got %v, want an error", p)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line", err)
			}
		})
	}
}

func TestPlainHTTPBeyondLoopbackPrintsAWarning(t *testing.T) {
	for _, c := range []struct {
		url             string
		exposed, warned bool
	}{
		{"http://localhost", true, true},
		{"https://localhost", true, false},
		{"http://localhost", false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{T: t, port: &Port{URL: c.url, Exposed: c.exposed}, pipe: make(pipe),
				log: new(apitest.Log)}
			w.serve(http.HandlerFunc(ok))
			w.stop()
			if log := w.log.String(); strings.Contains(log, "level=WARN") != c.warned ||
				strings.Contains(log, "passwords and tokens") != c.warned {
				t.Errorf("%v: got log %q, want a warning: %v", c, log, c.warned)
			}
		})
	}
}

// TLS.

func TestWithTLSClientsGetHTTP2OrHTTP1(t *testing.T) {
	cert, key := apitest.Certificate(t)
	p, err := Open("127.0.0.1:0", cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(p.URL, "https://127.0.0.1:") {
		t.Errorf("got %s, want https", p.URL)
	}
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(cert); err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate", err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.Serve(http.HandlerFunc(ok), slog.New(slog.DiscardHandler)) }()
	for protocol, offer := range map[string]string{"HTTP/2.0": "h2", "HTTP/1.1": "http/1.1"} {
		transport := &http.Transport{ForceAttemptHTTP2: offer == "h2",
			TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: []string{offer}}}
		got, err := (&http.Client{Transport: transport}).Get(p.URL)
		if err != nil || got.Proto != protocol || got.TLS.NegotiatedProtocol != offer {
			t.Errorf("got %v, %v, want %s", got, err, protocol)
		}
		transport.CloseIdleConnections()
	}
	plain, err := http.Get("http" + strings.TrimPrefix(p.URL, "https"))
	if err == nil && plain.StatusCode != 400 {
		t.Errorf("got %d for plain HTTP, want none or 400", plain.StatusCode)
	}
	p.signals <- os.Interrupt
	if err := <-stopped; err != nil {
		t.Errorf("got %v, want a stop without an error", err)
	}
}

// http2 is bubble for HTTP/2: ask sends a request to the handler and returns the answer.
func http2(t *testing.T, handler http.HandlerFunc,
	test func(t *testing.T, ask func(*http.Request) (*http.Response, error))) {
	t.Helper()
	cert, key := apitest.Certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		pipe := make(pipe)
		config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
		p := &Port{listener: tls.NewListener(pipe, config), signals: make(chan os.Signal, 1)}
		stopped := make(chan error, 1)
		go func() { stopped <- p.Serve(handler, slog.New(slog.DiscardHandler)) }()
		transport := &http.Transport{ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // it is the year 2000 here
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return pipe.dial(), nil
		}
		test(t, transport.RoundTrip)
		transport.CloseIdleConnections()
		p.signals <- os.Interrupt
		<-stopped
	})
}

func TestTheLimitsHoldForHTTP2(t *testing.T) {
	var read chan error // what reading a body ends with
	readAll := func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	}
	http2(t, readAll, func(t *testing.T, ask func(*http.Request) (*http.Response, error)) {
		read = make(chan error, 1)
		body, end := io.Pipe() // nothing comes out of it
		defer end.Close()
		start := time.Now()
		go ask(httptest.NewRequest("POST", "https://localhost/", body))
		if err, took := <-read, time.Since(start); err == nil || took != 10*time.Second {
			t.Errorf("got %v after %v for a slow body, want an error after 10s", err, took)
		}
		r := httptest.NewRequest("GET", "https://localhost/", nil)
		r.Header.Set("X", strings.Repeat("x", 24<<10))
		if got, err := ask(r); err == nil && got.StatusCode != 431 {
			t.Errorf("got %v for headers of 24 KiB, want a refusal", got)
		}
	})
}

func TestARefusalBeforeTheBodyComesAtOnceOverHTTP2(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(415) }
	http2(t, refuse, func(t *testing.T, ask func(*http.Request) (*http.Response, error)) {
		body, end := io.Pipe()
		defer end.Close()
		r := httptest.NewRequest("POST", "https://localhost/", body)
		r.ContentLength = 44
		start := time.Now()
		got, err := ask(r)
		if took := time.Since(start); err != nil || got.StatusCode != 415 || took != 0 {
			t.Errorf("got %v, %v after %v, want 415 at once", got, err, took)
		}
	})
}
