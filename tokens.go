// tokens.go holds what a token is: how one is made, whom it belongs to and when
// it dies. It never touches HTTP or a password.

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// A tokenService makes tokens and checks them. To a client a token is just a
// string, and to auth.go it is just these three methods.
type tokenService interface {
	// Issue makes a new token that belongs to username until it expires.
	Issue(username string) (token string, expires time.Time, err error)

	// Check says whose token this is. On any error the token opens nothing.
	// jwt.ErrUnavailable says that nobody can tell just now: the keys to check
	// another issuer's signature with have never arrived.
	Check(token string) (username string, expires time.Time, err error)

	// Revoke kills a token before it returns, and says whose it was, if anyone's.
	// errors.ErrUnsupported says that it stays good: signed tokens are on no list.
	Revoke(token string) (username string, err error)
}

// opaqueTokens issues tokens that say nothing: what there is to know about one is
// looked up here, in memory, and lost at a restart. The maps are keyed by SHA-256,
// so whoever reads this memory finds no token to use. A fast hash will do, since 190
// random bits cannot be guessed; passwords can, so users.go has a slow one.
type opaqueTokens struct {
	ttl   time.Duration
	start time.Time // what the durations below count from

	mu      sync.RWMutex // guards young, old and rotated
	young   map[[sha256.Size]byte]owner
	old     map[[sha256.Size]byte]owner
	rotated time.Duration // when young was made
}

type owner struct {
	username string
	expires  time.Duration // 8 bytes, where a time.Time takes 24
}

var errUnknownToken = errors.New("no live token")

func newOpaqueTokens(ttl time.Duration) *opaqueTokens {
	return &opaqueTokens{ttl: ttl, start: time.Now(), young: make(map[[sha256.Size]byte]owner)}
}

// Issue ends no earlier token: whoever logs in on the phone stays logged in on
// the laptop.
func (t *opaqueTokens) Issue(username string) (string, time.Time, error) {
	token := newToken()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Since(t.start)
	t.rotate(now)
	expires := now + t.ttl
	t.young[sha256.Sum256([]byte(token))] = owner{username, expires}
	return token, t.start.Add(expires), nil
}

// rotate forgets dead tokens by the batch. All live equally long, so once the young
// map is a lifetime old, everything in the old one is dead: it goes as a whole and
// the young one takes its place. After two lifetimes the young one is dead as well,
// and goes the same way. Nothing has to sweep or scan, and the memory comes back,
// while a map from which entries are deleted never shrinks. The price: dead tokens
// stay for up to one more lifetime, and then until somebody logs in.
func (t *opaqueTokens) rotate(now time.Duration) {
	for range min(2, (now-t.rotated)/t.ttl) {
		t.old, t.young, t.rotated = t.young, make(map[[sha256.Size]byte]owner), now
	}
}

// Check looks at the clock too: a token is dead at exactly its expiry, however
// long a map remembers it.
func (t *opaqueTokens) Check(token string) (string, time.Time, error) {
	hash := sha256.Sum256([]byte(token))
	t.mu.RLock()
	found, ok := t.young[hash]
	if !ok {
		found, ok = t.old[hash]
	}
	t.mu.RUnlock()
	if !ok || time.Since(t.start) >= found.expires {
		return "", time.Time{}, errUnknownToken
	}
	return found.username, t.start.Add(found.expires), nil
}

func (t *opaqueTokens) Revoke(token string) (string, error) {
	username, _, _ := t.Check(token)
	hash := sha256.Sum256([]byte(token))
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.young, hash)
	delete(t.old, hash)
	return username, nil
}

const (
	tokenLength = 32 // characters: 62³² ≈ 2¹⁹⁰, and RFC 6749 §10.10 asks for 2¹²⁸
	alphabet    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// newToken draws each character with the same probability. A random byte has 256 =
// 4×62 + 8 values, so alphabet[b%62] alone would make the first eight characters a
// quarter more likely than the others. The eight values too many are thrown away.
func newToken() string {
	const fair = 256 - 256%len(alphabet) // 248
	token := make([]byte, 0, tokenLength)
	b := make([]byte, 1)
	for len(token) < tokenLength {
		rand.Read(b) // never fails: without randomness the program ends
		if int(b[0]) < fair {
			token = append(token, alphabet[int(b[0])%len(alphabet)])
		}
	}
	return string(token)
}
