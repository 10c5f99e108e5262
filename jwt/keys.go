// This file holds the keys: from the settings, as JWK Sets (RFC 7517) going out
// and coming in, and from an outside issuer. It never sees a token.

package jwt

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// New makes the service for "hs256", "rs256" or "external" tokens. Those it issues
// live for ttl, cut to whole seconds. All else comes from the environment (JWT_…),
// where empty counts as unset; self, this server's own URL, is the issuer unless
// JWT_ISSUER names another. Errors are one line, and quote no key.
func New(kind string, ttl time.Duration, self string) (*Service, error) {
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
		err = s.useIssuer(issuer, audience, os.Getenv("JWT_JWKS_URL"), http.DefaultTransport)
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
func (s *Service) useIssuer(issuer, audience, address string, via http.RoundTripper) error {
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
	keys := &remote{url: address, client: client}
	keys.done.L = &keys.mu
	s.alg, s.find = "RS256", keys.key
	s.types = []any{nil, "JWT", accessToken}
	s.leeway = 30 * time.Second // far more than NTP leaves between two clocks
	return nil
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

// usable leaves out short keys (RFC 7518 §3.3), keys so long that a check is an attack,
// and what no RSA key is: with the exponent 1, everything is its own signature.
func usable(key *rsa.PublicKey) bool {
	bits := key.N.BitLen()
	return bits >= 2048 && bits <= 8192 && key.N.Bit(0) == 1 &&
		key.E >= 3 && key.E <= 1<<31-1 && key.E%2 == 1 // crypto/rsa's limit, too
}

// JWKS is the public key as a JWK Set (RFC 7517 §5), or nil if there is nothing to
// publish: an HS256 secret also signs, an outside issuer publishes its own.
func (s *Service) JWKS() []byte {
	if s.private == nil {
		return nil
	}
	key := jwk(&s.private.PublicKey)
	key["use"], key["alg"], key["kid"] = "sig", s.alg, s.header["kid"]
	set, _ := json.Marshal(map[string]any{"keys": []any{key}}) // text always encodes
	return set
}

// Thumbprint is a key's kid by RFC 7638: the SHA-256, in base64url, of its required
// members in alphabetical order. Each copy of a server comes to the same.
func Thumbprint(key *rsa.PublicKey) string {
	members, _ := json.Marshal(jwk(key)) // which sorts the names
	hash := sha256.Sum256(members)
	return base64url.EncodeToString(hash[:])
}

func jwk(key *rsa.PublicKey) map[string]string {
	n, e := key.N.Bytes(), big.NewInt(int64(key.E)).Bytes()
	return map[string]string{"kty": "RSA",
		"n": base64url.EncodeToString(n), "e": base64url.EncodeToString(e)}
}

// ParseKeySet returns the RS256 keys of a JWK Set by kid. One it cannot use is
// skipped (RFC 7517 §5), as is a second one of the same kid: it must not lock out its
// good neighbours. A set without any is an error: far likelier an accident than meant.
func ParseKeySet(set []byte) (map[string]*rsa.PublicKey, error) {
	list, _ := object(set)["keys"].([]any)
	keys := make(map[string]*rsa.PublicKey)
	for _, element := range list {
		members, _ := element.(map[string]any)
		kid, _ := members["kid"].(string)
		if key := parseKey(members); key != nil && kid != "" && keys[kid] == nil {
			keys[kid] = key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("jwt: no JWK Set with a usable RS256 key")
	}
	return keys, nil
}

// parseKey returns nil unless the members are an RSA key that may verify RS256.
func parseKey(members map[string]any) *rsa.PublicKey {
	use, alg, ops := members["use"], members["alg"], members["key_ops"] // RFC 7517: optional
	if members["kty"] != "RSA" || use != nil && use != "sig" || alg != nil && alg != "RS256" ||
		ops != nil && !slices.Contains(texts(ops), "verify") {
		return nil
	}
	n, _ := members["n"].(string)
	e, _ := members["e"].(string)
	modulus, _ := base64url.DecodeString(n)
	exponent, _ := base64url.DecodeString(e)
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus)}
	key.E = int(new(big.Int).SetBytes(exponent).Int64())
	// What does not encode to the same text was broken base64url, had leading zeros or
	// was too big: RFC 7518 §2 knows one spelling of a number.
	if same := jwk(key); same["n"] != n || same["e"] != e || !usable(key) {
		return nil
	}
	return key
}

// A remote is a cached JWK Set. It has no goroutine: the caller who finds a fetch
// due does it, who cannot go on without its result waits, the others pass by.
type remote struct {
	url    string
	client *http.Client

	mu       sync.Mutex                // guards all below; never held during a fetch
	keys     map[string]*rsa.PublicKey // the last good set, by kid; nil before the first
	fetched  time.Time                 // when the request for keys began
	tried    time.Time                 // when the last request began
	fetching bool                      // whether it is still under way
	done     sync.Cond                 // says that it is not any more
}

// key returns nil for an unknown kid. Since whoever starts a fetch waits for it, a new
// key is good from its first token, unless the last fetch was less than a minute ago,
// and a withdrawn one is dead from the first token after an hour, unless fetches fail.
func (r *remote) key(kid string) (*rsa.PublicKey, error) {
	if kid == "" {
		return nil, nil // trying them all would leave the choice to the token
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.fetching && r.keys[kid] == nil {
		r.done.Wait() // gives mu back meanwhile
	}
	pace := time.Minute // rubbish with a new kid asks for a fetch: 1,440 a day
	if r.keys == nil {
		pace = 10 * time.Second // nobody gets in before the first set: hurry
	}
	fresh := r.keys[kid] != nil && time.Since(r.fetched) < time.Hour // a withdrawn key dies
	if !r.fetching && !fresh && time.Since(r.tried) >= pace {
		r.refresh()
	}
	if r.keys == nil {
		return nil, ErrUnavailable
	}
	return r.keys[kid], nil
}

// refresh keeps the last good set if the fetch fails: an issuer whose tokens were
// good does not become a liar because its key server is down.
func (r *remote) refresh() {
	r.fetching, r.tried = true, time.Now()
	r.mu.Unlock()
	keys, err := r.fetch()
	r.mu.Lock()
	r.fetching = false
	r.done.Broadcast()
	if err != nil {
		slog.Warn("keys not fetched", "error", err)
		return
	}
	r.keys, r.fetched = keys, r.tried
}

// fetch is bound to no caller: who hangs up must not take the keys from the others.
func (r *remote) fetch() (map[string]*rsa.PublicKey, error) {
	response, err := r.client.Get(r.url)
	if err != nil {
		return nil, errors.Unwrap(err) // without the URL, whose query may hold a secret
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answers %s", response.Status)
	}
	set, err := io.ReadAll(http.MaxBytesReader(nil, response.Body, 1<<20)) // a key takes 500 B
	if err != nil {
		return nil, err
	}
	return ParseKeySet(set)
}
