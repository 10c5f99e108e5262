// remote.go holds the keys of an outside issuer: it fetches them as a JWK Set (RFC 7517),
// leaves out those that cannot be used, and keeps the rest for a while.

package jwt

import (
	"cmp"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenserver/internal/strictjson"
)

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

// Trusts returns whose tokens pass, for which audience, and where external keys come from:
// without the query of that URL, which may hold a secret.
func (s *Service) Trusts() (issuer, audience, keysURL string) {
	if s.remote != nil {
		keysURL, _, _ = strings.Cut(s.remote.address.String(), "?")
	}
	return s.issuer, s.audience, keysURL
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
	switch use, alg, ops := members["use"], members["alg"], members["key_ops"]; {
	case members["kty"] != "RSA",
		use != nil && use != "sig", // this one and the next two are optional: RFC 7517 §4
		alg != nil && alg != "RS256",
		ops != nil && !slices.Contains(texts(ops), "verify"):
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
