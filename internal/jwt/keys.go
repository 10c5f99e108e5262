// keys.go holds the settings and our own keys: where they come from, and how the public
// one is published as a JWK Set (RFC 7517). It never sees a token.

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
	"log/slog"
	"math/big"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
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
