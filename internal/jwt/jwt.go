// Package jwt issues and checks signed tokens: JSON Web Tokens (JWT, RFC 7519).
//
// A signed token carries its own content. It is one string of three parts:
//
//	eyJhbGciOi…  .  eyJhdWQiOi…  .  dBjftJeZ4C…
//	header          payload         signature
//	how it is       whose it is,    proves who wrote
//	signed          until when      the other two
//
// Anyone can read the first two parts: base64url only spells bytes as text. Only the
// holder of the key can write the third. With HS256, one secret signs and checks. With
// RS256, a private key signs, and everyone can check with the public key.
//
// The package stores no token, so it cannot revoke one. It needs nothing but the standard
// library, and it knows no user and no password. Read on in keys.go.
package jwt

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tokenserver/internal/strictjson"
)

// The reasons why Check refuses, for errors.Is. Clients see one refusal for all but the
// last, or a forger would learn how far a forgery got.
var (
	ErrMalformed   = errors.New("jwt: malformed token")
	ErrHeader      = errors.New("jwt: wrong header")
	ErrUnknownKey  = errors.New("jwt: no key with this kid")
	ErrSignature   = errors.New("jwt: wrong signature")
	ErrClaim       = errors.New("jwt: wrong claim")
	ErrExpired     = errors.New("jwt: expired")
	ErrNotYet      = errors.New("jwt: not valid yet")
	ErrUnavailable = errors.New("jwt: the issuer's keys are not available")
)

// A Service issues and checks tokens of one algorithm. Servers with the same key and issuer
// accept each other's tokens, so a name must mean the same user on all of them.
type Service struct {
	alg              string            // HS256 or RS256; no other passes
	header           map[string]string // of the tokens we issue
	issuer, audience string
	ttl, leeway      time.Duration
	secret           []byte                                   // of HS256
	private          *rsa.PrivateKey                          // of RS256, to sign with
	find             func(kid string) (*rsa.PublicKey, error) // of RS256; nil: no such key
	remote           *remote                                  // nil unless another server issues
}

// Issue returns a new token for username and when it expires: at a whole second, in UTC.
// Where another server issues the tokens, it returns errors.ErrUnsupported.
func (s *Service) Issue(username string) (token string, expires time.Time, err error) {
	if s.remote != nil {
		return "", time.Time{}, errors.ErrUnsupported
	}
	issued := time.Now().UTC().Truncate(time.Second)
	expires = issued.Add(s.ttl)
	input := encode(s.header) + "." + encode(map[string]any{ // RFC 9068 §2.2
		"iss": s.issuer, "aud": s.audience, "sub": username,
		"iat": issued.Unix(), "exp": expires.Unix(), // seconds since 1970
		"jti":       rand.Text(), // makes two tokens of one second differ
		"client_id": "public",    // the same for all, since no client proves which it is
	})
	signature, err := s.sign([]byte(input))
	return input + "." + base64url.EncodeToString(signature), expires, err
}

func encode(members any) string {
	text, _ := json.Marshal(members) // text and integers always encode
	return base64url.EncodeToString(text)
}

func (s *Service) sign(input []byte) ([]byte, error) {
	if s.alg == "HS256" {
		mac := hmac.New(sha256.New, s.secret)
		mac.Write(input)
		return mac.Sum(nil), nil
	}
	hash := sha256.Sum256(input)
	return rsa.SignPKCS1v15(nil, s.private, crypto.SHA256, hash[:]) // needs no randomness
}

// Check returns whose token this is and when it expires, in UTC. Its errors give the reason
// of a refusal and quote nothing of the token. ErrUnavailable alone is no verdict on it.
func (s *Service) Check(token string) (username string, expires time.Time, err error) {
	claims, err := s.open(token)
	if err == nil {
		err = s.validate(claims)
	}
	if err != nil {
		return "", time.Time{}, err
	}
	return claims["sub"].(string), date(claims, "exp"), nil
}

// open reads the claims only after the signature has been verified (RFC 7515 §5.2).
func (s *Service) open(token string) (claims map[string]any, err error) {
	parts, err := split(token)
	if err != nil {
		return nil, err
	}
	kid, err := s.checkHeader(parts[0])
	if err != nil {
		return nil, err
	}
	input := token[:strings.LastIndexByte(token, '.')]
	if err := s.verify(kid, []byte(input), parts[2]); err != nil {
		return nil, err
	}
	claims, err = strictjson.Object(parts[1])
	if err != nil {
		return nil, fmt.Errorf("%w: the payload is %w", ErrMalformed, err)
	}
	return claims, nil
}

// base64url is strict: the last character can carry four unused bits, and a lax decoder
// accepts sixteen spellings of one token.
var base64url = base64.RawURLEncoding.Strict()

// split returns the three parts decoded. It counts the dots before it cuts: a million of
// them would become a million parts (CVE-2025-30204).
func split(token string) (parts [3][]byte, err error) {
	if len(token) > 8<<10 || strings.Count(token, ".") != 2 { // ours take some 700 bytes
		return parts, ErrMalformed
	}
	for i, part := range strings.Split(token, ".") {
		parts[i], err = base64url.DecodeString(part)
		if err != nil || strings.ContainsAny(part, "\r\n") { // which even Strict skips
			return [3][]byte{}, ErrMalformed
		}
	}
	return parts, nil
}

