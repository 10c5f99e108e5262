// keys.go holds the settings and the keys. First come our own: where they come from, and how
// the public one is published as a JWK Set (RFC 7517). Then come those of an outside issuer: it
// fetches such a set, leaves out what cannot be used, and keeps the rest for a while. It never
// sees a token.

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

	"tokenserver/internal/strictjson"
)

// settings is the one list of the environment variables, which no other package reads, and
// of the kinds of token that use them. They are not flags, since ps shows those.
var settings = []struct{ name, kinds, meaning string }{
	{"JWT_SECRET", "hs256", "secret of at least 32 bytes (default: a random one)"},
	{"JWT_KEY_FILE", "rs256", "PEM file of an RSA private key (default: a new key)"},
	{"JWT_ISSUER", "hs256 rs256 external", "who issues the tokens (default: this server's URL)"},
	{"JWT_AUDIENCE", "hs256 rs256 external", "who accepts the tokens (default: the issuer)"},
	{"JWT_JWKS_URL", "external", "the issuer's keys (default: its /.well-known/jwks.json)"},
}

// Help returns an aligned line for each setting, to be printed after a list of flags.
func Help() string {
	help := "Environment variables, by -token (external needs JWT_ISSUER and JWT_AUDIENCE):\n"
	for _, s := range settings {
		help += fmt.Sprintf("  %-12s  %-20s  %s\n", s.name, s.kinds, s.meaning)
	}
	return help
}

// Ignored returns the settings that are not empty, but that this kind of token (opaque,
// hs256, rs256 or external) does not use: most likely a mistake.
func Ignored(kind string) (names []string) {
	for _, s := range settings {
		if os.Getenv(s.name) != "" && !slices.Contains(strings.Fields(s.kinds), kind) {
			names = append(names, s.name)
		}
	}
	return names
}

// New returns the service for hs256, rs256 or external tokens. It reads the settings above;
// an empty one counts as unset. Issued tokens are valid for ttl, cut to whole seconds. The
// issuer is self, this server's own URL, unless JWT_ISSUER names another. A failure to fetch
// keys is written to log. Errors are one line and quote no key.
func New(kind string, ttl time.Duration, self string, log *slog.Logger) (*Service, error) {
	issuer, audience := os.Getenv("JWT_ISSUER"), os.Getenv("JWT_AUDIENCE")
	s := &Service{ttl: ttl.Truncate(time.Second),
		issuer: cmp.Or(issuer, self), audience: cmp.Or(audience, issuer, self)}
	if !utf8.ValidString(s.issuer + s.audience) { // JSON would change it: no token would fit
		return nil, errors.New("JWT_ISSUER and JWT_AUDIENCE must be UTF-8")
	}
	var err error
	switch kind {
	case "hs256":
		err = s.useSecret(os.Getenv("JWT_SECRET"))
	case "rs256":
		err = s.useKeyFile(os.Getenv("JWT_KEY_FILE"))
	case "external":
		err = s.useIssuer(issuer, audience, os.Getenv("JWT_JWKS_URL"), log)
	default:
		err = fmt.Errorf("jwt: no kind of token is called %q", kind)
	}
	if err != nil {
		return nil, err // never s, which is half built
	}
	return s, nil
}

// useSecret asks for as many bytes as SHA-256 gives (RFC 7518 §3.2), since one token lets
// anyone guess secrets offline.
func (s *Service) useSecret(secret string) error {
	secret = cmp.Or(secret, rand.Text()+rand.Text()) // 52 characters, 260 random bits
	if len(secret) < sha256.Size {
		return errors.New("JWT_SECRET: an HS256 secret needs 32 bytes or more")
	}
	s.alg, s.secret = "HS256", []byte(secret)
	s.header = map[string]string{"alg": s.alg, "typ": "at+jwt"}
	return nil
}

func (s *Service) useKeyFile(file string) error {
	private, err := readKey(file)
	if err != nil {
		return err
	}
	kid := thumbprint(&private.PublicKey)
	own := map[string]*rsa.PublicKey{kid: &private.PublicKey}
	s.alg, s.private = "RS256", private
	s.header = map[string]string{"alg": s.alg, "typ": "at+jwt", "kid": kid}
	s.find = func(kid string) (*rsa.PublicKey, error) { return own[kid], nil }
	return nil
}

