// This is the server of an article about adding authentication to an API:
// POST /token trades a username and a password for a random token, which lives
// for 15 minutes, and GET /protected opens to whoever shows it.
//
//	go run .            in one terminal
//	go run ./client     in another
//
// main.go holds the flags, the one table of routes, the limits of the HTTP
// server, start and stop. Beyond printing the demo users', it never touches a
// password, nor a token. Read on in auth.go, tokens.go and users.go.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"embed"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"tokenserver/internal/jwt"

	"golang.org/x/crypto/bcrypt"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8001", "listen `address`")
	ttl := flag.Duration("ttl", 15*time.Minute, "how long a token lives")
	kind := flag.String("token", "opaque", "opaque, hs256, rs256 or external")
	cert := flag.String("cert", "", "PEM `file` of the TLS certificate, with -key")
	key := flag.String("key", "", "PEM `file` of the TLS key, with -cert")
	quiet := flag.Bool("quiet", false, "print warnings and errors only")
	help := flag.Bool("h", false, "print this list")
	flag.BoolVar(help, "help", false, "print this list")
	flag.Usage = func() {} // else a wrong flag is answered with the whole list
	flag.Parse()
	if *help {
		flag.PrintDefaults()
		return
	}
	kinds := []string{"opaque", "hs256", "rs256", "external"}
	require(slices.Contains(kinds, *kind), "-token must be one of %v, not %q", kinds, *kind)
	require(*ttl >= time.Second && *ttl <= 8760*time.Hour, "-ttl must be 1s to 8760h, a year")
	require((*cert == "") == (*key == ""), "-cert and -key belong together")
	require(flag.NArg() == 0, "unexpected argument %q", flag.Arg(0))

	level := slog.LevelInfo
	if *quiet {
		level = slog.LevelWarn
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	stopped, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	listener, url := listen(*addr, *cert, *key)
	newServer(*kind, *ttl, url, log).serve(stopped, listener, url, *quiet)
}

// require ends the program over a wrong flag, with the status that package flag uses.
func require(ok bool, complaint string, values ...any) {
	if !ok {
		fail(2, fmt.Sprintf(complaint, values...))
	}
}

// must ends the program over an error, since it cannot start then.
func must[T any](value T, err error) T {
	if err != nil {
		fail(1, err)
	}
	return value
}

func fail(status int, reason any) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(status)
}

// listen opens the port and says under which URL.
func listen(addr, cert, key string) (net.Listener, string) {
	_, err := net.ResolveTCPAddr("tcp", addr)
	host, port, _ := net.SplitHostPort(addr)
	require(err == nil && port != "", "-addr needs a host that exists and a port, not %q", addr)
	listener := must(net.Listen("tcp", addr))
	at := listener.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() { // every interface: no address to go to
		host = "localhost"
	}
	host = net.JoinHostPort(host, fmt.Sprint(at.Port))
	if cert == "" {
		return listener, "http://" + host
	}
	config := &tls.Config{Certificates: []tls.Certificate{must(tls.LoadX509KeyPair(cert, key))}}
	return tls.NewListener(listener, config), "https://" + host
}

// newServer picks the kind of token. With another issuer's tokens come its users, so none
// are kept here.
func newServer(kind string, ttl time.Duration, url string, log *slog.Logger) *server {
	s := &server{tokens: newOpaqueTokens(ttl), ttl: ttl, log: log}
	if kind != "opaque" {
		s.tokens = must(jwt.New(kind, ttl, url, log))
	}
	if kind != "external" {
		s.users = newUsers(bcrypt.DefaultCost)
		s.users.addDemoUsers()
	}
	return s
}

// serve goes on until Ctrl-C or SIGTERM, also if one came during the start. Requests in
// flight then still get their answers, for which there are 10 seconds.
func (s *server) serve(stopped context.Context, l net.Listener, url string, quiet bool) {
	if !quiet {
		s.greet(url)
	}
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() && strings.HasPrefix(url, "http:") {
		s.log.Warn("without -cert and -key, anyone on the network can read passwords and tokens")
	}
	httpServer := withLimits(s.routes(), s.log)
	go func() {
		if err := httpServer.Serve(l); err != http.ErrServerClosed {
			fail(1, err)
		}
	}()
	<-stopped.Done()
	signal.Reset() // a second Ctrl-C does not wait
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	httpServer.Shutdown(patience) // fails only if the 10 seconds were not enough
}

// greet says what to do next.
func (s *server) greet(url string) {
	text := "listening on %[1]s (Ctrl-C to stop)\n"
	if s.users != nil {
		text += "users: user1/password1, user2/password2, and user3/password3 who is disabled\n" +
			"next, in another terminal: go run ./client -url %[1]s, or open %[1]s\n"
	}
	fmt.Printf(text, url)
}

// routes is everything that this server answers to. 404, 405 with Allow and redirects
// are ServeMux's own.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /protected", s.answer(200, "access", s.guard(protected)))
	mux.HandleFunc("GET /users/me", s.answer(200, "access", s.guard(me)))
	mux.HandleFunc("GET /users/me/items", s.answer(200, "access", s.guard(items)))
	mux.HandleFunc("GET /is_logged_in", s.answer(200, "is_logged_in", s.isLoggedIn))
	if s.users != nil {
		mux.HandleFunc("POST /token", s.answer(200, "login", s.issueToken))
		mux.HandleFunc("POST /revoke", s.answer(200, "revocation", s.revoke))
		mux.HandleFunc("POST /register", s.answer(201, "registration", s.register))
		mux.HandleFunc("GET /{$}", page)
		mux.HandleFunc("GET /page.js", page)
		mux.HandleFunc("GET /page.css", page)
	}
	if signed, ok := s.tokens.(*jwt.Service); ok && signed.JWKS() != nil {
		keys := func(*http.Request) (string, any, error) {
			return "", json.RawMessage(signed.JWKS()), nil
		}
		mux.HandleFunc("GET /.well-known/jwks.json", s.answer(200, "keys", keys))
	}

	// A page of another site that is open in the user's browser must not post here: it
	// could try passwords, or register names, from the user's address.
	sameOrigin := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff") // JSON stays JSON
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)      // a password is not a novel
		sameOrigin.ServeHTTP(w, r)
	})
}

//go:embed client/index.html client/page.js client/page.css
var pageFiles embed.FS

// page serves the browser's client. If text were ever inserted as HTML by mistake, the
// policy would still let no script run but the page's own.
func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; "+
		"style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "+
		"form-action 'none'; frame-ancestors 'none'")
	http.ServeFileFS(w, r, pageFiles, "client/"+cmp.Or(r.URL.Path[1:], "index.html"))
}

// withLimits makes an HTTP server in which every wait ends. Otherwise anybody could
// stop it by opening connections and sending nothing.
func withLimits(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second, // headers and body
		WriteTimeout:      15 * time.Second, // the whole answer, hashing included
		IdleTimeout:       60 * time.Second, // between two requests
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
}
