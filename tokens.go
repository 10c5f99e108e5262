// tokens.go holds what a token is: how one is made, whose it is and when it expires. It
// never touches HTTP or a password.

package main

import (
	"crypto/rand"
	"time"
	"tokenserver/internal/recent"
)

// opaqueTokens issues tokens that mean nothing by themselves: whose a token is, and until
// when, is kept here, in an in-memory map, and lost at a restart. Only a hash of each token
// is kept, and expired ones are forgotten: package recent says how.
type opaqueTokens struct{ usernames *recent.Map[string] } // by token

func newOpaqueTokens(ttl time.Duration) *opaqueTokens {
	return &opaqueTokens{recent.New[string](ttl)}
}

// Issue keeps earlier tokens valid: a login on a phone does not log out the laptop.
func (t *opaqueTokens) Issue(username string) (token string, expires time.Time, err error) {
	token = newToken()
	return token, t.usernames.Put(token, username), nil
}

const (
	tokenLength = 32 // characters: 62³² ≈ 2¹⁹⁰ tokens, and RFC 6749 §10.10 asks for 2¹²⁸
	alphabet    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// newToken draws each character with the same probability. A random byte has 256 = 4×62 + 8
// values, so alphabet[b%62] would make the first eight characters a quarter more likely than
// the others. As 256 = 4×64, b%64 is fair; 62 and 63 stand for no character and are rejected.
func newToken() string {
	token := make([]byte, 0, tokenLength)
	b := make([]byte, 1)
	for len(token) < tokenLength {
		rand.Read(b) // never fails: without randomness the program ends
		if i := int(b[0] % 64); i < len(alphabet) {
			token = append(token, alphabet[i])
		}
	}
	return string(token)
}

// Check does not renew a token: it expires a lifetime after the login, however often it is used.
func (t *opaqueTokens) Check(token string) (username string, expires time.Time, err error) {
	return t.usernames.Get(token)
}

func (t *opaqueTokens) Revoke(token string) (username string, err error) {
	return t.usernames.Delete(token), nil
}

// A tokenService makes and checks tokens. To a client a token is just a string, and auth.go knows
// no more of it than this interface. So a signed token, from package jwt, fits in here as well.
type tokenService interface {
	// Issue makes a new token for a user.
	Issue(username string) (token string, expires time.Time, err error)

	// Check returns whose token this is. With any error, the token is refused.
	// jwt.ErrUnavailable means "cannot tell yet": an issuer's keys have not been fetched.
	Check(token string) (username string, expires time.Time, err error)

	// Revoke makes a token invalid before it returns, and returns whose it was, if anyone's.
	// errors.ErrUnsupported means that the token stays valid: signed tokens are on no list.
	Revoke(token string) (username string, err error)
}