// checkHeader returns the kid. The token chooses nothing (RFC 8725 §3.1): alg is only
// compared, kid picks one of the keys that we trust anyway, and jwk, jku, x5u and x5c are
// never looked at. crit lists extensions to understand or to refuse (RFC 7515 §4.1.11).
func (s *Service) checkHeader(part []byte) (kid string, err error) {
	header, err := strictjson.Object(part)
	if err != nil {
		return "", fmt.Errorf("%w: the header is %w", ErrMalformed, err)
	}
	_, critical := header["crit"]
	switch {
	case header["alg"] != s.alg:
		return "", fmt.Errorf("%w: alg is not %s", ErrHeader, s.alg)
	case !s.acceptsType(header):
		return "", fmt.Errorf("%w: typ is not that of an access token", ErrHeader)
	case critical:
		return "", fmt.Errorf("%w: crit is not understood", ErrHeader)
	}
	kid, _ = header["kid"].(string)
	return kid, nil
}

// acceptsType compares typ as the media type that it is: upper and lower case are alike, and
// "application/" may be left out (RFC 7515 §4.1.9). The type at+jwt keeps other tokens from
// passing for access tokens (RFC 9068 §2.1). Many issuers write JWT or nothing instead, so
// with a token from outside only the audience keeps ID tokens out.
func (s *Service) acceptsType(header map[string]any) bool {
	value, present := header["typ"]
	typ, _ := value.(string)
	if !strings.Contains(typ, "/") {
		typ = "application/" + typ
	}
	general := !present || strings.EqualFold(typ, "application/jwt")
	return strings.EqualFold(typ, "application/at+jwt") || general && s.remote != nil
}

// verify uses hmac.Equal, since the time of bytes.Equal reveals the first wrong byte.
func (s *Service) verify(kid string, input, signature []byte) error {
	if s.alg == "HS256" {
		if mac, _ := s.sign(input); !hmac.Equal(mac, signature) {
			return ErrSignature
		}
		return nil
	}
	hash := sha256.Sum256(input)
	key, err := s.find(kid)
	switch {
	case err != nil:
		return err
	case key == nil:
		return ErrUnknownKey
	case rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], signature) != nil:
		return ErrSignature
	}
	return nil
}

// validate checks the claims (RFC 7519 §4.1, RFC 9068 §4). It ignores those it does not know.
func (s *Service) validate(claims map[string]any) error {
	username, _ := claims["sub"].(string)
	expires, notBefore, issued := date(claims, "exp"), date(claims, "nbf"), date(claims, "iat")
	now := time.Now()
	switch {
	case claims["iss"] != s.issuer: // byte for byte: a trailing slash counts
		return fmt.Errorf("%w: iss is not our issuer", ErrClaim)
	case claims["aud"] != s.audience && !lists(claims["aud"], s.audience):
		return fmt.Errorf("%w: aud is not our audience", ErrClaim)
	case username == "" || strings.ContainsRune(username, utf8.RuneError): // was not UTF-8
		return fmt.Errorf("%w: sub is not a username", ErrClaim)
	case claims["exp"] == nil: // the token would be valid for ever
		return fmt.Errorf("%w: exp is missing", ErrClaim)
	case expires.IsZero() || notBefore.IsZero() || issued.IsZero():
		return fmt.Errorf("%w: exp, nbf or iat is not a date", ErrClaim)
	case !now.Before(expires.Add(s.leeway)): // expired "on or after" exp: RFC 7519 §4.1.4
		return ErrExpired
	case now.Before(notBefore.Add(-s.leeway)):
		return ErrNotYet
	}
	return nil
}

// lists reports whether value is a JSON array of strings, and text one of them.
func lists(value any, text string) (found bool) {
	elements, _ := value.([]any)
	for _, element := range elements {
		if _, ok := element.(string); !ok {
			return false // one odd element makes the rest suspect
		}
		found = found || element == text
	}
	return found
}

// date returns a NumericDate in UTC: seconds since 1970, maybe with a fraction (RFC 7519
// §2). If the claim is absent, it returns 1970; if it is not a date, the zero time.
func date(claims map[string]any, name string) time.Time {
	value, present := claims[name]
	seconds, number := value.(float64)
	tooLate := seconds >= 253402300800 // the year 10000; 1e300 would overflow
	if present && (!number || seconds < 0 || tooLate) {
		return time.Time{}
	}
	return time.UnixMicro(int64(seconds * 1e6)).UTC() // exact for whole seconds
}

// Revoke fails with errors.ErrUnsupported for a valid token, which stays valid until it
// expires, and returns whose it is. For any other it succeeds, by RFC 7009 §2.2.
func (s *Service) Revoke(token string) (username string, err error) {
	if username, _, err = s.Check(token); err != nil {
		return "", nil
	}
	return username, errors.ErrUnsupported
}
