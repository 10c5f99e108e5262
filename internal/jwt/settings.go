// settings.go makes a Service of the settings: of the JWT_… variables, which no other
// package reads, and of the keys that they lead to. It never sees a token.

package jwt

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// settings is the one list of what the environment can set, and for which kinds of token.
// Secrets come from there and not from flags, since every user of a machine can read the
// flags of a process (ps shows them).
var settings = []struct{ name, kinds, meaning string }{
	{"JWT_SECRET", "hs256", "secret of 32 bytes or more; without it, a random one"},
	{"JWT_KEY_FILE", "rs256", "PEM file, RSA key of 2048 bits or more; without it, a new key"},
	{"JWT_ISSUER", "hs256 rs256 external", "who issues the tokens; without it, this server's URL"},
	{"JWT_AUDIENCE", "hs256 rs256 external", "whom the tokens are for; without it, the issuer"},
	{"JWT_JWKS_URL", "external", "the issuer's keys; without it, /.well-known/jwks.json there"},
}

// Help returns the settings as aligned lines, each with the kinds of token that use it.
// For external tokens, JWT_ISSUER and JWT_AUDIENCE have no default.
func Help() string {
	var help strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&help, "  %-12s  %-20s  %s\n", s.name, s.kinds, s.meaning)
	}
	return help.String()
}

// Ignored returns the names of the settings that are not empty and that this kind of token
// (opaque, hs256, rs256 or external) does not use: most likely a mistake.
func Ignored(kind string) (names []string) {
	for _, s := range settings {
		if os.Getenv(s.name) != "" && !slices.Contains(strings.Fields(s.kinds), kind) {
			names = append(names, s.name)
		}
	}
	return names
}

// New makes the service for "hs256", "rs256" or "external" tokens. Those it issues
// live for ttl, cut to whole seconds. All else comes from the environment (JWT_…),
// where empty counts as unset; self, this server's own URL, is the issuer unless
// JWT_ISSUER names another. Errors are one line, and quote no key.
func New(kind string, ttl time.Duration, self string, log *slog.Logger) (*Service, error) {
	issuer, audience := os.Getenv("JWT_ISSUER"), os.Getenv("JWT_AUDIENCE")
	s := &Service{types: []any{accessToken}, ttl: ttl.Truncate(time.Second),
		issuer: cmp.Or(issuer, self), audience: cmp.Or(audience, issuer, self)}
	err := fmt.Errorf("jwt: no kind of token is called %q", kind)
	if !utf8.ValidString(s.issuer + s.audience) { // JSON would change it: no token would fit
		return nil, errors.New("JWT_ISSUER and JWT_AUDIENCE must be UTF-8")
	}
	switch kind {
	case "hs256":
		err = s.useSecret(os.Getenv("JWT_SECRET")) // not from a flag: ps shows those
	case "rs256":
		err = s.useKeyFile(os.Getenv("JWT_KEY_FILE"))
	case "external":
		err = s.useIssuer(issuer, audience, os.Getenv("JWT_JWKS_URL"), http.DefaultTransport, log)
	}
	if err != nil {
		return nil, err // never s, which is half built
	}
	return s, nil
}

// useSecret wants as many bytes as SHA-256 gives (RFC 7518 §3.2), since one token
// is enough to try secrets against, offline.
func (s *Service) useSecret(secret string) error {
	secret = cmp.Or(secret, rand.Text()+rand.Text()) // 52 bytes, 260 random bits
	if len(secret) < sha256.Size {
		return errors.New("JWT_SECRET: an HS256 secret needs 32 bytes or more")
	}
	s.alg, s.secret = "HS256", []byte(secret)
	s.header = map[string]string{"alg": s.alg, "typ": accessToken}
	return nil
}

func (s *Service) useKeyFile(file string) error {
	private, err := readKey(file)
	if err != nil {
		return err
	}
	kid := Thumbprint(&private.PublicKey)
	own := map[string]*rsa.PublicKey{kid: &private.PublicKey}
	s.alg, s.private = "RS256", private
	s.header = map[string]string{"alg": s.alg, "typ": accessToken, "kid": kid}
	s.find = func(kid string) (*rsa.PublicKey, error) { return own[kid], nil }
	return nil
}

// readKey says the same whatever is wrong inside the file: the parsers' errors
// describe the bytes of a private key, and ours ends up in a log.
func readKey(file string) (*rsa.PrivateKey, error) {
	if file == "" {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("JWT_KEY_FILE: %w", err)
	}
	var key any
	block, rest := pem.Decode(text)
	switch {
	case block == nil || strings.TrimSpace(string(rest)) != "": // two keys?
	case block.Type == "RSA PRIVATE KEY":
		key, _ = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "PRIVATE KEY":
		key, _ = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if private, _ := key.(*rsa.PrivateKey); private != nil && usable(&private.PublicKey) {
		return private, nil
	}
	return nil, errors.New("JWT_KEY_FILE: not one PEM block, PKCS#1 or PKCS#8, of an RSA " +
		"private key of 2048 to 8192 bits")
}

// useIssuer fetches no key yet, so that two servers may start in either order.
func (s *Service) useIssuer(issuer, audience, address string, via http.RoundTripper,
	log *slog.Logger) error {
	if issuer == "" || audience == "" {
		return errors.New("jwt: external tokens need JWT_ISSUER and JWT_AUDIENCE")
	}
	if !trusted(cmp.Or(address, issuer)) {
		return errors.New("JWT_JWKS_URL or JWT_ISSUER must be https (localhost: http), no password")
	}
	// Auth0's issuers end in a slash: one is enough here, and iss keeps its own.
	address = cmp.Or(address, strings.TrimSuffix(issuer, "/")+"/.well-known/jwks.json")
	// Whoever can redirect us would choose where our keys come from (RFC 8725 §3.10).
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{Transport: via, CheckRedirect: stay, Timeout: 5 * time.Second}
	keys := &remote{url: address, client: client, log: log}
	s.keysURL, _, _ = strings.Cut(address, "?") // a query may hold a secret
	keys.done.L = &keys.mu
	s.alg, s.find = "RS256", keys.key
	s.types = []any{nil, "JWT", accessToken}
	s.leeway = 30 * time.Second // far more than NTP leaves between two clocks
	return nil
}

// Trusts returns whose tokens are checked, for which audience, and for external tokens where
// the issuer's keys come from, without its query, which may hold a secret.
func (s *Service) Trusts() (issuer, audience, keysURL string) {
	return s.issuer, s.audience, s.keysURL
}

// trusted reports whether keys may come from there. Over plain http anyone on the
// way could swap them, so that is for this machine itself.
func trusted(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return false
	}
	here := u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && here
}
