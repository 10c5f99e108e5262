// This file holds the keys: from the settings, as JWK Sets (RFC 7517) going out
// and coming in, and from an outside issuer. It never sees a token.

package jwt

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"sync"
	"time"

	"tokenserver/internal/strictjson"
)

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
	members, err := strictjson.Object(set)
	if err != nil {
		return nil, fmt.Errorf("jwt: the key set is %w", err)
	}
	list, _ := members["keys"].([]any)
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
	log    *slog.Logger

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
		r.log.Warn("keys not fetched", "error", err)
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