// readKey returns one error for whatever is wrong inside the file: the parsers' errors
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
	case block == nil || strings.TrimSpace(string(rest)) != "": // not one
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

// usable rejects short keys (RFC 7518 §3.3), keys too slow to check, and non-keys: with
// exponent 1, every message is its own signature.
func usable(key *rsa.PublicKey) bool {
	bits := key.N.BitLen()
	return bits >= 2048 && bits <= 8192 && key.N.Bit(0) == 1 &&
		key.E >= 3 && key.E <= 1<<31-1 && key.E%2 == 1 // crypto/rsa's limit, too
}

// JWKS returns the public key as a JWK Set (RFC 7517 §5), or nil if there is nothing to
// publish: an HS256 secret also signs, and an outside issuer publishes its own keys.
func (s *Service) JWKS() []byte {
	if s.private == nil {
		return nil
	}
	key := jwk(&s.private.PublicKey)
	key["use"], key["alg"], key["kid"] = "sig", s.alg, s.header["kid"]
	set, _ := json.Marshal(map[string]any{"keys": []any{key}}) // text always encodes
	return set
}

// thumbprint returns a key's name by RFC 7638: the SHA-256, in base64url, of its required
// members in alphabetical order. It is the same on each server and after each restart.
func thumbprint(key *rsa.PublicKey) (kid string) {
	members, _ := json.Marshal(jwk(key)) // which sorts the names
	hash := sha256.Sum256(members)
	return base64url.EncodeToString(hash[:])
}

func jwk(key *rsa.PublicKey) map[string]string {
	n, e := key.N.Bytes(), big.NewInt(int64(key.E)).Bytes()
	return map[string]string{"kty": "RSA",
		"n": base64url.EncodeToString(n), "e": base64url.EncodeToString(e)}
}

// useIssuer makes s check another issuer's tokens. It fetches no key yet, so two servers
// may start in either order.
func (s *Service) useIssuer(issuer, audience, keysURL string, log *slog.Logger) error {
	if issuer == "" || audience == "" {
		return errors.New("jwt: external tokens need JWT_ISSUER and JWT_AUDIENCE")
	}
	address, err := url.Parse(cmp.Or(keysURL, issuer))
	if err != nil || !trusted(address) {
		return errors.New("JWT_JWKS_URL (or JWT_ISSUER) must be an https URL without a " +
			"password; http only for localhost")
	}
	if keysURL == "" { // Auth0's issuers end in a slash: one is enough here, iss keeps its own
		address.Path = strings.TrimSuffix(address.Path, "/") + "/.well-known/jwks.json"
	}
	// A redirect would let others choose where our keys come from (RFC 8725 §3.10).
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &http.Client{CheckRedirect: stay, Timeout: 5 * time.Second}
	s.remote = &remote{address: address, client: client, log: log}
	s.alg, s.find = "RS256", s.remote.key
	s.leeway = 30 * time.Second // far more than NTP leaves between two clocks
	return nil
}

// trusted reports whether keys may come from there. Over plain http anyone on the way could
// swap them, so only this machine itself may send them like that.
func trusted(address *url.URL) bool {
	host := address.Hostname()
	here := host == "localhost" || net.ParseIP(host).IsLoopback()
	secure := address.Scheme == "https" || address.Scheme == "http" && here
	return secure && host != "" && address.User == nil
}

// Summary returns aligned lines that say which tokens pass, for the start of an external
// server. It leaves out the query of the keys' URL, which may hold a secret.
func (s *Service) Summary() string {
	keys, _, _ := strings.Cut(s.remote.address.String(), "?")
	return fmt.Sprintf("  takes     %s tokens\n  issuer    %s\n  audience  %s\n  keys      %s\n",
		s.alg, s.issuer, s.audience, keys)
}

