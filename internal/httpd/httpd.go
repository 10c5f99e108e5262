// Package httpd opens a port, serves HTTP on it and stops when told to. It holds what every
// server needs, whatever it serves: TLS, limits in time, a check of where a request comes
// from, and a graceful stop.
package httpd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Port is open: clients can connect, but wait for their answers until Serve is called.
type Port struct {
	URL     string // where a client finds it
	Exposed bool   // whether other machines can reach it

	listener net.Listener
	host     string         // of the address, as it was given
	signals  chan os.Signal // Ctrl-C or SIGTERM, also one that comes before Serve
}

// Open opens the port of addr, which is host:port. With cert and key, the names of two PEM
// files, it speaks TLS.
func Open(addr, cert, key string) (*Port, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM) // before anyone can find the port
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	at := listener.Addr().(*net.TCPAddr)
	host, _, err := net.SplitHostPort(addr)
	p := &Port{listener: listener, host: host, signals: signals, Exposed: !at.IP.IsLoopback()}
	if at.IP.IsUnspecified() { // 0.0.0.0 means all addresses of this machine: it is not one of them
		host = "localhost"
	}
	p.URL = "http://" + net.JoinHostPort(host, strconv.Itoa(at.Port))
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		p.URL = strings.Replace(p.URL, "http", "https", 1)
		p.listener = tls.NewListener(listener, &tls.Config{
			Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}})
	}
	return p, err
}

// Serve serves until Ctrl-C or SIGTERM. It then gives requests in flight 10 seconds to
// finish, and returns nil. A second signal ends the program at once. The server answers to
// the names in hosts as well as to the one in its address: see Protect.
func (p *Port) Serve(handler http.Handler, log *slog.Logger, hosts ...string) error {
	server := WithLimits(Protect(handler, append(hosts, p.host)...), log)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(p.listener) }()
	if p.Exposed && strings.HasPrefix(p.URL, "http:") {
		log.Warn("without -cert and -key, anyone on the network can read passwords and tokens")
	}
	select {
	case err := <-failed:
		return err
	case <-p.signals:
	}
	signal.Stop(p.signals) // the next signal has its usual effect
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server.Shutdown(patience) // fails only if 10 seconds were too short
	return nil
}

// WithLimits makes an HTTP server that never waits forever. Without limits, connections that
// send nothing could use up the server.
func WithLimits(handler http.Handler, log *slog.Logger) *http.Server {
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

// Protect refuses what other websites post, and unknown host names: 403, in plain text.
//
// A site's POST could guess passwords from the visitor's address. And a site can make its own
// name point to 127.0.0.1 ("DNS rebinding"): the browser then lets it read our answers, too.
// So only hosts, localhost and IP addresses are answered to: no name of another site is among them.
func Protect(handler http.Handler, hosts ...string) http.Handler {
	handler = http.NewCrossOriginProtection().Handler(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff") // JSON stays JSON
		if r.ContentLength != 0 && r.ProtoMajor == 1 {
			// To reuse a connection, net/http reads the rest of the body before it answers, even
			// a 415: that is slow. Closing avoids it. (So does EnableFullDuplex, but then the
			// rest of a late body is read as the next request.)
			w.Header().Set("Connection", "close")
		}
		if !known(r.Host, hosts) {
			http.Error(w, "Unknown host name. If it is yours, start the server with -host NAME",
				http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

func known(hostPort string, hosts []string) bool {
	host := (&url.URL{Host: hostPort}).Hostname() // without the port and the [] of IPv6
	same := func(name string) bool { return name != "" && strings.EqualFold(name, host) }
	_, notIP := netip.ParseAddr(host)
	return notIP == nil || same("localhost") || slices.ContainsFunc(hosts, same)
}
