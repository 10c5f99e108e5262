// The specification of signed tokens: what is issued, what is accepted, and what is refused
// and why. keys_test.go has the settings and our keys, remote_test.go
// the keys of an outside issuer.

package jwt

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	self   = "http://127.0.0.1:8001"
	secret = "0123456789abcdef0123456789abcdef" // 32 bytes
	ttl    = 15 * time.Minute
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	for _, setting := range settings {
		os.Unsetenv(setting.name)
	}
	os.Exit(m.Run())
}

// RFC 7515, appendix A.1: an HS256 key and the token made with it.
const (
	a1Key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
	a1    = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9" +
		".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt" +
		"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ" +
		".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// RFC 7515, appendix A.2: an RS256 key and the token made with it.
const (
	a2N = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz" +
		"P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpa" +
		"SHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT" +
		"6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
	a2D = "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7Y" +
		"wVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzj" +
		"kn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT" +
		"5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ"
	a2P = "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB" +
		"0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc"
	a2Q = "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul" +
		"7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc"
	a2 = "eyJhbGciOiJSUzI1NiJ9" +
		".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt" +
		"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ" +
		".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7" +
		"AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4" +
		"BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K" +
		"0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv" +
		"hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB" +
		"p0igcN_IoypGlUPQGe77Rw"
)

func TestHS256VerifiesAndSignsTheExampleOfRFC7515AppendixA1(t *testing.T) {
	s := &Service{remote: &remote{}} // as from outside: the example's typ is JWT
	if err := s.useSecret(string(decode(t, a1Key))); err != nil {
		t.Fatal(err)
	}
	checkExample(t, s, a1)
}

func TestRS256VerifiesAndSignsTheExampleOfRFC7515AppendixA2(t *testing.T) {
	t.Setenv("JWT_KEY_FILE", writeKey(t, "RSA PRIVATE KEY",
		x509.MarshalPKCS1PrivateKey(exampleKey(t))))
	s := newService(t, "rs256")
	s.remote = &remote{} // as from outside: the example has no typ
	// It names no key, so any kid finds it.
	s.find = func(string) (*rsa.PublicKey, error) { return &s.private.PublicKey, nil }
	checkExample(t, s, a2)
}

func checkExample(t *testing.T, s *Service, token string) {
	t.Helper()
	claims, err := s.open(token)
	want := map[string]any{"iss": "joe", "exp": 1300819380.0, "http://example.com/is_root": true}
	if err != nil || !maps.Equal(claims, want) {
		t.Errorf("open: got %v, %v; want the claims of the example", claims, err)
	}
	dot := strings.LastIndexByte(token, '.')
	signature, err := s.sign([]byte(token[:dot]))
	if got, want := base64url.EncodeToString(signature), token[dot+1:]; err != nil || got != want {
		t.Errorf("sign: got %s, %v; want %s", got, err, want)
	}
}

func TestAnIssuedTokenSaysWhoseItIsUntilItExpires(t *testing.T) {
	for _, kind := range []string{"hs256", "rs256"} {
		t.Run(kind, func(t *testing.T) {
			s := newService(t, kind)
			before := time.Now().Truncate(time.Second)
			token, expires, err := s.Issue("user1")
			if err != nil {
				t.Fatal(err)
			}
			if expires.Location() != time.UTC || expires.Nanosecond() != 0 ||
				expires.Before(before.Add(ttl)) || expires.After(time.Now().Add(ttl)) {
				t.Errorf("got expires %v, want whole seconds in UTC, %v from now", expires, ttl)
			}
			username, until, err := s.Check(token)
			if username != "user1" || until != expires || err != nil { // UTC, too
				t.Errorf("got %q, %v, %v; want user1, %v, no error", username, until, err, expires)
			}
		})
	}
}

func TestAnIssuedTokenCarriesTheHeaderAndClaimsOfRFC9068(t *testing.T) {
	for kind, want := range map[string][]string{
		"hs256": {"alg", "typ"},
		"rs256": {"alg", "kid", "typ"},
	} {
		s := newService(t, kind)
		header, claims := parts(t, issue(t, s))
		if got := slices.Sorted(maps.Keys(header)); !slices.Equal(got, want) {
			t.Errorf("%s: got header %v, want %v", kind, got, want)
		}
		if header["alg"] != strings.ToUpper(kind) || header["typ"] != "at+jwt" {
			t.Errorf("%s: got header %v", kind, header)
		}
		if kind == "rs256" && header["kid"] != thumbprint(&s.private.PublicKey) {
			t.Errorf("got kid %v, want the thumbprint", header["kid"])
		}
		all := []string{"aud", "client_id", "exp", "iat", "iss", "jti", "sub"}
		if got := slices.Sorted(maps.Keys(claims)); !slices.Equal(got, all) {
			t.Errorf("%s: got claims %v, want %v", kind, got, all)
		}
		if claims["iss"] != self || claims["aud"] != self || claims["sub"] != "user1" ||
			claims["client_id"] != "public" ||
			claims["exp"].(float64)-claims["iat"].(float64) != ttl.Seconds() {
			t.Errorf("%s: got claims %v", kind, claims)
		}
	}
}

func TestEachTokenIsANewOneAndCountsItsLifeFromItsIssue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, "hs256")
		first, expires1, _ := s.Issue("user1")
		second, _, _ := s.Issue("user1")
		if first == second {
			t.Error("two tokens of one second are the same")
		}
		time.Sleep(time.Hour)
		_, expires2, _ := s.Issue("user1")
		if got := expires2.Sub(expires1); got != time.Hour {
			t.Errorf("an hour later exp is %v later", got)
		}
	})
}

func TestATokenIsValidUntilExactlyItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, "hs256")
		time.Sleep(300 * time.Millisecond) // iat is cut to the second
		token, expires, _ := s.Issue("user1")
		time.Sleep(time.Until(expires) - time.Nanosecond)
		if _, _, err := s.Check(token); err != nil {
			t.Errorf("a nanosecond before exp: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, _, err := s.Check(token); !errors.Is(err, ErrExpired) {
			t.Errorf("at exp: got %v, want ErrExpired", err)
		}
	})
}

func TestAFractionOfASecondCounts(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, "hs256")
		now := float64(time.Now().Unix())
		token := hs256Token(changes{}.to(goodHeader()),
			changes{"nbf": now + 0.25, "exp": now + 0.5}.to(goodClaims()))
		for _, step := range []struct {
			milliseconds time.Duration
			want         error
		}{{249, ErrNotYet}, {1, nil}, {249, nil}, {1, ErrExpired}} {
			time.Sleep(step.milliseconds * time.Millisecond)
			wantError(t, s, token, step.want)
		}
	})
}

func TestALifetimeIsCutToWholeSecondsAndUnderOneSecondIsNone(t *testing.T) {
	s, err := New("hs256", 1500*time.Millisecond, self, quiet)
	if err != nil {
		t.Fatal(err)
	}
	token, expires, err := s.Issue("user1")
	if err != nil {
		t.Fatal(err)
	}
	_, claims := parts(t, token)
	exp := claims["exp"].(float64)
	if got := exp - claims["iat"].(float64); got != 1 || expires != time.Unix(int64(exp), 0).UTC() {
		t.Errorf("1.5s: got a life of %v s until %v, want 1 s", got, expires)
	}
	for _, short := range []time.Duration{999 * time.Millisecond, 0, -time.Hour} {
		s, err := New("hs256", short, self, quiet)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, s, issue(t, s), ErrExpired)
	}
}

func TestRevokingASignedTokenFailsAndABadOneSucceeds(t *testing.T) {
	s := newService(t, "hs256")
	token := issue(t, s)
	username, err := s.Revoke(token)
	if username != "user1" || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a valid token: got %q, %v; want user1, ErrUnsupported", username, err)
	}
	if _, _, err := s.Check(token); err != nil {
		t.Errorf("it stays valid, but: %v", err)
	}
	if username, err := s.Revoke(token + "x"); username != "" || err != nil {
		t.Errorf("another token: got %q, %v; want nothing", username, err)
	}
}

func TestServersWithOneKeyAndOneIssuerAcceptEachOthersTokens(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	t.Setenv("JWT_KEY_FILE", writeKey(t, "RSA PRIVATE KEY",
		x509.MarshalPKCS1PrivateKey(exampleKey(t))))
	t.Setenv("JWT_ISSUER", "https://tokens.example")
	for _, kind := range []string{"hs256", "rs256"} {
		here, there := newService(t, kind), newService(t, kind)
		if username, _, err := there.Check(issue(t, here)); username != "user1" || err != nil {
			t.Errorf("%s: got %q, %v", kind, username, err)
		}
	}
}

