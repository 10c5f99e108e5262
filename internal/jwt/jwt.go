// Package jwt makes and checks signed tokens (JWT, RFC 7519) on the standard
// library: compact JWS (RFC 7515) with HS256 or RS256. It never touches a user or
// a password. It remembers no token: what a token says stands in it, and its
// signature says who wrote that. Keys, and where they come from, are in keys.go.
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
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tokenserver/internal/strictjson"
)

// Why a token opens nothing, for errors.Is. The outside gets one refusal for all but
// the last: which check a forgery reached is what its author would like to know.
var (
	ErrMalformed   = errors.New("jwt: not a compact JWS of strict JSON")
	ErrHeader      = errors.New("jwt: not the alg or typ expected, or a crit")
	ErrUnknownKey  = errors.New("jwt: no key with this kid")
	ErrSignature   = errors.New("jwt: the signature is wrong")
	ErrClaim       = errors.New("jwt: a claim is missing, of the wrong type or not for us")
	ErrExpired     = errors.New("jwt: expired, or not valid yet")
	ErrUnavailable = errors.New("jwt: the issuer's keys are not available")
)

// A Service issues and checks signed tokens. Since it remembers none, copies with
// one key and one issuer accept each other's tokens, and none can revoke any.
type Service struct {
	alg              string
	header           map[string]string // of the tokens we sign
	types            []any             // the values of typ that pass; nil stands for no typ
	issuer, audience string
	keysURL          string // of external tokens, for Trusts
	ttl, leeway      time.Duration
	secret           []byte                                   // of HS256
	private          *rsa.PrivateKey                          // of RS256; nil: we cannot sign
	find             func(kid string) (*rsa.PublicKey, error) // for RS256; nil: no such key
}

// A type of its own (RFC 9068 §2.1): no ID token can pass for an access token.
const accessToken = "at+jwt"

// Issue makes a token for username that expires at a whole second, in UTC. Where
// another server issues, the error is errors.ErrUnsupported.
func (s *Service) Issue(username string) (token string, expires time.Time, err error) {
	if s.secret == nil && s.private == nil {
		return "", time.Time{}, errors.ErrUnsupported
	}
	header, _ := json.Marshal(s.header) // cannot fail, nor can the next: text and integers
	issued := time.Now().UTC().Truncate(time.Second)
	expires = issued.Add(s.ttl)
	payload, _ := json.Marshal(map[string]any{ // RFC 9068 §2.2
		"iss": s.issuer, "aud": s.audience, "sub": username,
		"iat": issued.Unix(), "exp": expires.Unix(), // seconds since 1970
		"jti": rand.Text(), // tells two tokens of one second apart
	})
	input := base64url.EncodeToString(header) + "." + base64url.EncodeToString(payload)
	signature, err := s.sign([]byte(input))
	return input + "." + base64url.EncodeToString(signature), expires, err
}

func (s *Service) sign(input []byte) ([]byte, error) {
	if s.alg == "HS256" {
		mac := hmac.New(sha256.New, s.secret)
		mac.Write(input)
		return mac.Sum(nil), nil
	}
	hash := sha256.Sum256(input)
	return rsa.SignPKCS1v15(nil, s.private, crypto.SHA256, hash[:]) // nothing random in it
}

// Check says whose token this is and when it expires, in UTC. On any error the
// token opens nothing.
// ErrUnavailable alone says nothing about the token: try again later.
func (s *Service) Check(token string) (username string, expires time.Time, err error) {
	payload, err := s.open(token)
	if err != nil {
		return "", time.Time{}, err
	}
	return s.validate(payload, time.Now())
}