// A remote is a cached JWK Set. No timer refreshes it: the callers of key do, by this table.
//
//	the kid is         known, set fresh   known, set an hour old   unknown
//	a fetch is due     goes on            fetches, waits           fetches, waits
//	one is under way   goes on            goes on                  waits
//	neither            goes on            goes on                  is refused
//
// A fetch is due a minute after the last one began, or ten seconds while there is no set.
type remote struct {
	address *url.URL
	client  *http.Client
	log     *slog.Logger

	mu       sync.Mutex                // guards all below; never held during a fetch
	keys     map[string]*rsa.PublicKey // the last good set, by kid; nil before the first
	fetched  time.Time                 // when the request for it began
	tried    time.Time                 // when the last request began
	fetching chan struct{}             // closed when that one ends; nil: none is under way
}

// key returns nil for an unknown kid. Because the caller who starts a fetch waits for it, a
// new key works from its first token on, unless we fetched less than a minute ago. A
// withdrawn key is refused after an hour, unless fetches fail.
func (r *remote) key(kid string) (*rsa.PublicKey, error) {
	if kid == "" {
		return nil, nil // trying all keys would leave the choice to the token
	}
	if done := r.plan(kid); done != nil {
		<-done
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		return nil, ErrUnavailable
	}
	return r.keys[kid], nil
}

// plan starts a fetch if one is due. It returns the fetch that a caller with this kid waits
// for, or nil if the caller goes on.
func (r *remote) plan(kid string) (done <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.keys[kid] != nil
	fresh := known && time.Since(r.fetched) < time.Hour // else a withdrawn key would stay
	pace := time.Minute                                 // made-up kids: 1,440 fetches a day
	if r.keys == nil {
		pace = 10 * time.Second // until the first set, nobody gets in
	}
	switch {
	case r.fetching != nil && known:
		return nil
	case r.fetching == nil && !fresh && time.Since(r.tried) >= pace:
		r.fetching, r.tried = make(chan struct{}), time.Now()
		go r.refresh()
	}
	return r.fetching
}

// refresh keeps the last good set if the fetch fails: an issuer's good tokens do not turn
// bad because its key server is down.
func (r *remote) refresh() {
	keys, err := r.fetch()
	if err != nil {
		r.log.Warn("keys not fetched", "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.keys, r.fetched = keys, r.tried
	}
	close(r.fetching)
	r.fetching = nil
}

// fetch uses no caller's context: one that hangs up must not fail the others. It asks for
// no compression, or an endless stream of gzip that unpacks to nothing would keep a
// processor busy and never reach the limit.
func (r *remote) fetch() (map[string]*rsa.PublicKey, error) {
	plain := http.Header{"Accept-Encoding": {"identity"}}
	response, err := r.client.Do(&http.Request{URL: r.address, Header: plain})
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
	return parseKeySet(set)
}

// parseKeySet returns the RS256 keys of a JWK Set by kid. It skips a key that it cannot use
// (RFC 7517 §5) and a second one of the same kid: they must not lock out their good
// neighbours. An empty set is an error: more likely an accident.
func parseKeySet(set []byte) (map[string]*rsa.PublicKey, error) {
	object, _ := strictjson.Object(set)
	list, _ := object["keys"].([]any)
	keys := make(map[string]*rsa.PublicKey)
	for _, element := range list {
		members, _ := element.(map[string]any)
		kid, _ := members["kid"].(string)
		if key := parseKey(members); key != nil && kid != "" && keys[kid] == nil {
			keys[kid] = key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no JWK Set with a usable RS256 key")
	}
	return keys, nil
}

// parseKey returns nil unless the members are an RSA key that may verify RS256.
func parseKey(members map[string]any) *rsa.PublicKey {
	use, alg, ops := members["use"], members["alg"], members["key_ops"] // optional: RFC 7517 §4
	if members["kty"] != "RSA" || use != nil && use != "sig" || alg != nil && alg != "RS256" ||
		ops != nil && !lists(ops, "verify") {
		return nil
	}
	n, _ := members["n"].(string)
	e, _ := members["e"].(string)
	modulus, _ := base64url.DecodeString(n)
	exponent, _ := base64url.DecodeString(e)
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus)}
	key.E = int(new(big.Int).SetBytes(exponent).Int64())
	// What does not encode to the same text was broken base64url, had leading zeros or was
	// too big: RFC 7518 §2 allows one spelling.
	if same := jwk(key); same["n"] != n || same["e"] != e || !usable(key) {
		return nil
	}
	return key
}
