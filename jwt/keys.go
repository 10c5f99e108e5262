// This file holds the keys: from the settings, and as a JWK Set (RFC 7517) going
// out. It never sees a token.

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
	"math/big"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// New makes the service for "hs256" or "rs256" tokens, which live for ttl, cut to
// whole seconds. All else comes from the environment (JWT_…), where empty counts as
// unset; self, this server's own URL, is the issuer unless JWT_ISSUER names another.
// Errors are one line, and quote no key.
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

// usable leaves out short keys (RFC 7518 §3.3), keys so long that a check is an attack,
// and what no RSA key is: with the exponent 1, everything is its own signature.
func usable(key *rsa.PublicKey) bool {
	bits := key.N.BitLen()
	return bits >= 2048 && bits <= 8192 && key.N.Bit(0) == 1 &&
		key.E >= 3 && key.E <= 1<<31-1 && key.E%2 == 1 // crypto/rsa's limit, too
}

// JWKS is the public key as a JWK Set (RFC 7517 §5), or nil if there is nothing to
// publish: an HS256 secret also signs.
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