// open returns the payload once the signature holds, and not a byte before (RFC
// 7515 §5.2). The token chooses nothing (RFC 8725 §3.1): alg is only compared, kid
// picks among keys trusted anyway, and jwk, jku, x5u and x5c are never looked at.
func (s *Service) open(token string) (payload []byte, err error) {
	parts := split(token)
	header, err := strictjson.Object(parts[0])
	if err != nil {
		return nil, ErrMalformed
	}
	_, critical := header["crit"] // refused since not understood: RFC 7515 §4.1.11
	typ, named := header["typ"]
	if critical || header["alg"] != s.alg || named && typ == nil || !slices.Contains(s.types, typ) {
		return nil, ErrHeader
	}
	kid, _ := header["kid"].(string)
	input := token[:strings.LastIndexByte(token, '.')]
	if err := s.verify(kid, []byte(input), parts[2]); err != nil {
		return nil, err
	}
	return parts[1], nil
}

// base64url is strict: the last character can carry four bits that mean nothing,
// and whoever ignores them accepts sixteen spellings of one token.
var base64url = base64.RawURLEncoding.Strict()

// split returns the three parts decoded, or three empty ones. It measures before it
// cuts: a million dots would become a million parts (CVE-2025-30204).
func split(token string) (parts [3][]byte) {
	if len(token) > 8<<10 || strings.Count(token, ".") != 2 || // ours take some 700 bytes
		strings.ContainsAny(token, "\r\n") { // which even a strict decoder skips
		return parts
	}
	for i, part := range strings.Split(token, ".") {
		decoded, err := base64url.DecodeString(part)
		if err != nil {
			return [3][]byte{}
		}
		parts[i] = decoded
	}
	return parts
}

// verify uses hmac.Equal: the time of bytes.Equal tells where the first wrong byte is.
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

// validate reads the claims (RFC 7519 §4.1, RFC 9068 §4) and ignores all others.
func (s *Service) validate(payload []byte, now time.Time) (string, time.Time, error) {
	claims, malformed := strictjson.Object(payload)
	username, _ := claims["sub"].(string)
	expires, ok1 := date(claims, "exp")
	notBefore, ok2 := date(claims, "nbf")
	_, ok3 := date(claims, "iat")
	err := ErrClaim
	switch {
	case malformed != nil:
		err = ErrMalformed
	case claims["iss"] != s.issuer, // byte for byte: a trailing slash counts
		claims["aud"] != s.audience && !slices.Contains(texts(claims["aud"]), s.audience),
		username == "", strings.ContainsRune(username, utf8.RuneError), // half a surrogate pair
		!ok1, !ok2, !ok3, expires.IsZero(): // without exp, it would be good for ever
	case !now.Before(expires.Add(s.leeway)), // dead "on or after" exp: RFC 7519 §4.1.4
		now.Before(notBefore.Add(-s.leeway)):
		err = ErrExpired
	default:
		return username, expires, nil
	}
	return "", time.Time{}, err
}

// texts returns a JSON array of strings, or nil if it is none.
func texts(value any) (list []string) {
	elements, _ := value.([]any)
	for _, element := range elements {
		text, ok := element.(string)
		if !ok {
			return nil // one odd element spoils it: what else is wrong there?
		}
		list = append(list, text)
	}
	return list
}

// date reads a NumericDate: seconds since 1970, maybe with a fraction (RFC 7519
// §2). An absent one is ok and the zero time; a null is not.
func date(claims map[string]any, name string) (t time.Time, ok bool) {
	claim, present := claims[name]
	seconds, ok := claim.(float64)
	if !ok || seconds < 0 || seconds >= 253402300800 { // the year 10000; 1e300 would overflow
		return time.Time{}, !present
	}
	return time.UnixMicro(int64(seconds * 1e6)).UTC(), true // exact for whole seconds
}

// Revoke cannot: a good token stays good until it expires, and the error is
// errors.ErrUnsupported. Any other needs no revoking: success by RFC 7009 §2.2.
func (s *Service) Revoke(token string) (username string, err error) {
	if username, _, err = s.Check(token); err != nil {
		return "", nil
	}
	return username, errors.ErrUnsupported
}