func TestGeneratedKeysDifferSoARestartEndsAllTokens(t *testing.T) {
	for kind, want := range map[string]error{"hs256": ErrSignature, "rs256": ErrUnknownKey} {
		token := issue(t, newService(t, kind))
		if _, _, err := newService(t, kind).Check(token); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", kind, err, want)
		}
	}
}

// goodHeader and goodClaims satisfy every rule. The hostile tokens below differ from them
// in one thing each, and are signed with the right key where they can be.
func goodHeader() map[string]any { return map[string]any{"alg": "HS256", "typ": "at+jwt"} }

func goodClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": self, "aud": self, "sub": "user1", "iat": now, "exp": now + 900,
		"jti": "1", "client_id": "public"}
}

type changes map[string]any

var absent = new(int) // as a value: leave the name out

func (c changes) to(members map[string]any) string {
	for name, value := range c {
		members[name] = value
		if value == absent {
			delete(members, name)
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestTheHeaderIsCheckedNeverObeyed(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	s := newService(t, "hs256")
	for _, test := range []struct {
		name   string
		header string
		want   error
	}{
		{"as issued", changes{}.to(goodHeader()), nil},
		{"unknown names are ignored", changes{"x": nil}.to(goodHeader()), nil},
		{"a kid is not needed, and ignored", changes{"kid": "x"}.to(goodHeader()), nil},
		{"a jwk brings no key", changes{"jwk": map[string]any{"kty": "oct"}}.to(goodHeader()), nil},
		{"alg none", changes{"alg": "none"}.to(goodHeader()), ErrHeader},
		{"alg None", changes{"alg": "None"}.to(goodHeader()), ErrHeader},
		{"alg empty", changes{"alg": ""}.to(goodHeader()), ErrHeader},
		{"alg missing", changes{"alg": absent}.to(goodHeader()), ErrHeader},
		{"alg null", changes{"alg": nil}.to(goodHeader()), ErrHeader},
		{"alg a list", changes{"alg": []string{"HS256"}}.to(goodHeader()), ErrHeader},
		{"alg an object", changes{"alg": map[string]any{}}.to(goodHeader()), ErrHeader},
		{"alg in lower case", changes{"alg": "hs256"}.to(goodHeader()), ErrHeader},
		{"alg HS384", changes{"alg": "HS384"}.to(goodHeader()), ErrHeader},
		{"alg RS256", changes{"alg": "RS256"}.to(goodHeader()), ErrHeader},
		{"alg with a space", changes{"alg": "HS256 "}.to(goodHeader()), ErrHeader},
		{"typ missing", changes{"typ": absent}.to(goodHeader()), ErrHeader},
		{"typ JWT", changes{"typ": "JWT"}.to(goodHeader()), ErrHeader},
		{"typ in upper case", changes{"typ": "AT+JWT"}.to(goodHeader()), nil},
		{"typ with application/", changes{"typ": "application/at+jwt"}.to(goodHeader()), nil},
		{"typ with it in upper case", changes{"typ": "APPLICATION/at+JWT"}.to(goodHeader()), nil},
		{"typ with it twice", changes{"typ": "application/application/at+jwt"}.to(goodHeader()),
			ErrHeader},
		{"typ with a parameter", changes{"typ": "at+jwt;v=1"}.to(goodHeader()), ErrHeader},
		{"typ of another tree", changes{"typ": "text/at+jwt"}.to(goodHeader()), ErrHeader},
		{"typ with a letter that only looks alike",
			changes{"typ": "appl\u0130cation/at+jwt"}.to(goodHeader()), ErrHeader},
		{"typ empty", changes{"typ": ""}.to(goodHeader()), ErrHeader},
		{"typ null", changes{"typ": nil}.to(goodHeader()), ErrHeader},
		{"typ application/JWT", changes{"typ": "application/JWT"}.to(goodHeader()), ErrHeader},
		{"typ a number", changes{"typ": 1}.to(goodHeader()), ErrHeader},
		{"typ a list", changes{"typ": []string{"at+jwt"}}.to(goodHeader()), ErrHeader},
		{"crit", changes{"crit": []string{"exp"}}.to(goodHeader()), ErrHeader},
		{"crit empty", changes{"crit": []string{}}.to(goodHeader()), ErrHeader},
		{"crit null", changes{"crit": nil}.to(goodHeader()), ErrHeader},
		{"crit b64", changes{"crit": []string{"b64"}, "b64": false}.to(goodHeader()), ErrHeader},
		{"name in another case", `{"Alg":"HS256","typ":"at+jwt"}`, ErrHeader},
		{"name twice", `{"alg":"none","alg":"HS256","typ":"at+jwt"}`, ErrMalformed},
		{"name twice, once escaped", `{"alg":"HS256","\u0061lg":"HS256","typ":"at+jwt"}`,
			ErrMalformed},
		{"something after it", `{"alg":"HS256","typ":"at+jwt"}{}`, ErrMalformed},
		{"a list", `["HS256"]`, ErrMalformed},
		{"null", `null`, ErrMalformed},
		{"empty", ``, ErrMalformed},
		{"not JSON", `{alg:HS256}`, ErrMalformed},
		{"a comma too many", `{"alg":"HS256","typ":"at+jwt",}`, ErrMalformed},
		{"cut off", `{"alg":"HS256","typ":"at+jwt"`, ErrMalformed},
		{"not UTF-8", "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"x\":\"\xff\"}", ErrMalformed},
		{"a byte order mark", "\ufeff{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", ErrMalformed},
		{"100 nested lists", `{"alg":"HS256","typ":"at+jwt","x":` + strings.Repeat("[", 100) +
			strings.Repeat("]", 100) + `}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, s, hs256Token(test.header, changes{}.to(goodClaims())), test.want)
		})
	}
}

func TestTheClaimsMustBeForUsFromOurIssuerAndInForce(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	s := newService(t, "hs256")
	now := time.Now().Unix()
	for _, test := range []struct {
		name   string
		claims string
		want   error
	}{
		{"as issued", changes{}.to(goodClaims()), nil},
		{"unknown claims are ignored", changes{"x": nil, "y": []int{1}}.to(goodClaims()), nil},
		{"only the required ones", changes{"iat": absent, "jti": absent, "client_id": absent}.
			to(goodClaims()), nil},

		{"exp missing", changes{"exp": absent}.to(goodClaims()), ErrClaim},
		{"exp null", changes{"exp": nil}.to(goodClaims()), ErrClaim},
		{"exp a string", changes{"exp": fmt.Sprint(now + 900)}.to(goodClaims()), ErrClaim},
		{"exp a list", changes{"exp": []int64{now + 900}}.to(goodClaims()), ErrClaim},
		{"exp true", changes{"exp": true}.to(goodClaims()), ErrClaim},
		{"exp -1", changes{"exp": -1}.to(goodClaims()), ErrClaim},
		{"exp 1e300", changes{"exp": 1e300}.to(goodClaims()), ErrClaim},
		{"exp 1e400, which no float64 holds", `{"exp":1e400}`, ErrMalformed},
		{"exp 2⁶³", changes{"exp": 9223372036854775808.0}.to(goodClaims()), ErrClaim},
		{"exp after the year 9999", changes{"exp": 253402300800.0}.to(goodClaims()), ErrClaim},
		{"exp at the end of it", changes{"exp": 253402300799.0}.to(goodClaims()), nil},
		{"exp 0", changes{"exp": 0}.to(goodClaims()), ErrExpired},
		{"exp now", changes{"exp": now}.to(goodClaims()), ErrExpired},
		{"exp a second ago", changes{"exp": now - 1}.to(goodClaims()), ErrExpired},
		{"exp with a fraction", changes{"exp": float64(now) + 900.5}.to(goodClaims()), nil},
		{"exp with an exponent", `{"iss":"` + self + `","aud":"` + self + `","sub":"u","exp":4e9}`,
			nil},
		{"exp in another case", changes{"exp": absent, "Exp": now + 900}.to(goodClaims()),
			ErrClaim},

		{"nbf now", changes{"nbf": now}.to(goodClaims()), nil},
		{"nbf in a minute", changes{"nbf": now + 60}.to(goodClaims()), ErrNotYet},
		{"nbf 1e300", changes{"nbf": 1e300}.to(goodClaims()), ErrClaim},
		{"nbf null", changes{"nbf": nil}.to(goodClaims()), ErrClaim},
		{"nbf a string", changes{"nbf": "0"}.to(goodClaims()), ErrClaim},
		{"nbf -1", changes{"nbf": -1}.to(goodClaims()), ErrClaim},
		{"iat -1", changes{"iat": -1}.to(goodClaims()), ErrClaim},
		{"iat a string", changes{"iat": "now"}.to(goodClaims()), ErrClaim},
		{"iat null", changes{"iat": nil}.to(goodClaims()), ErrClaim},

		{"iss missing", changes{"iss": absent}.to(goodClaims()), ErrClaim},
		{"iss null", changes{"iss": nil}.to(goodClaims()), ErrClaim},
		{"iss of another", changes{"iss": "http://127.0.0.1:8002"}.to(goodClaims()), ErrClaim},
		{"iss with a slash more", changes{"iss": self + "/"}.to(goodClaims()), ErrClaim},
		{"iss in another case", changes{"iss": strings.ToUpper(self)}.to(goodClaims()), ErrClaim},
		{"iss a list", changes{"iss": []string{self}}.to(goodClaims()), ErrClaim},

		{"aud missing", changes{"aud": absent}.to(goodClaims()), ErrClaim},
		{"aud null", changes{"aud": nil}.to(goodClaims()), ErrClaim},
		{"aud of another", changes{"aud": "x"}.to(goodClaims()), ErrClaim},
		{"aud a part of ours", changes{"aud": self[:10]}.to(goodClaims()), ErrClaim},
		{"aud an empty list", changes{"aud": []string{}}.to(goodClaims()), ErrClaim},
		{"aud a list without us", changes{"aud": []string{"x", "y"}}.to(goodClaims()), ErrClaim},
		{"aud a list with us", changes{"aud": []string{"x", self}}.to(goodClaims()), nil},
		{"aud a list with a null", changes{"aud": []any{self, nil}}.to(goodClaims()), ErrClaim},
		{"aud a list with a number", changes{"aud": []any{1, self}}.to(goodClaims()), ErrClaim},
		{"aud a list in a list", changes{"aud": []any{[]any{self}}}.to(goodClaims()), ErrClaim},
		{"aud an object", changes{"aud": map[string]any{self: self}}.to(goodClaims()), ErrClaim},

		{"sub missing", changes{"sub": absent}.to(goodClaims()), ErrClaim},
		{"sub null", changes{"sub": nil}.to(goodClaims()), ErrClaim},
		{"sub empty", changes{"sub": ""}.to(goodClaims()), ErrClaim},
		{"sub a number", changes{"sub": 1}.to(goodClaims()), ErrClaim},
		{"sub a list", changes{"sub": []string{"user1"}}.to(goodClaims()), ErrClaim},
		{"sub half a surrogate pair",
			strings.Replace(changes{}.to(goodClaims()), "user1", `\ud800`, 1), ErrClaim},
		{"sub twice", strings.Replace(changes{}.to(goodClaims()), "{", `{"sub":"user2",`, 1),
			ErrMalformed},
		{"sub twice, once escaped", strings.Replace(changes{}.to(goodClaims()), "{",
			`{"\u0073ub":"user2",`, 1), ErrMalformed},
		{"not UTF-8", strings.Replace(changes{}.to(goodClaims()), "user1", "user\xff", 1),
			ErrMalformed},
		{"a name twice, deep inside", changes{"x": json.RawMessage(`[{"y":1,"y":2}]`)}.
			to(goodClaims()), ErrMalformed},
		{"not an object", `"user1"`, ErrMalformed},
		{"empty", ``, ErrMalformed},
		{"something after it", changes{}.to(goodClaims()) + "x", ErrMalformed},
		{"over 8 KiB of nested lists", `{"x":` + strings.Repeat("[", 20000), ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantError(t, s, hs256Token(changes{}.to(goodHeader()), test.claims), test.want)
		})
	}
}

func TestTheReasonOfARefusalIsExactAndQuotesNothing(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	s := newService(t, "hs256")
	for _, test := range []struct {
		header, claims changes
		want           string
	}{
		{changes{"alg": "secret"}, nil, "jwt: wrong header: alg is not HS256"},
		{changes{"typ": "secret"}, nil, "jwt: wrong header: typ is not that of an access token"},
		{changes{"crit": "secret"}, nil, "jwt: wrong header: crit is not understood"},
		{nil, changes{"iss": "secret"}, "jwt: wrong claim: iss is not our issuer"},
		{nil, changes{"aud": "secret"}, "jwt: wrong claim: aud is not our audience"},
		{nil, changes{"sub": 1}, "jwt: wrong claim: sub is not a username"},
		{nil, changes{"exp": absent}, "jwt: wrong claim: exp is missing"},
		{nil, changes{"exp": "secret"}, "jwt: wrong claim: exp, nbf or iat is not a date"},
		{nil, changes{"exp": 1}, "jwt: expired"},
		{nil, changes{"nbf": 4e9}, "jwt: not valid yet"},
		{changes{"a\": secret": json.RawMessage(`{"a":1,"a":1}`)}, nil, "jwt: malformed token: " +
			"the header is not a JSON object in UTF-8 with each name once"},
		{nil, changes{"x": json.RawMessage(`{"a":1,"a":1}`)}, "jwt: malformed token: " +
			"the payload is not a JSON object in UTF-8 with each name once"},
	} {
		t.Run(test.want, func(t *testing.T) {
			token := hs256Token(test.header.to(goodHeader()), test.claims.to(goodClaims()))
			if _, _, err := s.Check(token); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	token := hs256Token(changes{}.to(goodHeader()), changes{}.to(goodClaims()))
	for want, token := range map[string]string{
		"jwt: malformed token": token + ".",
		"jwt: wrong signature": token[:len(token)-43] + strings.Repeat("A", 43),
	} {
		if _, _, err := s.Check(token); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestOneTokenHasOneSpelling(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	s := newService(t, "hs256")
	token := issue(t, s)
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for _, test := range []struct{ name, token string }{
		{"empty", ""},
		{"one part", header},
		{"two parts", header + "." + payload},
		{"four parts", token + ".x"},
		{"an empty fourth part", token + "."},
		{"an empty header", "." + payload + "." + signature},
		{"a dot in front", "." + token},
		{"padding after the header", header + "=." + payload + "." + signature},
		{"padding after the signature", token + "="},
		{"a line feed after it", token + "\n"},
		{"a line feed inside", header + ".\n" + payload + "." + signature},
		{"a carriage return inside", header + "." + payload + ".\r" + signature},
		{"a space in front", " " + token},
		{"a space after it", token + " "},
		{"the other alphabet", header + "." + payload + "." + "+/" + signature[2:]},
		{"a zero byte", token + "\x00"},
		{"a comma and more", token + ",x"},
		{"unused bits that are not zero", token[:len(token)-1] + nextLetter(token[len(token)-1])},
		{"over 8 KiB", header + "." + payload + strings.Repeat("A", 8<<10) + "." + signature},
		{"a million dots", strings.Repeat(".", 1e6)},
	} {
		t.Run(test.name, func(t *testing.T) { wantError(t, s, test.token, ErrMalformed) })
	}
	for _, test := range []struct{ name, token string }{
		{"an empty signature", header + "." + payload + "."},
		{"another signature", header + "." + payload + "." + strings.Repeat("A", 43)},
		{"half a signature", header + "." + payload + "." + signature[:22-2]},
		{"a signature and a byte more", hs256TokenWith(t, token, 0)},
		{"another payload",
			header + "." + base64url.EncodeToString([]byte(`{}`)) + "." + signature},
	} {
		t.Run(test.name, func(t *testing.T) { wantError(t, s, test.token, ErrSignature) })
	}
}

func TestATokenOf8KiBIsTheLongest(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	s := newService(t, "hs256")
	padded := func(header, payload int) string {
		return hs256Token(changes{"x": strings.Repeat("x", header)}.to(goodHeader()),
			changes{"x": strings.Repeat("x", payload)}.to(goodClaims()))
	}
	found := map[int]bool{}
	for header := range 3 { // three more bytes are four more letters
		for payload := 5_800; payload < 6_100; payload++ {
			token := padded(header, payload)
			found[len(token)] = true
			switch len(token) {
			case 8 << 10:
				wantError(t, s, token, nil)
			case 8<<10 + 1:
				wantError(t, s, token, ErrMalformed)
			}
		}
	}
	if !found[8<<10] || !found[8<<10+1] {
		t.Error("no token had the length to be tested")
	}
}

func TestATokenWithAnyLetterChangedIsRefused(t *testing.T) {
	s := newService(t, "hs256")
	token := issue(t, s)
	for i := range token {
		if token[i] == '.' {
			continue
		}
		changed := token[:i] + nextLetter(token[i]) + token[i+1:]
		if _, _, err := s.Check(changed); err == nil {
			t.Errorf("letter %d changed from %q: accepted", i, token[i])
		}
	}
}

func TestAMillionDotsAllocateNothing(t *testing.T) {
	s := newService(t, "hs256")
	dots := strings.Repeat(".", 1e6)
	if got := testing.AllocsPerRun(10, func() { split(dots) }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
	short := strings.Repeat(".", 8<<10)
	if got := testing.AllocsPerRun(10, func() { split(short) }); got != 0 {
		t.Errorf("8 KiB of dots: got %v allocations, want 0", got)
	}
	wantError(t, s, dots, ErrMalformed)
}

func TestAnUnsignedPayloadIsNeverRead(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	s := newService(t, "hs256")
	// Wrong in every claim, but the signature is what it fails at.
	token := hs256Token(changes{}.to(goodHeader()), `{"exp":0}`)
	wantError(t, s, token[:len(token)-43]+strings.Repeat("A", 43), ErrSignature)
}

func TestThePublicKeyIsRefusedAsAnHS256Secret(t *testing.T) {
	s := newService(t, "rs256")
	der, _ := x509.MarshalPKIXPublicKey(&s.private.PublicKey)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	header := changes{"kid": s.header["kid"]}.to(goodHeader())
	wantError(t, s, macToken(public, header, changes{}.to(goodClaims())), ErrHeader)
}

func TestAnRS256TokenMustNameOurKey(t *testing.T) {
	s := newService(t, "rs256")
	own := s.header["kid"]
	for _, test := range []struct {
		name string
		kid  any
		want error
	}{
		{"ours", own, nil},
		{"none", absent, ErrUnknownKey},
		{"empty", "", ErrUnknownKey},
		{"a number", 1, ErrUnknownKey},
		{"another", "../../etc/passwd", ErrUnknownKey},
		{"ours and more", own + "x", ErrUnknownKey},
		{"10 kB long", strings.Repeat("k", 10_000), ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := changes{"alg": "RS256", "kid": test.kid}.to(goodHeader())
			wantError(t, s, rs256Token(t, s.private, header, changes{}.to(goodClaims())), test.want)
		})
	}
}

func TestAnRS256SignatureOfAnotherKeyOrLengthIsRefused(t *testing.T) {
	s := newService(t, "rs256")
	header := changes{"alg": "RS256", "kid": s.header["kid"]}.to(goodHeader())
	wantError(t, s, rs256Token(t, exampleKey(t), header, changes{}.to(goodClaims())), ErrSignature)
	token := issue(t, s)
	dot := strings.LastIndexByte(token, '.')
	wantError(t, s, token[:dot+1], ErrSignature)
	wantError(t, s, token[:dot+1]+"AAAA"+token[dot+1:], ErrSignature)
}

// FuzzVerify: no token makes Check panic, and what is accepted has one spelling.
func FuzzVerify(f *testing.F) {
	f.Setenv("JWT_SECRET", secret)
	s := newService(f, "hs256")
	for _, seed := range []string{"", "..", a1, a2, issue(f, s),
		hs256Token(changes{}.to(goodHeader()), `{}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		s.Check(token)
		if parts, err := split(token); err == nil && join(parts) != token {
			t.Errorf("%q is taken apart, and joined again it is %q", token, join(parts))
		}
		if _, err := s.open(token); err == nil {
			header, rest, _ := strings.Cut(token, ".")
			payload, _, _ := strings.Cut(rest, ".")
			again := hs256Token(string(decode(t, header)), string(decode(t, payload)))
			if again != token {
				t.Errorf("%q is accepted, and signed again it is %q", token, again)
			}
		}
	})
}

// FuzzSigned checks any header and any claims under a good signature.
func FuzzSigned(f *testing.F) {
	f.Setenv("JWT_SECRET", secret)
	s := newService(f, "hs256")
	f.Add(changes{}.to(goodHeader()), changes{}.to(goodClaims()))
	f.Add(changes{"kid": "x"}.to(goodHeader()), changes{"nbf": 1.5}.to(goodClaims()))
	f.Add(`{"alg":"none"}`, changes{"aud": []string{"x", self}}.to(goodClaims()))
	f.Fuzz(func(t *testing.T, header, claims string) {
		token := hs256Token(header, claims)
		username, expires, err := s.Check(token)
		if err != nil {
			if username != "" || !expires.IsZero() {
				t.Errorf("refused, and yet %q, %v", username, expires)
			}
			return
		}
		if parts, _ := split(token); join(parts) != token {
			t.Errorf("%q is accepted, and joined again it is another", token)
		}
		var loose struct{ Sub string }
		if json.Unmarshal([]byte(claims), &loose) != nil || username == "" {
			t.Errorf("%q is accepted for %q", claims, username)
		}
		if now := time.Now(); !now.Before(expires) {
			t.Errorf("accepted at %v, expired at %v", now, expires)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for _, kind := range []string{"hs256", "rs256"} {
		s := newService(b, kind)
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				s.Issue("user1")
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, kind := range []string{"hs256", "rs256"} {
		s := newService(b, kind)
		token := issue(b, s)
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Check(token)
			}
		})
	}
	s := newService(b, "rs256")
	hash := sha256.Sum256([]byte("x"))
	signature, _ := rsa.SignPKCS1v15(nil, s.private, crypto.SHA256, hash[:])
	b.Run("rsa.VerifyPKCS1v15", func(b *testing.B) {
		for b.Loop() {
			rsa.VerifyPKCS1v15(&s.private.PublicKey, crypto.SHA256, hash[:], signature)
		}
	})
}

func newService(t testing.TB, kind string) *Service {
	t.Helper()
	s, err := New(kind, ttl, self, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func issue(t testing.TB, s *Service) string {
	t.Helper()
	token, _, err := s.Issue("user1")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func wantError(t testing.TB, s *Service, token string, want error) {
	t.Helper()
	username, expires, err := s.Check(token)
	if want == nil && (err != nil || username == "" || expires.IsZero()) {
		t.Errorf("got %q, %v, %v; want it accepted", username, expires, err)
	}
	if want != nil && (!errors.Is(err, want) || username != "" || !expires.IsZero()) {
		t.Errorf("got %q, %v, %v; want nothing but %v", username, expires, err, want)
	}
}

func macToken(secret []byte, header, claims string) string {
	input := base64url.EncodeToString([]byte(header)) + "." +
		base64url.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64url.EncodeToString(mac.Sum(nil))
}

func hs256Token(header, claims string) string { return macToken([]byte(secret), header, claims) }

// hs256TokenWith appends a byte to the signature.
func hs256TokenWith(t testing.TB, token string, more byte) string {
	t.Helper()
	dot := strings.LastIndexByte(token, '.')
	return token[:dot+1] + base64url.EncodeToString(append(decode(t, token[dot+1:]), more))
}

func rs256Token(t testing.TB, key *rsa.PrivateKey, header, claims string) string {
	t.Helper()
	input := base64url.EncodeToString([]byte(header)) + "." +
		base64url.EncodeToString([]byte(claims))
	hash := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64url.EncodeToString(signature)
}

func join(parts [3][]byte) string {
	return base64url.EncodeToString(parts[0]) + "." + base64url.EncodeToString(parts[1]) + "." +
		base64url.EncodeToString(parts[2])
}

// nextLetter is the next letter of base64url's alphabet: in the last place of a
// signature it differs in bits that are not used.
func nextLetter(letter byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[(strings.IndexByte(alphabet, letter)+1)%64])
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	data, err := base64url.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// exampleKey returns the key of appendix A.2. It is read once.
func exampleKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := readExampleKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var readExampleKey = sync.OnceValues(func() (*rsa.PrivateKey, error) {
	number := func(text string) *big.Int {
		data, _ := base64url.DecodeString(text)
		return new(big.Int).SetBytes(data)
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: number(a2N), E: 65537}, D: number(a2D),
		Primes: []*big.Int{number(a2P), number(a2Q)}}
	key.Precompute()
	return key, key.Validate()
})

func parts(t testing.TB, token string) (header, claims map[string]any) {
	t.Helper()
	split, err := split(token)
	if err != nil || json.Unmarshal(split[0], &header) != nil ||
		json.Unmarshal(split[1], &claims) != nil {
		t.Fatalf("got token %q", token)
	}
	return header, claims
}
