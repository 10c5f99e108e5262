// Tokenserver adds authentication to an API: POST /token exchanges a username and a password for a
// random token, valid for 15 minutes, and GET /protected answers anyone who presents it.
//
//	go run .            in one terminal
//	go run ./client     in another
//
// main.go holds the routes and the start of the program. It prints the passwords of the demo
// users but otherwise touches no password and no token. Read on in auth.go.
package main

import (
	"cmp"
	"embed"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
	"tokenserver/internal/httpd"
	"tokenserver/internal/jwt"
)

type server struct {
	users      *users // nil with -token external: the users are at the issuer
	tokens     tokenService
	signed     bool            // whether other servers can check the tokens, too
	publicKeys json.RawMessage // to check them with, or nil
	log        *slog.Logger
}

// routes lists every request this server answers: its status on success, its name in the
// log, and the function that decides. 404, 405 with Allow, and redirects come from ServeMux.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	if s.users != nil {
		s.answer(mux, "POST /token", 200, "login", s.issueToken)
		s.answer(mux, "POST /revoke", 200, "revocation", s.revoke)
		s.answer(mux, "POST /register", 201, "registration", s.register)
		mux.HandleFunc("GET /{$}", page)
		mux.HandleFunc("GET /page.js", page)
		mux.HandleFunc("GET /page.css", page)
	}
	s.answer(mux, "GET /protected", 200, "access", s.guard(protected))
	s.answer(mux, "GET /users/me", 200, "access", s.guard(me))
	s.answer(mux, "GET /users/me/items", 200, "access", s.guard(items))
	s.answer(mux, "GET /is_logged_in", 200, "is_logged_in", s.isLoggedIn)
	if s.publicKeys != nil { // -token rs256
		s.answer(mux, "GET /.well-known/jwks.json", 200, "keys", s.keys)
	}
	return mux
}

//go:embed client/index.html client/page.js client/page.css
var pageFiles embed.FS

// page serves the browser client. Even if a bug inserted text as HTML, the policy lets only
// the page's own script run.
func page(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; "+
		"style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "+
		"form-action 'none'; frame-ancestors 'none'")
	http.ServeFileFS(w, r, pageFiles, "client/"+cmp.Or(r.URL.Path[1:], "index.html"))
}

func (s *server) keys(*http.Request) (string, any, error) { return "", s.publicKeys, nil }

func main() {
	o := readOptions()
	level := slog.LevelInfo
	if o.quiet {
		level = slog.LevelWarn
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	port, err := httpd.Open(o.addr, o.cert, o.key)
	exitOn(err)
	s := newServer(o, port.URL, log)
	if !o.quiet {
		s.greet(o, port.URL)
	}
	if port.Exposed && o.demo {
		log.Warn("the demo users' passwords are public: -demo=false starts without those users")
	}
	for _, name := range jwt.Ignored(o.kind) {
		log.Warn(name + " is set, but -token " + o.kind + " does not use it")
	}
	exitOn(port.Serve(s.routes(), log, o.host)) // until Ctrl-C
}

type options struct {
	addr, kind, host, cert, key string
	ttl                         time.Duration
	demo, quiet                 bool
}

// readOptions exits with one line and status 2 if the command line is wrong.
func readOptions() (o options) {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.StringVar(&o.addr, "addr", "127.0.0.1:8001", "listen `address`")
	f.DurationVar(&o.ttl, "ttl", 15*time.Minute, "how long a token is valid, 1s to 8760h")
	f.StringVar(&o.kind, "token", "opaque", "`kind` of token: opaque, hs256, rs256 or external")
	f.StringVar(&o.host, "host", "", "one more host `name` to answer to, such as a proxy's")
	f.StringVar(&o.cert, "cert", "", "PEM `file` of the TLS certificate, with -key")
	f.StringVar(&o.key, "key", "", "PEM `file` of the TLS key, with -cert")
	f.BoolVar(&o.demo, "demo", true, "start with the demo users")
	f.BoolVar(&o.quiet, "quiet", false, "print warnings and errors only")
	f.Usage = func() {}
	if err := f.Parse(os.Args[1:]); err == flag.ErrHelp {
		f.PrintDefaults()
		fmt.Fprint(os.Stderr, jwt.Help())
		os.Exit(0)
	} else if err != nil {
		os.Exit(2) // Parse has printed why
	}
	o.check(f.Args())
	o.demo = o.demo && o.kind != "external" // which has no users
	return o
}

func (o *options) check(arguments []string) {
	require := func(ok bool, complaint string, value any) {
		if !ok {
			fmt.Fprintf(os.Stderr, complaint+", not %q\n", value)
			os.Exit(2)
		}
	}
	_, err := net.ResolveTCPAddr("tcp", o.addr)
	_, port, _ := net.SplitHostPort(o.addr)
	require(err == nil && port != "", "-addr must be host:port, such as 127.0.0.1:8001", o.addr)
	require(o.ttl >= time.Second && o.ttl <= 8760*time.Hour, "-ttl must be 1s to 8760h", o.ttl)
	require(slices.Contains([]string{"opaque", "hs256", "rs256", "external"}, o.kind),
		"-token must be opaque, hs256, rs256 or external", o.kind)
	require(!strings.ContainsAny(o.host, ":/ "), "-host must be a name without a port", o.host)
	require((o.cert == "") == (o.key == ""), "-cert and -key must be given together", "one alone")
	require(len(arguments) == 0, "the command line must hold flags only", arguments)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// newServer makes a server for one kind of token.
func newServer(o options, url string, log *slog.Logger) *server {
	s := &server{tokens: newOpaqueTokens(o.ttl), log: log}
	if o.kind != "opaque" {
		signed, err := jwt.New(o.kind, o.ttl, url, log)
		exitOn(err)
		s.tokens, s.signed, s.publicKeys = signed, true, signed.JWKS()
	}
	if o.kind != "external" {
		users, err := newUsers(defaultCost)
		exitOn(err)
		s.users = users
	}
	if o.demo {
		exitOn(s.users.addDemoUsers())
	}
	return s
}

func (s *server) greet(o options, url string) {
	fmt.Println("listening on", url)
	if o.kind == "external" {
		fmt.Print(s.tokens.(*jwt.Service).Summary())
	} else {
		fmt.Printf("  page      %[1]s\n  client    go run ./client -url %[1]s\n", url)
	}
	if o.demo {
		fmt.Println("  users     user1/password1, user2/password2, user3/password3 (disabled)")
	}
	fmt.Println("  stop      Ctrl-C")
}
