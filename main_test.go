// main_test.go is the specification: read top to bottom, or run go test -v. What
// is refused is tested as much as what is allowed. Where time passes, it passes
// inside a testing/synctest bubble, whose clock jumps as soon as everyone waits.

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"tokenserver/internal/jwt"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/crypto/bcrypt"
)

// The article.

// Run it with -v: it shows every request and answer.
func TestTheArticlesStory(t *testing.T) {
	a := newAPI(t)
	a.shown = true

	t.Log("user1 logs in and gets a token.")
	login := a.post("/token", "username=user1&password=password1")
	got := decode(t, login)
	if login.Code != 200 || got["token_type"] != "bearer" || got["expires_in"] != 900.0 {
		t.Fatalf("got %d %v, want a bearer token for 900 seconds", login.Code, got)
	}
	accessToken := got["access_token"].(string)

	t.Log("The token opens /protected.")
	a.wantBody(a.get("/protected", "Bearer "+accessToken),
		`{"message":"Success to authentication, user1!"}`)

	t.Log("Without it, or with another one, /protected stays shut.")
	a.wantRefusal(a.get("/protected"), 401, "unauthorized")
	a.wantRefusal(a.get("/protected", "Bearer None"), 401, "invalid_token")

	t.Log("A wrong password gets no token.")
	refused := a.post("/token", "username=user1&password=password2")
	a.wantRefusal(refused, 401, "invalid_grant")
	if got := decode(t, refused)["detail"]; got != "Incorrect username or password" {
		t.Errorf("got detail %q, want the article's", got)
	}

	t.Log("Logging out kills the token.")
	a.wantStatus(a.post("/revoke", "token="+accessToken), 200)
	a.wantRefusal(a.get("/protected", "Bearer "+accessToken), 401, "invalid_token")
}

// Tokens.

func TestATokenIs32LettersAndDigits(t *testing.T) {
	seen := make(map[string]bool)
	for range 10_000 {
		got := newToken()
		if !regexp.MustCompile(`^[A-Za-z0-9]{32}$`).MatchString(got) {
			t.Fatalf("got %q, want 32 letters and digits", got)
		}
		if seen[got] {
			t.Fatalf("got %q twice", got)
		}
		seen[got] = true
	}
}

func TestEveryCharacterOfATokenIsEquallyLikely(t *testing.T) {
	const tokens = 31_250 // of 32 characters: a million
	counts := make(map[rune]float64)
	for range tokens {
		for _, c := range newToken() {
			counts[c]++
		}
	}
	const expected = tokens * 32 / 62.0
	chiSquare := 0.0
	for _, c := range alphabet {
		chiSquare += (counts[c] - expected) * (counts[c] - expected) / expected
	}
	// With 61 degrees of freedom, fair draws exceed 153 once in 10⁹ runs. Taking
	// each byte modulo 62 comes to about 6,600.
	if chiSquare > 153 {
		t.Errorf("got χ² = %.0f, want at most 153", chiSquare)
	}
}

func TestATokenOpensTheDoorForExactly15Minutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		token := a.tokenOf("user1")
		pass(15*time.Minute - time.Nanosecond)
		a.wantStatus(a.get("/protected", "Bearer "+token), 200)
		pass(time.Nanosecond)
		a.wantRefusal(a.get("/protected", "Bearer "+token), 401, "invalid_token")
	})
}

func TestUsingATokenDoesNotMakeItLiveLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		token := a.tokenOf("user1")
		for range 15 {
			a.wantStatus(a.get("/protected", "Bearer "+token), 200)
			pass(time.Minute)
		}
		a.wantRefusal(a.get("/protected", "Bearer "+token), 401, "invalid_token")
	})
}

func TestASecondLoginDoesNotEndTheFirst(t *testing.T) {
	a := newAPI(t)
	phone, laptop := a.tokenOf("user1"), a.tokenOf("user1")
	if phone == laptop {
		t.Fatal("got the same token twice, want a fresh one at each login")
	}
	a.wantStatus(a.get("/protected", "Bearer "+phone), 200)
	a.wantStatus(a.get("/protected", "Bearer "+laptop), 200)
}

func TestTheExpiryInTheAnswerIsTheTokensOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		pass(700 * time.Millisecond)
		got := decode(t, a.post("/token", "username=user1&password=password1"))
		want := time.Now().Add(15 * time.Minute).UTC().Format("2006-01-02T15:04:05Z")
		if got["expires_at"] != want || got["expires_in"] != 900.0 {
			t.Errorf("got %v and %v, want %s and 900", got["expires_at"], got["expires_in"], want)
		}
	})
}

func TestARevokedTokenIsDeadAtOnce(t *testing.T) {
	a := newAPI(t)
	token, other := a.tokenOf("user1"), a.tokenOf("user1")
	revoked := a.post("/revoke", "token="+token)
	a.wantStatus(revoked, 200)
	if revoked.Body.Len() > 0 || revoked.Header().Get("Content-Type") != "" {
		t.Errorf("got %s body %q, want none", revoked.Header().Get("Content-Type"), revoked.Body)
	}
	a.wantRefusal(a.get("/protected", "Bearer "+token), 401, "invalid_token")
	a.wantStatus(a.get("/protected", "Bearer "+other), 200)
}

func TestRevokingAnUnknownTokenIsFine(t *testing.T) {
	a := newAPI(t)
	token := a.tokenOf("user1")
	for _, unknown := range []string{"hogehogefugafuga", strings.Repeat("z", 32), token + "x"} {
		a.wantStatus(a.post("/revoke", "token="+unknown), 200)
	}
	a.wantStatus(a.post("/revoke", "token="+token), 200)
	a.wantStatus(a.post("/revoke", "token="+token+"&token_type_hint=refresh_token"), 200)
}

func TestARevokedTokenStaysDeadAfterTheMapsHaveTurned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := newOpaqueTokens(15 * time.Minute)
		pass(14 * time.Minute)
		token, _, _ := tokens.Issue("user1")
		pass(2 * time.Minute)
		tokens.Issue("user2") // the first token now stands in the old map
		wantOwner(t, tokens, token, "user1")
		tokens.Revoke(token)
		wantOwner(t, tokens, token, "")
	})
}

func TestNoUsableTokenIsInMemory(t *testing.T) {
	tokens := newOpaqueTokens(15 * time.Minute)
	token, _, err := tokens.Issue("user1")
	if err != nil {
		t.Fatal(err)
	}
	if dump := fmt.Sprintf("%#v", tokens); strings.Contains(dump, token) {
		t.Error("got the token in the service's memory, want its hash only")
	}
	if _, ok := tokens.young[sha256.Sum256([]byte(token))]; !ok {
		t.Error("got no entry under the token's SHA-256")
	}
}

func TestDeadTokensAreForgottenByTheBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := newOpaqueTokens(15 * time.Minute)
		known := func() int { return len(tokens.young) + len(tokens.old) }
		for i := range 1000 {
			tokens.Issue(fmt.Sprint("user", i))
		}
		pass(15 * time.Minute)
		tokens.Issue("user1")
		if got := known(); got != 1001 {
			t.Errorf("got %d tokens in memory after one lifetime, want 1001", got)
		}
		pass(15 * time.Minute)
		tokens.Issue("user1")
		if got := known(); got != 2 {
			t.Errorf("got %d tokens in memory after two lifetimes, want 2", got)
		}
		pass(time.Hour)
		tokens.Issue("user1")
		if got := known(); got != 1 {
			t.Errorf("got %d tokens in memory after a quiet hour, want 1", got)
		}
	})
}

func TestNoTokenIsForgottenWhileItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := newOpaqueTokens(15 * time.Minute)
		type issued struct {
			username, token string
			expires         time.Time
		}
		var all []issued
		for minute := range 180 {
			for _, i := range all {
				want := ""
				if time.Now().Before(i.expires) {
					want = i.username
				}
				wantOwner(t, tokens, i.token, want)
			}
			if minute%7 < 3 || minute > 100 { // busy, then not, then busy
				username := fmt.Sprint("user", minute)
				token, expires, _ := tokens.Issue(username)
				all = append(all, issued{username, token, expires})
			}
			pass(time.Minute)
		}
	})
}

// Passwords.

func TestAnUnknownUserAndAWrongPasswordGetTheSameAnswer(t *testing.T) {
	a := newAPI(t)
	wrong := a.post("/token", "username=user1&password=wrong")
	unknown := a.post("/token", "username=nobody&password=wrong")
	a.wantRefusal(wrong, 401, "invalid_grant")
	if wrong.Body.String() != unknown.Body.String() ||
		fmt.Sprint(wrong.Header()) != fmt.Sprint(unknown.Header()) {
		t.Errorf("got %v %s\nand %v %s, want the same bytes",
			wrong.Header(), wrong.Body, unknown.Header(), unknown.Body)
	}
}

// A comparison allocates the state of its cipher, 4 KiB, so what was not computed
// shows in the allocations, on a busy machine too.
func TestAnUnknownUserCostsTheSameHash(t *testing.T) {
	a := newAPI(t)
	for _, name := range []string{"user1", "nobody"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		a.server.users.authenticate(t.Context(), name, "wrong")
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got < 4<<10 {
			t.Errorf("got %d bytes allocated for %s, want those of a hash", got, name)
		}
	}
	cost, _ := bcrypt.Cost([]byte(a.server.users.dummy))
	if want, _ := bcrypt.Cost([]byte(a.server.users.byName["user1"].hash)); cost != want {
		t.Errorf("got cost %d for unknown users, want %d", cost, want)
	}
}

func TestTheWholePasswordCounts(t *testing.T) {
	a := newAPI(t)
	u := a.server.users
	long := strings.Repeat("0123456789ab", 6)
	for name, password := range map[string]string{"long": long, "short": "abc"} {
		hash, _ := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		u.byName[name] = &user{name: name, hash: string(hash)}
	}
	for _, c := range []struct {
		statement, name, password string
		want                      error
	}{
		{"72 bytes log in", "long", long, nil},
		{"72 bytes and one more do not", "long", long + "x", errWrongPassword},
		{"71 of 72 bytes do not", "long", long[:71], errWrongPassword},
		{"a NUL and a repetition do not", "short", "abc\x00abc", errWrongPassword},
		{"a NUL is not the empty password", "short", "\x00", errWrongPassword},
		{"another case does not", "short", "ABC", errWrongPassword},
		{"a space at the end does not", "short", "abc ", errWrongPassword},
		{"another user's does not", "short", "password1", errWrongPassword},
		{"an unknown user's dummy does not", "nobody", "nobody's password", errWrongPassword},
	} {
		if _, err := u.authenticate(t.Context(), c.name, c.password); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.statement, err, c.want)
		}
	}
}

func TestEveryDemoUserLogsIn(t *testing.T) {
	a := newAPI(t)
	for _, n := range []string{"1", "2", "3"} {
		a.wantStatus(a.post("/token", "username=user"+n+"&password=password"+n), 200)
	}
}

func TestNoPasswordIsKept(t *testing.T) {
	a := newAPI(t)
	dump := fmt.Sprintf("%+v", a.server.users.byName["user1"])
	if strings.Contains(dump, "password1") {
		t.Errorf("got %s, want hashes only", dump)
	}
	if a.server.users.byName["user1"].hash == "" {
		t.Error("got no hash")
	}
}

// The token endpoint.

func TestTheTokenEndpointRefuses(t *testing.T) {
	const good = "username=user1&password=password1"
	for _, c := range []struct {
		statement, contentType, query, body string
		status                              int
		code                                string
	}{
		{"no username", formType, "", "password=password1", 400, "invalid_request"},
		{"no password", formType, "", "username=user1", 400, "invalid_request"},
		{"an empty username", formType, "", "username=&password=x", 400, "invalid_request"},
		{"an empty password", formType, "", "username=user1&password=", 400, "invalid_request"},
		{"an empty body", formType, "", "", 400, "invalid_request"},
		{"the username twice", formType, "", good + "&username=user1", 400, "invalid_request"},
		{"the scope twice", formType, "", good + "&scope=a&scope=a", 400, "invalid_request"},
		{"the password twice", formType, "", good + "&password=x", 400, "invalid_request"},
		{"the grant type twice", formType, "",
			good + "&grant_type=password&grant_type=password", 400, "invalid_request"},
		{"a broken escape", formType, "", "username=user1&password=%zz", 400, "invalid_request"},
		{"a semicolon", formType, "", "username=user1;password=x", 400, "invalid_request"},
		{"a NUL", formType, "", "username=user1&password=pass%00word", 400, "invalid_request"},
		{"bytes that are not UTF-8", formType, "", "username=%ff&password=x",
			400, "invalid_request"},
		{"credentials in the query", formType, good, "", 400, "invalid_request"},
		{"half of them in the query", formType, "password=password1", "username=user1",
			400, "invalid_request"},
		{"another grant", formType, "", good + "&grant_type=authorization_code",
			400, "unsupported_grant_type"},
		{"the grant of article 2", formType, "", "grant_type=client_credentials&client_id=x",
			400, "unsupported_grant_type"},
		{"a grant in capitals", formType, "", good + "&grant_type=PASSWORD",
			400, "unsupported_grant_type"},
		{"JSON", "application/json", "", `{"username":"user1","password":"password1"}`,
			415, "invalid_request"},
		{"multipart", "multipart/form-data; boundary=x", "", "--x--", 415, "invalid_request"},
		{"plain text", "text/plain", "", good, 415, "invalid_request"},
		{"no media type", "", "", good, 415, "invalid_request"},
		{"two media types", formType + ", text/plain", "", good, 415, "invalid_request"},
		{"a body of 4,097 bytes", formType, "", pad(good, 4097), 413, "invalid_request"},
		{"a body of 10 MB", formType, "", pad(good, 10_000_000), 413, "invalid_request"},
		{"a wrong password", formType, "", "username=user1&password=Password1",
			401, "invalid_grant"},
		{"a username in capitals", formType, "", "username=USER1&password=password1",
			401, "invalid_grant"},
		{"a username with a space", formType, "", "username=user1+&password=password1",
			401, "invalid_grant"},
	} {
		t.Run(c.statement, func(t *testing.T) {
			a := newAPI(t)
			got := a.do("POST", "/token?"+c.query, c.body, "Content-Type", c.contentType)
			a.wantRefusal(got, c.status, c.code)
		})
	}
}

func TestTheTokenEndpointAccepts(t *testing.T) {
	const good = "username=user1&password=password1"
	for _, c := range []struct{ statement, contentType, query, body string }{
		{"a form", formType, "", good},
		{"a form that names its character set", formType + "; charset=UTF-8", "", good},
		{"a media type in capitals", strings.ToUpper(formType), "", good},
		{"the password grant by name", formType, "", good + "&grant_type=password"},
		{"an empty grant type", formType, "", good + "&grant_type="},
		{"parameters that it does not know", formType, "", good + "&scope=a&x=1&x=2"},
		{"a query, which it ignores", formType, "username=user2&password=wrong", good},
		{"escaped characters", formType, "", "username=user%31&password=password%31"},
		{"a body of 4,096 bytes", formType, "", pad(good, 4096)},
	} {
		t.Run(c.statement, func(t *testing.T) {
			a := newAPI(t)
			got := a.do("POST", "/token?"+c.query, c.body, "Content-Type", c.contentType)
			a.wantStatus(got, 200)
		})
	}
}

// golang.org/x/oauth2 sends an empty client ID and secret this way.
func TestABasicHeaderAtTheTokenEndpointIsIgnored(t *testing.T) {
	a := newAPI(t)
	for _, header := range []string{"Basic Og==", "Basic dXNlcjI6cGFzc3dvcmQy", "Bearer x"} {
		got := a.do("POST", "/token", "username=user1&password=password1",
			"Content-Type", formType, "Authorization", header)
		a.wantStatus(got, 200)
	}
}

func TestRevocationRefuses(t *testing.T) {
	a := newAPI(t)
	token := a.tokenOf("user1")
	for statement, body := range map[string]string{
		"no token":         "",
		"an empty token":   "token=",
		"a doubled token":  "token=" + token + "&token=" + token,
		"a broken form":    "token=%zz",
		"a token with NUL": "token=%00",
	} {
		t.Log(statement)
		a.wantRefusal(a.post("/revoke", body), 400, "invalid_request")
	}
	a.wantRefusal(a.post("/revoke?token="+token, ""), 400, "invalid_request")
	a.wantRefusal(a.do("POST", "/revoke", `{"token":"x"}`, "Content-Type", "application/json"),
		415, "invalid_request")
	a.wantStatus(a.get("/protected", "Bearer "+token), 200)
}

func TestTwoContentTypesAreNone(t *testing.T) {
	a := newAPI(t)
	got := a.do("POST", "/token", "username=user1&password=password1",
		"Content-Type", formType, "Content-Type", "application/json")
	a.wantRefusal(got, 415, "invalid_request")
}

// The guard.

func TestTheGuardOpensTo(t *testing.T) {
	a := newAPI(t)
	token := a.tokenOf("user1")
	for statement, header := range map[string]string{
		"Bearer":              "Bearer " + token,
		"bearer":              "bearer " + token,
		"BEARER":              "BEARER " + token,
		"some spaces between": "Bearer    " + token,
	} {
		t.Log(statement)
		a.wantStatus(a.get("/protected", header), 200)
		a.wantStatus(a.get("/protected?access_token=wrong", header), 200)
	}
}

func TestTheGuardRefuses(t *testing.T) {
	a := newAPI(t)
	token := a.tokenOf("user1")
	otherCase := strings.Map(func(c rune) rune { return c ^ 0x20 }, token[:1]) + token[1:]
	for _, c := range []struct {
		statement string
		headers   []string
		status    int
		code      string
	}{
		{"no header", nil, 401, "unauthorized"},
		{"an empty header", []string{""}, 401, "unauthorized"},
		{"another scheme", []string{"Basic dXNlcjE6cGFzc3dvcmQx"}, 401, "unauthorized"},
		{"a scheme that only begins like it", []string{"Bearers " + token}, 401, "unauthorized"},
		{"the token alone", []string{token}, 401, "unauthorized"},
		{"the scheme alone", []string{"Bearer"}, 401, "invalid_token"},
		{"the article's None", []string{"Bearer None"}, 401, "invalid_token"},
		{"a token with more behind it", []string{"Bearer " + token + ",x"}, 401, "invalid_token"},
		{"a token with a space behind it", []string{"Bearer " + token + " "}, 401, "invalid_token"},
		{"two tokens", []string{"Bearer " + token + " " + token}, 401, "invalid_token"},
		{"a token one character short", []string{"Bearer " + token[:31]}, 401, "invalid_token"},
		{"the wrong case of one letter", []string{"Bearer " + otherCase}, 401, "invalid_token"},
		{"a megabyte", []string{"Bearer " + strings.Repeat("a", 1<<20)}, 401, "invalid_token"},
		{"two headers", []string{"Bearer " + token, "Bearer " + token}, 400, "invalid_request"},
	} {
		t.Run(c.statement, func(t *testing.T) {
			a.wantRefusal(a.get("/protected", c.headers...), c.status, c.code)
		})
	}
	a.wantRefusal(a.get("/protected?access_token="+token), 401, "unauthorized")
}

func TestTheRefusalOfATokenDoesNotTellWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		expired := a.tokenOf("user1")
		pass(15 * time.Minute)
		revoked := a.tokenOf("user1")
		a.post("/revoke", "token="+revoked)
		want := a.get("/protected", "Bearer "+strings.Repeat("a", 32))
		if got := want.Header().Get("WWW-Authenticate"); got !=
			`Bearer realm="token server", error="invalid_token"` {
			t.Errorf("got challenge %s", got)
		}
		for _, token := range []string{expired, revoked, "malformed", ""} {
			got := a.get("/protected", "Bearer "+token)
			if got.Code != want.Code || got.Body.String() != want.Body.String() ||
				fmt.Sprint(got.Header()) != fmt.Sprint(want.Header()) {
				t.Errorf("got %v %s, want %v %s", got.Header(), got.Body, want.Header(), want.Body)
			}
		}
	})
}

func TestADisabledUserIsKnownButMayNotEnter(t *testing.T) {
	a := newAPI(t)
	login := a.post("/token", "username=user3&password=password3")
	a.wantStatus(login, 200) // authentication
	token := decode(t, login)["access_token"].(string)
	got := a.get("/protected", "Bearer "+token)
	a.wantRefusal(got, 403, "access_denied") // authorization
	if detail := decode(t, got)["detail"]; detail != "Inactive user" {
		t.Errorf("got %q, want Inactive user", detail)
	}
}

func TestAServiceThatCannotTellMeans503(t *testing.T) {
	a := newAPI(t)
	a.server.tokens = outage{}
	got := a.get("/protected", "Bearer x")
	a.wantRefusal(got, 503, "temporarily_unavailable")
	a.wantRefusal(a.post("/revoke", "token=x"), 400, "unsupported_token_type")
	var log safeBuffer
	a.server.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a.wantRefusal(a.post("/token", "username=user1&password=password1"), 500, "server_error")
	if got := log.String(); !strings.Contains(got, `msg="login refused" username=user1`) {
		t.Errorf("got log %q, want the internal error in it, also with -quiet", got)
	}
}

// outage is a token service that cannot do anything.
type outage struct{}

func (outage) Error() string        { return "secret reason" }
func (outage) Is(target error) bool { return target == jwt.ErrUnavailable }

func (o outage) Issue(string) (string, time.Time, error) { return "", time.Time{}, o }
func (o outage) Check(string) (string, time.Time, error) { return "", time.Time{}, o }
func (o outage) Revoke(string) (string, error)           { return "", errors.ErrUnsupported }

// Accounts.

func TestWhoeverRegistersCanLogIn(t *testing.T) {
	a := newAPI(t)
	got := a.register("alice@example.com", "correct horse")
	if got.Code != 201 || got.Body.String() != `{"username":"alice@example.com"}` {
		t.Fatalf("got %d %s, want 201 and the username", got.Code, got.Body)
	}
	wantJSONHeaders(t, got)
	login := a.post("/token", "username=alice@example.com&password=correct+horse")
	token := decode(t, login)["access_token"].(string)
	a.wantBody(a.get("/protected", "Bearer "+token),
		`{"message":"Success to authentication, alice@example.com!"}`)
}

func TestRegistrationAccepts(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct{ statement, username, password string }{
		{"a name of one character", "a", "password9"},
		{"a name of 64 characters", strings.Repeat("a", 64), "password9"},
		{"every kind of character in a name", "a.b_c-d@0", "password9"},
		{"a password of 8 characters", "eight", "12345678"},
		{"8 characters that are not ASCII", "kanji", "認証認可認証認可"},
		{"a password of 72 bytes", "long", strings.Repeat("x", 72)},
		{"a password of all kinds of characters", "all", " \t\n\"\\ü\u2028<>"},
	} {
		t.Run(c.statement, func(t *testing.T) {
			a.wantStatus(a.register(c.username, c.password), 201)
			login := url.Values{"username": {c.username}, "password": {c.password}}
			a.wantStatus(a.post("/token", login.Encode()), 200)
			login.Set("password", c.password+"x")
			a.wantRefusal(a.post("/token", login.Encode()), 401, "invalid_grant")
		})
	}
}

func TestRegistrationRefuses(t *testing.T) {
	const jsonType = "application/json"
	const good = `{"username":"alice","password":"password9"}`
	named := func(name string) string { return strings.Replace(good, "alice", name, 1) }
	with := func(password string) string { return strings.Replace(good, "password9", password, 1) }
	for _, c := range []struct {
		statement, contentType, body string
		status                       int
	}{
		{"a form", formType, "username=alice&password=password9", 415},
		{"no media type", "", good, 415},
		{"JSON of another kind", jsonType + "-seq", good, 415},
		{"a body of more than 4 KiB", jsonType, good + strings.Repeat(" ", 4096), 413},
		{"nothing", jsonType, "", 400},
		{"a list", jsonType, "[" + good + "]", 400},
		{"a list of fields", jsonType, `["username","alice","password","password9"]`, 400},
		{"null", jsonType, "null", 400},
		{"JSON that breaks off", jsonType, good[:30], 400},
		{"something behind the JSON", jsonType, good + good, 400},
		{"a missing comma", jsonType, strings.Replace(good, ",", " ", 1), 400},
		{"single quotes", jsonType, strings.ReplaceAll(good, `"`, `'`), 400},
		{"no password", jsonType, `{"username":"alice"}`, 400},
		{"no username", jsonType, `{"password":"password9"}`, 400},
		{"null for a password", jsonType, `{"username":"alice","password":null}`, 400},
		{"a number for a password", jsonType, `{"username":"alice","password":123456789}`, 400},
		{"a list for a password", jsonType, `{"username":"alice","password":["password9"]}`, 400},
		{"an unknown field", jsonType, strings.Replace(good, "{", `{"disabled":"no",`, 1), 400},
		{"a field name in capitals", jsonType,
			strings.Replace(good, "username", "Username", 1), 400},
		{"a username twice", jsonType, strings.Replace(good, "{", `{"username":"bob",`, 1), 400},
		{"a password twice, once escaped", jsonType,
			strings.Replace(good, "{", `{"p\u0061ssword":"password8",`, 1), 400},
		{"an empty name", jsonType, named(""), 400},
		{"a name of 65 characters", jsonType, named(strings.Repeat("a", 65)), 400},
		{"capitals in a name", jsonType, named("Alice"), 400},
		{"a space in a name", jsonType, named("alice "), 400},
		{"a line break behind a name", jsonType, named(`alice\n`), 400},
		{"a letter that looks like another", jsonType, named("аlice"), 400},
		{"markup in a name", jsonType, named("<b>"), 400},
		{"a password of 7 characters", jsonType, with("1234567"), 400},
		{"7 characters in 21 bytes", jsonType, with("認証認可認証認"), 400},
		{"a password of 73 bytes", jsonType, with(strings.Repeat("x", 73)), 400},
		{"25 characters in 75 bytes", jsonType, with(strings.Repeat("認", 25)), 400},
		{"a NUL in a password", jsonType, with(`pass\u0000word`), 400},
		{"half a character in a password", jsonType, with(`password\ud800`), 400},
		{"bytes that are not UTF-8", jsonType, with("password\xff"), 400},
		{"the username", jsonType, `{"username":"samename","password":"samename"}`, 400},
	} {
		t.Run(c.statement, func(t *testing.T) {
			a := newAPI(t)
			got := a.do("POST", "/register", c.body, "Content-Type", c.contentType)
			a.wantRefusal(got, c.status, "invalid_request")
			if got := len(a.server.users.byName); got != 3 {
				t.Errorf("got %d users, want the three that were there", got)
			}
		})
	}
}

func TestATakenNameIsRefused(t *testing.T) {
	a := newAPI(t)
	a.server.users.cost = bcrypt.MaxCost + 1 // a hash would be an error
	got := a.register("user1", "password9")
	a.wantRefusal(got, 409, "conflict")
	if detail := decode(t, got)["detail"]; detail != "already registered" {
		t.Errorf("got %q, want already registered", detail)
	}
	a.wantStatus(a.post("/token", "username=user1&password=password1"), 200)
}

func TestOf50RegistrationsOfOneNameOneWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where nobody's two seconds are over meanwhile
		a := newAPI(t)
		a.server.users.slots = make(chan struct{}, 8)
		a.server.users.cost = 8 // long enough for eight hashes to be under way at once
		statuses := make(chan int)
		for i := range 50 {
			go func() { statuses <- a.register("alice", fmt.Sprintf("password%d", i)).Code }()
		}
		counts := make(map[int]int)
		for range 50 {
			counts[<-statuses]++
		}
		if counts[201] != 1 || counts[409] != 49 {
			t.Errorf("got %v, want one 201 and 49 times 409", counts)
		}
	})
}

func TestThereIsRoomFor10000Users(t *testing.T) {
	a := newAPI(t)
	for i := len(a.server.users.byName); i < 9_999; i++ {
		a.server.users.byName[fmt.Sprint("filler", i)] = &user{}
	}
	a.wantStatus(a.register("last", "password9"), 201)
	a.wantRefusal(a.register("one-too-many", "password9"), 503, "temporarily_unavailable")
}

// A piece of a request's body would keep the whole body in memory.
func TestATokenHoldsTheStoresCopyOfAName(t *testing.T) {
	a := newAPI(t)
	a.register("alice", "password9")
	got, err := a.server.users.authenticate(t.Context(), strings.Clone("alice"), "password9")
	if err != nil {
		t.Fatal(err)
	}
	if unsafe.StringData(got) != unsafe.StringData(a.server.users.byName["alice"].name) {
		t.Error("got another copy of the name, want the store's")
	}
}

func TestWhoAmI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		token := "Bearer " + a.tokenOf("user2")
		expires := time.Now().Add(15 * time.Minute).UTC().Format(time.RFC3339)
		pass(5 * time.Minute)
		a.wantBody(a.get("/users/me", token), `{"expires_at":"`+expires+`","username":"user2"}`)
		a.wantBody(a.get("/users/me/items", token), `[{"item_id":"Foo","owner":"user2"}]`)
		for _, path := range []string{"/users/me", "/users/me/items"} {
			a.wantRefusal(a.get(path), 401, "unauthorized")
			a.wantRefusal(a.get(path, "Bearer x"), 401, "invalid_token")
			a.wantRefusal(a.get(path, "Bearer "+a.tokenOf("user3")), 403, "access_denied")
		}
	})
}

func TestBeingLoggedInIsOptional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		token := "Bearer " + a.tokenOf("user1")
		a.wantBody(a.get("/is_logged_in", token), `{"is_logged_in":true}`)
		const no = `{"is_logged_in":false}`
		a.wantBody(a.get("/is_logged_in"), no)
		a.wantBody(a.get("/is_logged_in", "Basic x"), no)
		a.wantBody(a.get("/is_logged_in", "Bearer x"), no)
		a.wantBody(a.get("/is_logged_in", token, token), no)
		a.wantBody(a.get("/is_logged_in", "Bearer "+a.tokenOf("user3")), no)
		pass(15 * time.Minute)
		a.wantBody(a.get("/is_logged_in", token), no)

		a.server.tokens = outage{}
		a.wantRefusal(a.get("/is_logged_in", token), 503, "temporarily_unavailable")
		a.wantBody(a.get("/is_logged_in"), no) // nobody has to know anything for that
	})
}

func TestThePageIsServedWithAStrictPolicy(t *testing.T) {
	a := newAPI(t)
	for path, contentType := range map[string]string{
		"/":         "text/html; charset=utf-8",
		"/page.js":  "text/javascript; charset=utf-8",
		"/page.css": "text/css; charset=utf-8",
	} {
		got := a.do("GET", path, "")
		a.wantStatus(got, 200)
		if value := got.Header().Get("Content-Type"); value != contentType {
			t.Errorf("%s: got %s, want %s", path, value, contentType)
		}
		policy := got.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
			!strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: got policy %q, want one that starts from nothing", path, policy)
		}
	}
	a.wantStatus(a.do("GET", "/main.go", ""), 404)
	a.wantStatus(a.do("GET", "/client/main.go", ""), 404)
}

// Guessing.

func TestAfter10FailuresTheEleventhAttemptWaits(t *testing.T) {
	for _, name := range []string{"user1", "nobody"} {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t)
			for range 10 {
				got := a.post("/token", "username="+name+"&password=wrong")
				a.wantRefusal(got, 401, "invalid_grant")
			}
			for range cap(a.server.users.slots) {
				a.server.users.slots <- struct{}{} // whoever wanted a hash would wait, and get 503
			}
			for _, password := range []string{"wrong", "password1"} {
				got := a.post("/token", "username="+name+"&password="+password)
				a.wantRefusal(got, 429, "temporarily_unavailable")
			}
			for range cap(a.server.users.slots) {
				<-a.server.users.slots
			}
			a.wantStatus(a.post("/token", "username=user2&password=password2"), 200) // not slowed
		})
	}
}

func TestTheWaitIsOverAMinuteAfterTheLastCountedFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		for range 10 {
			a.post("/token", "username=user1&password=wrong")
			pass(time.Second)
		}
		pass(time.Minute - time.Second - time.Nanosecond)
		a.wantStatus(a.post("/token", "username=user1&password=password1"), 429) // not counted
		pass(time.Nanosecond)
		a.wantStatus(a.post("/token", "username=user1&password=password1"), 200)
	})
}

func TestAMinuteWithoutFailuresForgivesThoseBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		for range 3 {
			for range 9 {
				a.wantStatus(a.post("/token", "username=user1&password=wrong"), 401)
			}
			pass(time.Minute)
		}
	})
}

func TestASuccessForgivesTheFailuresBeforeIt(t *testing.T) {
	a := newAPI(t)
	for range 3 {
		for range 9 {
			a.wantStatus(a.post("/token", "username=user1&password=wrong"), 401)
		}
		a.wantStatus(a.post("/token", "username=user1&password=password1"), 200)
	}
}

func TestGuessesAtOneAccountAreNotForgivenByAnother(t *testing.T) {
	a := newAPI(t)
	for i := range a.server.users.strangers { // as if all other names had failed
		a.server.users.strangers[i].failures = 10
		a.server.users.strangers[i].lastFailure = time.Now()
	}
	a.wantStatus(a.post("/token", "username=user1&password=password1"), 200)
	a.wantStatus(a.post("/token", "username=nobody&password=x"), 429)
}

func TestMadeUpNamesTakeNoMemory(t *testing.T) {
	a := newAPI(t)
	for i := range 1000 {
		a.post("/token", fmt.Sprintf("username=name%d&password=wrong", i))
	}
	if got := len(a.server.users.byName); got != 3 {
		t.Errorf("got %d users in memory, want 3", got)
	}
}

func TestTenGuessesAtOnceAreTenAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		a.server.users.slots = make(chan struct{}, 8)
		for range 8 {
			a.server.users.slots <- struct{}{} // other users' hashes
		}
		results := make(chan int, 50)
		for range 50 {
			go func() { results <- a.post("/token", "username=user1&password=wrong").Code }()
		}
		synctest.Wait() // all are in the queue
		for range 8 {
			<-a.server.users.slots
		}
		counts := make(map[int]int)
		for range 50 {
			counts[<-results]++
		}
		if counts[401] != 10 || counts[429] != 40 {
			t.Errorf("got %v, want 10 times 401 and 40 times 429", counts)
		}
	})
}

func TestALoginThatGetsNoSlotWithin2SecondsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		for range cap(a.server.users.slots) {
			a.server.users.slots <- struct{}{}
		}
		start := time.Now()
		a.wantRefusal(a.post("/token", "username=user1&password=password1"),
			503, "temporarily_unavailable")
		a.wantRefusal(a.register("alice", "password9"), 503, "temporarily_unavailable")
		if waited := time.Since(start); waited != 4*time.Second {
			t.Errorf("got refused after %v, want 2s each", waited)
		}
		<-a.server.users.slots
		a.wantStatus(a.post("/token", "username=user1&password=password1"), 200)
		if got := len(a.server.users.slots); got != cap(a.server.users.slots)-1 {
			t.Errorf("got %d slots taken, want the login's free again", got)
		}
	})
}

func TestACallerWhoHangsUpLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(bcrypt.MinCost)
		for range cap(u.slots) {
			u.slots <- struct{}{}
		}
		ctx, hangUp := context.WithCancel(t.Context())
		start := time.Now()
		time.AfterFunc(time.Second, hangUp)
		if _, err := u.authenticate(ctx, "user1", "password1"); err != errBusy {
			t.Errorf("got %v, want %v", err, errBusy)
		}
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("got back after %v, want at once", waited)
		}
	})
}

func TestAFloodOfLoginsLeavesHalfTheProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for processors, want := range map[int]int{1: 1, 2: 1, 4: 2, 16: 8, 64: 8} {
		runtime.GOMAXPROCS(processors)
		if got := cap(newUsers(bcrypt.MinCost).slots); got != want {
			t.Errorf("got %d slots for %d processors, want %d", got, processors, want)
		}
	}
}

// The log.

func TestEachEventIsLoggedWithTheUsername(t *testing.T) {
	a := newAPI(t)
	var log safeBuffer
	a.server.log = slog.New(slog.NewTextHandler(&log, nil))
	token := a.tokenOf("user1")
	for _, c := range []struct {
		do   func()
		want string
	}{
		{func() { a.post("/token", "username=user1&password=password1") },
			`level=INFO msg=login username=user1`},
		{func() { a.post("/token", "username=user1&password=wrong") },
			`level=INFO msg="login refused" username=user1 ` +
				`reason="unknown user or wrong password"`},
		{func() { a.post("/token", "username=a%0Alevel%3DERROR&password=wrong") },
			`level=INFO msg="login refused" username="a\nlevel=ERROR" ` +
				`reason="unknown user or wrong password"`},
		{func() { a.register("alice", "password9") },
			`level=INFO msg=registration username=alice`},
		{func() { a.register("alice", "password9") },
			`level=INFO msg="registration refused" username=alice reason="name taken"`},
		{func() { a.get("/protected", "Bearer "+token) },
			`level=INFO msg=access username=user1`},
		{func() { a.get("/protected", "Bearer "+a.tokenOf("user3")) },
			`level=INFO msg="access refused" username=user3 reason="Inactive user"`},
		{func() { a.get("/protected?access_token="+token, "Bearer x") },
			`level=INFO msg="access refused" username="" ` +
				`reason="Invalid authentication credentials"`},
		{func() { a.post("/revoke", "token="+token) },
			`level=INFO msg=revocation username=user1`},
	} {
		before := len(log.String())
		c.do()
		got := log.String()[before:]
		if _, got, _ := strings.Cut(got, " "); got != c.want+"\n" {
			t.Errorf("got %q, want %s", got, c.want)
		}
	}
}

// HTTP.

func TestServeMuxAnswersWhatIsNoRoute(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct {
		request string
		status  int
		header  string
		want    string
	}{
		{"GET /token", 405, "Allow", "POST"},
		{"HEAD /token", 405, "Allow", "POST"},
		{"PUT /token", 405, "Allow", "POST"},
		{"DELETE /token", 405, "Allow", "POST"},
		{"OPTIONS /token", 405, "Allow", "POST"},
		{"GET /revoke", 405, "Allow", "POST"},
		{"POST /protected", 405, "Allow", "GET, HEAD"},
		{"GET /nothing", 404, "Allow", ""},
		{"GET /protected/", 404, "Allow", ""},
		{"GET //protected", 307, "Location", "/protected"},
		{"POST //token", 307, "Location", "/token"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		got := a.do(method, path, "")
		if header := got.Header().Get(c.header); got.Code != c.status || header != c.want {
			t.Errorf("%s: got %d and %s %q, want %d and %q",
				c.request, got.Code, c.header, header, c.status, c.want)
		}
		if got := got.Header().Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: got X-Content-Type-Options %q, want nosniff", c.request, got)
		}
	}
}

func TestAnotherSitesPageCannotPostHere(t *testing.T) {
	a := newAPI(t)
	const good = "username=user1&password=password1"
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		got := a.do("POST", "/token", good, append(header, "Content-Type", formType)...)
		a.wantStatus(got, 403)
		if strings.Contains(got.Body.String(), "access_token") {
			t.Errorf("%v: got a token", header)
		}
	}
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "same-origin"},
		{"Origin", "http://example.com"}, // the host of httptest's requests
	} {
		a.wantStatus(a.do("POST", "/token", good, append(header, "Content-Type", formType)...), 200)
	}
}

func TestEveryWaitOfTheServerEnds(t *testing.T) {
	s := withLimits(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	for name, limit := range map[string]time.Duration{
		"ReadHeaderTimeout": s.ReadHeaderTimeout, "ReadTimeout": s.ReadTimeout,
		"WriteTimeout": s.WriteTimeout, "IdleTimeout": s.IdleTimeout,
	} {
		if limit < time.Second || limit > time.Minute {
			t.Errorf("got %s %v, want a second to a minute", name, limit)
		}
	}
	if s.MaxHeaderBytes == 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("got MaxHeaderBytes %d, want 64 KiB at most", s.MaxHeaderBytes)
	}
}

func TestASlowClientIsCutOff(t *testing.T) {
	for _, c := range []struct {
		statement, sent string
		after           time.Duration
		answer          string
	}{
		{"in the headers", "GET /protected HTTP/1.1\r\nHost: x\r\n", 5 * time.Second, ""},
		{"before anything", "", 5 * time.Second, ""},
		{"in the body", "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: " + formType +
			"\r\nContent-Length: 99\r\n\r\nusername=user1&password=password1",
			10 * time.Second, "400 Bad Request"},
	} {
		t.Run(c.statement, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAPI(t)
				server := withLimits(a.handler, a.server.log)
				client, conn := net.Pipe()
				connections := make(pipeListener, 1)
				connections <- conn
				go server.Serve(connections)
				defer server.Close()

				start := time.Now()
				if _, err := io.WriteString(client, c.sent); err != nil {
					t.Fatal(err)
				}
				answer, _ := io.ReadAll(client) // until the server hangs up
				if took := time.Since(start).Truncate(time.Second); took != c.after {
					t.Errorf("got cut off after %v, want %v", took, c.after)
				}
				if !strings.Contains(string(answer), c.answer) {
					t.Errorf("got %q, want %s", answer, c.answer)
				}
			})
		})
	}
}

// A pipeListener accepts connections within this process, which can be in a bubble.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestAPanicInAHandlerIsLoggedAndTheServerGoesOn(t *testing.T) {
	var log safeBuffer
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("oops")
		}
	})
	srv := httptest.NewUnstartedServer(handler)
	srv.Config = withLimits(handler, slog.New(slog.NewTextHandler(&log, nil)))
	srv.Start()
	defer srv.Close()
	if _, err := http.Get(srv.URL + "/panic"); err == nil {
		t.Error("got an answer from a handler that panicked")
	}
	if got, err := http.Get(srv.URL + "/"); err != nil || got.StatusCode != 200 {
		t.Errorf("got %v, %v after a panic, want 200", got, err)
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "oops") {
		t.Errorf("got log %q, want the panic in it", log.String())
	}
}

// The program.

func TestTheProgramSaysWhereItListensAndWhatToTypeNext(t *testing.T) {
	p := startProgram(t)
	for _, want := range []string{"listening on " + p.url, "user1/password1", "user2/password2",
		"user3/password3", "go run ./client"} {
		if !strings.Contains(p.stdout.String(), want) {
			t.Errorf("got\n%s\nwant %q in it", p.stdout.String(), want)
		}
	}
	if got := p.stop(); got != 0 {
		t.Errorf("got exit status %d after SIGTERM, want 0", got)
	}
}

func TestTheProgramSaysAURLThatCanBeOpened(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:0": "http://localhost:", // a certificate may be for this name
		"127.0.0.1:0": "http://127.0.0.1:",
		"0.0.0.0:0":   "http://localhost:",
		":0":          "http://localhost:",
	} {
		if p := startProgram(t, "-addr", addr); !strings.HasPrefix(p.url, want) {
			t.Errorf("-addr %s: got %s, want %s…", addr, p.url, want)
		}
	}
}

func TestABadCommandLineGetsOneLineAndStatus2(t *testing.T) {
	for args, want := range map[string]string{
		"-ttl soon":               "-ttl",
		"-ttl 0":                  "-ttl",
		"-ttl -15m":               "-ttl",
		"-ttl 999ms":              "-ttl",
		"-ttl 8760h1s":            "-ttl",
		"-addr=":                  "-addr",
		"-addr 8001":              "-addr",
		"-addr 127.0.0.1:":        "-addr",
		"-addr 127.0.0.1:99999":   "-addr",
		"-addr 127.0.0.1:0 -x":    "-x",
		"-addr 127.0.0.1:0 hello": "hello",
		"-cert cert.pem":          "-key",
		"-key key.pem":            "-cert",
		"-quiet=perhaps":          "-quiet",
		"-token paper":            "paper",
	} {
		wantOneLine(t, 2, want, strings.Fields(args)...)
	}
}

func TestWhatCannotBeServedGetsOneLineAndStatus1(t *testing.T) {
	taken := startProgram(t)
	address := strings.TrimPrefix(taken.url, "http://")
	wantOneLine(t, 1, "address already in use", "-addr", address)

	cert, key := certificate(t)
	wantOneLine(t, 1, "no such file", "-addr", "127.0.0.1:0", "-cert", cert, "-key", key+"x")
	wantOneLine(t, 1, "PEM", "-addr", "127.0.0.1:0", "-cert", "go.mod", "-key", key)

	t.Setenv("JWT_SECRET", "short")
	wantOneLine(t, 1, "JWT_SECRET", "-addr", "0.0.0.0:0", "-token", "hs256")
}

func TestHelpListsTheFlags(t *testing.T) {
	out, err := exec.Command(binary(t, "tokenserver"), "-h").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-ttl") {
		t.Errorf("got %v and %q, want the flags and exit status 0", err, out)
	}
}

func TestQuietPrintsWarningsOnly(t *testing.T) {
	p := startProgram(t, "-quiet", "-addr", freeAddress(t))
	status := 1
	for range 100 { // until it listens, which it does not say
		if status, _ = runClient(t, "-url", p.url); status == 0 {
			break
		}
	}
	runClient(t, "-url", p.url, "-password", "wrong")
	if exit := p.stop(); status != 0 || exit != 0 {
		t.Errorf("got %d from the client and %d from the server, want 0", status, exit)
	}
	if got := p.stdout.String() + p.stderr.String(); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestPlainHTTPBeyondLoopbackIsWarnedAbout(t *testing.T) {
	p := startProgram(t, "-addr", "0.0.0.0:0")
	p.stop()
	if got := p.stderr.String(); !strings.Contains(got, "level=WARN") ||
		!strings.Contains(got, "passwords and tokens") {
		t.Errorf("got %q, want a warning that names the risk", got)
	}
	cert, key := certificate(t)
	p = startProgram(t, "-addr", "0.0.0.0:0", "-cert", cert, "-key", key)
	p.stop()
	if got := p.stderr.String(); got != "" {
		t.Errorf("got %q with TLS, want no warning", got)
	}
}

func TestTLSKeepsPasswordsOffTheNetwork(t *testing.T) {
	cert, key := certificate(t)
	p := startProgram(t, "-addr", "127.0.0.1:0", "-cert", cert, "-key", key)
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") {
		t.Fatalf("got URL %s, want https", p.url)
	}
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(cert); err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	got, err := client.PostForm(p.url+"/token",
		url.Values{"username": {"user1"}, "password": {"password1"}})
	if err != nil || got.StatusCode != 200 {
		t.Errorf("got %v, %v, want 200", got, err)
	}
	if got, err := http.Get("http" + p.url[len("https"):] + "/protected"); err == nil &&
		got.StatusCode != 400 {
		t.Errorf("got %d for plain HTTP on the TLS port, want none or 400", got.StatusCode)
	}
}

func TestALoginInFlightIsFinishedOnSIGTERM(t *testing.T) {
	p := startProgram(t)
	finish := loginInFlight(t, p)
	p.stopListening(t)
	if got, err := finish(); err != nil || got.StatusCode != 200 {
		t.Fatalf("got %v, %v, want 200", got, err)
	}
	if got := p.wait(); got != 0 {
		t.Errorf("got exit status %d, want 0", got)
	}
}

func TestASecondSignalDoesNotWaitForLoginsInFlight(t *testing.T) {
	p := startProgram(t)
	finish := loginInFlight(t, p)
	p.stopListening(t)
	if got := p.stop(); got != -1 {
		t.Errorf("got exit status %d, want the signal to end the program", got)
	}
	if got, err := finish(); err == nil {
		t.Errorf("got %v, want no answer any more", got)
	}
}

func TestAStopWhileTheProgramStartsIsAStopLikeAnyOther(t *testing.T) {
	p := startProgram(t, "-quiet", "-addr", freeAddress(t))
	for { // until the port is open; now the demo users' hashes are computed
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			conn.Close()
			break
		}
	}
	if got := p.stop(); got != 0 {
		t.Errorf("got exit status %d, want 0", got)
	}
}

// loginInFlight sends a login all but its body, which finish sends.
func loginInFlight(t *testing.T, p *program) (finish func() (*http.Response, error)) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	const body = "username=user1&password=password1"
	fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", formType, len(body))
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n') // it is reading the body now
	if err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v, want 100 Continue", line, err)
	}
	answers.ReadString('\n')
	return func() (*http.Response, error) {
		io.WriteString(conn, body)
		return http.ReadResponse(answers, nil)
	}
}

// The client.

func TestTheClientLogsInAndOpensProtected(t *testing.T) {
	p := startProgram(t)
	status, got := runClient(t, "-url", p.url+"/")
	want := regexp.MustCompile(`^Access Token: (\w{32})
Authorization: Bearer (\w{32})
{"message":"Success to authentication, user1!"}
$`)
	if m := want.FindStringSubmatch(got); status != 0 || m == nil || m[1] != m[2] {
		t.Errorf("got exit status %d and\n%s\nwant 0 and %s", status, got, want)
	}
}

func TestTheClientShowsBothRefusalsOfAFailedLogin(t *testing.T) {
	p := startProgram(t)
	status, got := runClient(t, "-url", p.url, "-username", "nobody", "-password", "x")
	const want = `Error: {"detail":"Incorrect username or password",` +
		`"error":"invalid_grant","error_description":"Incorrect username or password"}
Failed to get access token.
{"detail":"Not authenticated","error":"unauthorized","error_description":"Not authenticated"}
`
	if status != 1 || got != want {
		t.Errorf("got exit status %d and\n%s\nwant 1 and\n%s", status, got, want)
	}
}

func TestTheClientTellsFailureByItsExitStatus(t *testing.T) {
	p := startProgram(t)
	status, got := runClient(t, "-url", p.url, "-username", "user3", "-password", "password3")
	if status != 1 || !strings.Contains(got, "Inactive user") {
		t.Errorf("got %d and %s for a disabled user, want 1", status, got)
	}
	if status, got := runClient(t, "-url", "http://"+freeAddress(t)); status != 1 ||
		!strings.Contains(got, "Failed to get access token.") {
		t.Errorf("got %d and %s without a server, want 1", status, got)
	}
}

func TestTheClientBelievesOnlyA200AndFollowsNoRedirect(t *testing.T) {
	var strayed atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved/token", "/moved/protected":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/elsewhere":
			strayed.Store(true)
		case "/created/token":
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"access_token":"x"}`)
		case "/empty/token":
			io.WriteString(w, `{}`)
		}
	}))
	defer srv.Close()
	for _, path := range []string{"/moved", "/created", "/empty"} {
		status, got := runClient(t, "-url", srv.URL+path)
		if status != 1 || !strings.Contains(got, "Failed to get access token.") {
			t.Errorf("%s: got exit status %d and %s, want 1 and no token", path, status, got)
		}
	}
	if strayed.Load() {
		t.Error("the client followed a redirect")
	}
}

// The text.

// Every file says in its first paragraph what it never touches.
func TestEveryFileKeepsToItsRoom(t *testing.T) {
	rooms := map[string][]string{ // an import, and who may have it
		"net/http":                   {"main.go", "auth.go", "client/main.go", "internal/"},
		"golang.org/x/crypto/bcrypt": {"users.go", "main.go"},
		"crypto/rand":                {"tokens.go", "internal/"},
		"tokenserver/internal/jwt":   {"main.go", "auth.go"},
	}
	for _, file := range sourceFiles(t) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			allowed, restricted := rooms[path]
			mayImport := func(room string) bool { return strings.HasPrefix(file, room) }
			if restricted && !slices.ContainsFunc(allowed, mayImport) {
				t.Errorf("%s imports %s, want that in %v only", file, path, allowed)
			}
			if strings.Contains(path, ".") && !restricted {
				t.Errorf("%s imports %s, want the standard library and bcrypt only", file, path)
			}
		}
	}
	if main, _ := os.ReadFile("main.go"); strings.Count(string(main), "bcrypt.") != 1 {
		t.Error("main.go touches passwords: bcrypt's default cost is all it may name")
	}
}

// solving says that exercises are being solved: then files may outgrow their limits.
func solving(t *testing.T) bool {
	waiting := regexp.MustCompile(`(?m)^\tt\.Skip\("exercise \d`)
	return len(waiting.FindAllString(readFile(t, "main_test.go"), -1)) < 5
}

func TestLinesAreShortEnoughToRead(t *testing.T) {
	for _, file := range goFiles(t) {
		text := readFile(t, file)
		for i, line := range strings.Split(text, "\n") {
			line = strings.ReplaceAll(line, "\t", "    ")
			if columns := utf8.RuneCountInString(line); columns > 100 {
				t.Errorf("%s:%d: got %d columns, want at most 100", file, i+1, columns)
			}
		}
	}
}

// What the README names exists: tests, benchmarks, files, and their lines.
func TestTheREADMENamesOnlyWhatIsThere(t *testing.T) {
	readme := readFile(t, "README.md")
	var tests strings.Builder
	for _, file := range goFiles(t) {
		tests.WriteString(readFile(t, file))
	}
	names := regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Z]\w+`).FindAllString(readme, -1)
	if len(names) < 20 {
		t.Errorf("got %d tests named in the README, want one for each bug", len(names))
	}
	for _, name := range names {
		if !strings.Contains(tests.String(), "func "+name+"(") {
			t.Errorf("the README names %s, which is not there", name)
		}
	}
	files := regexp.MustCompile("`((?:client|internal/\\w+|\\.ci)/[\\w.]+|\\w+\\.go)`")
	for _, file := range files.FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(file[1]); err != nil {
			t.Errorf("the README names %s: %v", file[1], err)
		}
	}
	sizes := regexp.MustCompile("`([\\w./]+\\.go)`, (\\d+) lines").FindAllStringSubmatch(readme, -1)
	if len(sizes) < 5 {
		t.Errorf("got %d files with their lines, want all that are to be read", len(sizes))
	}
	for _, size := range sizes {
		got := fmt.Sprint(strings.Count(readFile(t, size[1]), "\n"))
		if got != size[2] && !solving(t) {
			t.Errorf("the README says %s lines of %s, it has %s", size[2], size[1], got)
		}
	}
	root := 0
	for _, file := range []string{"main.go", "auth.go", "tokens.go", "users.go"} {
		root += strings.Count(readFile(t, file), "\n")
	}
	if sum := fmt.Sprintf(" %d lines with their comments", root); !solving(t) &&
		!strings.Contains(readme, sum) {
		t.Errorf("the README does not say%s", sum)
	}
	words := strings.Fields(readme)[:60]
	for _, command := range []string{"$ go run .", "$ go run ./client"} {
		if !strings.Contains(strings.Join(words, " "), command) {
			t.Errorf("the first 60 words have no %s", command)
		}
	}
	if lines := strings.Count(readme, "\n"); lines > 220 && !solving(t) {
		t.Errorf("got %d lines of README, want at most 220", lines)
	}
}

// The README's console blocks are commands and what they print. This test runs them
// all, in their order: a server goes on until another one takes its port.
func TestTheREADMEsTranscriptsAreTrue(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is missing, which the README's transcripts use")
	}
	r := &reader{t: t, servers: make(map[string]*program), ports: strings.NewReplacer(
		"127.0.0.1:8001", freeAddress(t), "127.0.0.1:8002", freeAddress(t))}
	r.shell = startShell(t, binary(t, "client"))
	ran := 0
	for _, block := range consoleBlocks(readFile(t, "README.md")) {
		for _, step := range block {
			ran++
			got, want := mask(r.run(step.command)), mask(r.ports.Replace(step.output))
			if got != want {
				t.Errorf("$ %s\ngot\n%s\nwant\n%s", step.command, got, want)
			}
		}
	}
	if ran < 5 {
		t.Errorf("got %d commands in the README, want the whole story", ran)
	}
}

// A reader types what the README shows.
type reader struct {
	t       *testing.T
	ports   *strings.Replacer // from the README's ports to free ones
	servers map[string]*program
	shell   *shell
}

var serverCommand = regexp.MustCompile(`^((?:\w+=\S+ )*)go run \.( .*)?$`)

func (r *reader) run(command string) (output string) {
	match := serverCommand.FindStringSubmatch(r.ports.Replace(command))
	if match == nil {
		client := `"$CLIENT" -url http://127.0.0.1:8001`
		command = strings.ReplaceAll(command, "go run ./client", client)
		return r.shell.run(r.ports.Replace(command))
	}
	args := strings.Fields(match[2])
	if !slices.Contains(args, "-addr") {
		args = append(args, "-addr", r.ports.Replace("127.0.0.1:8001"))
	}
	address := args[slices.Index(args, "-addr")+1]
	if old := r.servers[address]; old != nil {
		old.stop()
	}
	r.servers[address] = startProgramWith(r.t, strings.Fields(match[1]), args...)
	return r.servers[address].stdout.String()
}

type step struct{ command, output string }

func consoleBlocks(text string) [][]step {
	var blocks [][]step
	console := regexp.MustCompile("(?s)```console\n(.*?)```")
	for _, match := range console.FindAllStringSubmatch(text, -1) {
		var block []step
		for line := range strings.Lines(match[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				block = append(block, step{command: strings.TrimSpace(command)})
			} else {
				block[len(block)-1].output += line
			}
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// mask takes out what differs from run to run: tokens, opaque or signed, and times.
func mask(output string) string {
	for _, what := range []string{`eyJ[\w-]+\.[\w-]+\.[\w-]+`, `\b[A-Za-z0-9]{32}\b`,
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`} {
		output = regexp.MustCompile(what).ReplaceAllString(output, "…")
	}
	return strings.TrimSpace(output)
}

// A shell keeps its variables from one command to the next.
type shell struct {
	t      *testing.T
	stdin  io.Writer
	stdout *bufio.Reader
}

func startShell(t *testing.T, client string) *shell {
	t.Helper()
	cmd := exec.Command("sh")
	cmd.Env = append(os.Environ(), "CLIENT="+client)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	return &shell{t, stdin, bufio.NewReader(stdout)}
}

func (s *shell) run(command string) (output string) {
	s.t.Helper()
	const end = "the end of the output"
	fmt.Fprintf(s.stdin, "%s\necho; echo %s\n", command, end)
	for {
		line, err := s.stdout.ReadString('\n')
		if err != nil {
			s.t.Fatalf("$ %s: %v", command, err)
		}
		if strings.TrimSpace(line) == end {
			return output
		}
		output += line
	}
}

// Exercises: delete a Skip line, and make the test pass without touching another.

func TestExercise1AFourthLoginEndsTheOldestToken(t *testing.T) {
	t.Skip("exercise 1: a user may have three live tokens")
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		pass(14 * time.Minute) // so that the maps turn while the tokens live
		other := "Bearer " + a.tokenOf("user2")
		var tokens []string
		for range 4 {
			tokens = append(tokens, "Bearer "+a.tokenOf("user1"))
			pass(time.Minute)
		}
		a.wantRefusal(a.get("/protected", tokens[0]), 401, "invalid_token")
		for _, token := range append(tokens[1:], other) {
			a.wantStatus(a.get("/protected", token), 200)
		}
		pass(14 * time.Minute) // the three are dead, so they count no more
		for range 3 {
			tokens = append(tokens, "Bearer "+a.tokenOf("user1"))
		}
		for _, token := range tokens[4:] {
			a.wantStatus(a.get("/protected", token), 200)
		}
		a.post("/revoke", "token="+strings.TrimPrefix(tokens[6], "Bearer "))
		tokens[6] = "Bearer " + a.tokenOf("user1") // the third again, so the others stay
		for _, token := range tokens[4:] {
			a.wantStatus(a.get("/protected", token), 200)
		}
	})
}

func TestExercise2LoggingOutEverywhereEndsAllTokensOfAUser(t *testing.T) {
	t.Skip("exercise 2: POST /revoke_all, behind the guard")
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		phone := "Bearer " + a.tokenOf("user1")
		pass(10 * time.Minute)
		tablet := "Bearer " + a.tokenOf("user1")
		pass(5 * time.Minute) // the maps turn, and the phone's is dead
		laptop, other := "Bearer "+a.tokenOf("user1"), "Bearer "+a.tokenOf("user2")
		a.wantRefusal(a.do("POST", "/revoke_all", ""), 401, "unauthorized")
		a.wantRefusal(a.do("POST", "/revoke_all", "", "Authorization", phone), 401, "invalid_token")
		a.wantStatus(a.get("/protected", tablet), 200)
		a.wantStatus(a.do("POST", "/revoke_all", "", "Authorization", laptop), 200)
		for _, token := range []string{tablet, laptop} {
			a.wantRefusal(a.get("/protected", token), 401, "invalid_token")
		}
		a.wantStatus(a.get("/protected", other), 200)
		again := "Bearer " + a.tokenOf("user1")
		a.wantStatus(a.get("/protected", again), 200)

		// Signed tokens stay good, and saying 200 would be a lie.
		a.server.tokens = justTheInterface{a.server.tokens}
		a.wantRefusal(a.do("POST", "/revoke_all", "", "Authorization", again),
			400, "unsupported_token_type")
	})
}

// justTheInterface is a token service that has none of what opaque tokens can do besides.
type justTheInterface struct{ tokenService }

func TestExercise3AResourceCanAskWhoseTokenItWasShown(t *testing.T) {
	t.Skip("exercise 3: POST /introspect as in RFC 7662, for whoever has a token")
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t)
		shown, disabled := a.tokenOf("user1"), a.tokenOf("user3")
		expires := float64(time.Now().Add(15 * time.Minute).Unix())
		introspect := func(body string, authorization ...string) *httptest.ResponseRecorder {
			headers := []string{"Content-Type", formType}
			for _, value := range authorization {
				headers = append(headers, "Authorization", value)
			}
			return a.do("POST", "/introspect", body, headers...)
		}
		resource := "Bearer " + a.tokenOf("user2")
		answer := introspect("token="+shown, resource)
		a.wantStatus(answer, 200)
		wantJSONHeaders(t, answer)
		got := decode(t, answer)
		if got["active"] != true || got["username"] != "user1" || got["exp"] != expires {
			t.Errorf("got %v, want it active, user1's and to expire at %.0f", got, expires)
		}
		a.wantRefusal(introspect("", resource), 400, "invalid_request")
		a.wantRefusal(a.do("POST", "/introspect?token="+shown, "", "Content-Type", formType,
			"Authorization", resource), 400, "invalid_request")

		// RFC 7662 §2.1: not anyone may ask, or tokens could be tried out here.
		a.wantRefusal(introspect("token="+shown), 401, "unauthorized")
		a.wantRefusal(introspect("token="+shown, "Bearer x"), 401, "invalid_token")
		a.wantRefusal(introspect("token="+shown, "Bearer "+disabled), 403, "access_denied")

		// §2.2: active means that the guard would open. If not, no reason is given.
		const no = `{"active":false}`
		a.wantBody(introspect("token=x", resource), no)
		a.wantBody(introspect("token="+disabled, resource), no)
		pass(15 * time.Minute)
		resource = "Bearer " + a.tokenOf("user2")
		a.wantBody(introspect("token="+shown, resource), no)
		shown = a.tokenOf("user1")
		a.post("/revoke", "token="+shown)
		a.wantBody(introspect("token="+shown, resource), no)

		a.server.tokens = unclear{a.server.tokens, shown}
		a.wantRefusal(introspect("token="+shown, resource), 503, "temporarily_unavailable")
	})
}

// unclear cannot tell about one token.
type unclear struct {
	tokenService
	token string
}

func (u unclear) Check(token string) (string, time.Time, error) {
	if token == u.token {
		return outage{}.Check(token)
	}
	return u.tokenService.Check(token)
}

func TestExercise4ANewPasswordEndsTheOldOneAndItsTokens(t *testing.T) {
	t.Skip("exercise 4: POST /password with the old and the new one")
	a := newAPI(t)
	a.register("alice", "password9")
	phone, laptop := "Bearer "+a.tokenOf("alice"), "Bearer "+a.tokenOf("alice")
	other := "Bearer " + a.tokenOf("user1")
	change := func(old, new string, headers ...string) *httptest.ResponseRecorder {
		return a.do("POST", "/password", `{"password":"`+old+`","new_password":"`+new+`"}`,
			append(headers, "Content-Type", "application/json")...)
	}
	a.wantRefusal(change("password9", "password10"), 401, "unauthorized")
	a.wantRefusal(change("wrong password", "password10", "Authorization", phone),
		401, "invalid_grant")
	for _, bad := range []string{"short", strings.Repeat("x", 73), `pass\u0000word`, "alice"} {
		a.wantRefusal(change("password9", bad, "Authorization", phone), 400, "invalid_request")
	}
	a.wantStatus(a.get("/protected", phone), 200)
	a.wantStatus(change("password9", "password10", "Authorization", phone), 200)
	for _, token := range []string{phone, laptop} {
		a.wantRefusal(a.get("/protected", token), 401, "invalid_token")
	}
	a.wantStatus(a.get("/protected", other), 200)
	a.wantRefusal(a.post("/token", "username=alice&password=password9"), 401, "invalid_grant")
	login := a.post("/token", "username=alice&password=password10")
	a.wantStatus(login, 200)
	phone = "Bearer " + decode(t, login)["access_token"].(string)
	a.wantStatus(a.get("/protected", phone), 200)
	for range maxFailures { // a thief of a token may not guess the password without end
		a.wantRefusal(change("wrong password", "password11", "Authorization", phone),
			401, "invalid_grant")
	}
	a.wantRefusal(change("password10", "password11", "Authorization", phone),
		429, "temporarily_unavailable")
}

func TestExercise5UsersSurviveARestart(t *testing.T) {
	t.Skip("exercise 5: a flag -users that names a file")
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "users")
	first := startProgram(t, "-users", file)
	register := func(p *program, username string) (status int) {
		t.Helper()
		body := `{"username":"` + username + `","password":"correct horse"}`
		got, err := http.Post(p.url+"/register", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		return got.StatusCode
	}
	if got := register(first, "alice"); got != 201 {
		t.Fatalf("got %d, want 201", got)
	}
	first.cmd.Process.Kill() // like a power cut: 201 means that alice is in the file already
	first.wait()

	text := readFile(t, file)
	for _, password := range []string{"correct horse",
		base64.StdEncoding.EncodeToString([]byte("correct horse"))} { // how JSON has a []byte
		if strings.Contains(text, password) {
			t.Errorf("got %s in the file, want the hash only", password)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("got %v, %v, want a file that only its owner may read", info.Mode(), err)
	}

	second := startProgram(t, "-users", file)
	if got := register(second, "alice"); got != 409 {
		t.Errorf("got %d for a name that is taken, want 409", got)
	}
	for login, want := range map[[2]string]int{
		{"alice", "correct horse"}: 0,
		{"alice", "wrong"}:         1,
		{"user1", "password1"}:     0,
		{"user3", "password3"}:     1, // disabled
	} {
		status, output := runClient(t, "-url", second.url,
			"-username", login[0], "-password", login[1])
		if status != want {
			t.Errorf("%s: got status %d and %s, want %d", login, status, output, want)
		}
	}
	if err := os.Rename(folder, folder+"-gone"); err != nil {
		t.Fatal(err)
	}
	if got := register(second, "bob"); got == 201 {
		t.Error("got 201 without a place for the file, want no promise that nothing keeps")
	}
	second.stop()

	// Starting without the users would overwrite them at the next registration.
	for _, damaged := range []string{text[:len(text)/2], ""} {
		file := filepath.Join(t.TempDir(), "damaged")
		if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		// A server that starts does not end.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		third := exec.CommandContext(ctx, binary(t, "tokenserver"),
			"-addr", "127.0.0.1:0", "-users", file)
		out, _ := third.CombinedOutput()
		if third.ProcessState.ExitCode() != 1 || strings.Count(string(out), "\n") != 1 {
			t.Errorf("got status %d and %s with %d bytes of the file, want 1 and one line",
				third.ProcessState.ExitCode(), out, len(damaged))
		}
	}
}

// It comes after all tests that log.
func TestNoLineOfTheLogOfThisRunHoldsASecret(t *testing.T) {
	a := newAPI(t)
	token := a.tokenOf("user1")
	a.get("/protected?access_token="+token, "Bearer "+token)
	log := wholeRun.String()
	if !strings.Contains(log, "msg=access username=user1") {
		t.Fatalf("got log %q, want one to look at", log)
	}
	for secret := range wholeRun.secrets.Range {
		if strings.Contains(log, secret.(string)) {
			t.Errorf("got %q in the log", secret)
		}
	}
	if strings.Contains(log, "?") {
		t.Error("got a query in the log")
	}
}

// wholeRun is what the servers of all tests log, and what must not be in there.
var wholeRun struct {
	safeBuffer
	secrets sync.Map
}

// secret finds passwords and tokens, but none so short that it may be a word.
var secret = regexp.MustCompile(
	`(?:password=|token=|"password":"|"new_password":"|"access_token":")([^&"\s]{9,})`)

// Fuzzing: whatever is sent, the answer is one of those in the contract.

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"username=user1&password=password1", "username=user1", "%zz",
		"a=b;c=d", "username=user1&username=user2&password=x", "username=%00&password=%ff",
		"grant_type=password&username=user1&password=password1", "token=x", "token=%ef%bf%bd",
		"&&=&"} {
		f.Add(seed)
	}
	shared := newAPI(f)
	f.Fuzz(func(t *testing.T, body string) {
		a := shared.in(t)
		got := a.post("/token", body)
		values, err := url.ParseQuery(body)
		number := strings.TrimPrefix(values.Get("username"), "user")
		right := err == nil && values.Get("password") == "password"+number
		switch {
		case got.Code == 200 && !right:
			t.Errorf("got a token for %q", body)
		case got.Code != 200:
			a.wantOneOf(got, 400, 401, 413, 429)
		}
		if got := a.post("/revoke", body); got.Code != 200 {
			a.wantOneOf(got, 400, 413)
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	shared := newAPI(f)
	token := shared.tokenOf("user1")
	for _, seed := range []string{"Bearer " + token, "bearer  x", "Bearer", "Basic x", "", " ",
		"Bearer\t" + token, "Bearer " + token + " ", "BEARER " + strings.ToUpper(token)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		a := shared.in(t)
		got := a.get("/protected", header)
		if !strings.Contains(header, token) {
			a.wantOneOf(got, 401)
		}
		got = a.get("/protected", header+token)
		scheme := strings.TrimRight(header, " ")
		fits := strings.EqualFold(scheme, "Bearer") && scheme != header
		if fits != (got.Code == 200) {
			t.Errorf("got %d with %q before a good token", got.Code, header)
		}
	})
}

func FuzzRegister(f *testing.F) {
	for _, seed := range []string{`{"username":"alice","password":"password9"}`, `{}`, `[]`, `null`,
		`{"username":"alice","password":"pass\u0000word"}`, `{"username":"alice","username":"bob"}`,
		`{"USERNAME":"alice","password":"password9"}`, `{"a"`, `{"a":{"b":[1e9]},"c":null} x`} {
		f.Add(seed)
	}
	shared := newAPI(f)
	f.Fuzz(func(t *testing.T, body string) {
		a := shared.in(t)
		got := a.do("POST", "/register", body, "Content-Type", "application/json")
		if got.Code != 201 {
			a.wantOneOf(got, 400, 409, 413, 503)
			return
		}
		var fields map[string]string // what registers is an object of the two strings
		if err := json.Unmarshal([]byte(body), &fields); err != nil || len(fields) != 2 {
			t.Fatalf("registered with %q", body)
		}
		form := url.Values{"username": {fields["username"]}, "password": {fields["password"]}}
		a.wantStatus(a.post("/token", form.Encode()), 200)
	})
}

// Speed and memory. The README has the figures of one run.

func BenchmarkNewToken(b *testing.B) {
	for b.Loop() {
		newToken()
	}
}

// The targets: 250 ns, no allocation, and with a million tokens no more than 2.5
// times as long as with a thousand.
func BenchmarkCheck(b *testing.B) {
	for name, live := range map[string]int{"1k": 1_000, "1M": 1_000_000} {
		b.Run(name, func(b *testing.B) {
			tokens := newOpaqueTokens(time.Hour)
			shown := make([]string, 4096)
			for i, name := range names(live) {
				shown[i%len(shown)], _, _ = tokens.Issue(name)
			}
			shown = shown[:min(live, len(shown))]
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, _, err := tokens.Check(shown[i%len(shown)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkIssue(b *testing.B) {
	// B/token is the heap that a live token takes; %left is how much of it remains
	// two lifetimes later.
	b.Run("1M", func(b *testing.B) {
		const million = 1_000_000
		for b.Loop() {
			tokens, users := newOpaqueTokens(15*time.Minute), names(million)
			before := heap()
			for _, name := range users {
				tokens.Issue(name)
			}
			full := heap() - before
			for range 2 { // lifetimes
				tokens.rotated -= 15 * time.Minute
				tokens.Issue("user1")
			}
			left := heap() - before
			b.ReportMetric(full/million, "B/token")
			b.ReportMetric(100*left/full, "%left")
			runtime.KeepAlive(tokens)
			runtime.KeepAlive(users) // whose names are not the tokens' memory
		}
	})
	// p99.99 is of single issues, in the middle of which a million tokens die.
	b.Run("while1MExpire", func(b *testing.B) {
		for b.Loop() {
			tokens := newOpaqueTokens(15 * time.Minute)
			for _, name := range names(1_000_000) {
				tokens.Issue(name)
			}
			took := make([]time.Duration, 100_000)
			for i := range took {
				if i == 25_000 || i == 50_000 {
					tokens.rotated -= 15 * time.Minute
				}
				start := time.Now()
				tokens.Issue("user1")
				took[i] = time.Since(start)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*9999/10000].Nanoseconds())/1e6, "p99.99-ms")
			b.ReportMetric(float64(took[len(took)-1].Nanoseconds())/1e6, "max-ms")
		}
	})
}

// names are those of so many users.
func names(count int) []string {
	list := make([]string, count)
	for i := range list {
		list[i] = fmt.Sprint("user", i)
	}
	return list
}

// heap is what is live after a collection, in bytes.
func heap() float64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// ratio is to bcrypt alone, at the cost of the real server.
func BenchmarkLogin(b *testing.B) {
	a := newAPI(b)
	a.server.users = newUsers(bcrypt.DefaultCost)
	a.server.users.addDemoUsers()
	hash := a.server.users.byName["user1"].hash
	var login, alone time.Duration
	for b.Loop() {
		start := time.Now()
		a.wantStatus(a.post("/token", "username=user1&password=password1"), 200)
		login += time.Since(start)
		start = time.Now()
		bcrypt.CompareHashAndPassword([]byte(hash), []byte("password1"))
		alone += time.Since(start)
	}
	b.ReportMetric(float64(login)/float64(alone), "ratio")
}

// ratio is processor time per GET /protected, client left out, to that of a handler
// which sends the same bytes without looking at the token. Each server is a process
// of its own; the rounds alternate.
func BenchmarkProtected(b *testing.B) {
	guarded, bare := startServing(b, "guarded"), startServing(b, "bare")
	const round = 5000
	for b.Loop() {
		for range 2 {
			guarded.get(b, round)
			bare.get(b, round)
		}
	}
	b.StopTimer()
	requests := float64(2 * round * b.N)
	mine, other := guarded.stop(b).Seconds(), bare.stop(b).Seconds()
	b.ReportMetric(mine/requests*1e6, "cpu-µs/guarded")
	b.ReportMetric(other/requests*1e6, "cpu-µs/bare")
	b.ReportMetric(mine/other, "ratio")
}

// p99-ms is the latency of GET /protected while 32 clients log in at once, %idle its
// throughput then, of that without them.
func BenchmarkProtectedDuringLogins(b *testing.B) {
	srv := httptest.NewUnstartedServer(nil)
	a := newAPI(b)
	a.server.log = slog.New(slog.DiscardHandler)
	a.server.users = newUsers(bcrypt.DefaultCost)
	a.server.users.addDemoUsers()
	srv.Config = withLimits(a.server.routes(), a.server.log)
	srv.Start()
	defer srv.Close()
	s := &serving{url: srv.URL, token: a.tokenOf("user2")}
	const round = 20_000
	for b.Loop() {
		s.get(b, round)
		idle := s.get(b, round)
		ctx, stop := context.WithCancel(b.Context())
		var clients sync.WaitGroup
		for range 32 {
			clients.Go(func() {
				for ctx.Err() == nil {
					got, err := http.PostForm(srv.URL+"/token",
						url.Values{"username": {"user1"}, "password": {"password1"}})
					if err == nil {
						got.Body.Close()
					}
				}
			})
		}
		busy := s.get(b, round)
		stop()
		clients.Wait()
		b.ReportMetric(float64(busy.took[round*99/100].Microseconds())/1e3, "p99-ms")
		b.ReportMetric(100*float64(idle.total)/float64(busy.total), "%idle")
	}
}

// A serving is a process that serves GET /protected.
type serving struct {
	url, token string
	cmd        *exec.Cmd
}

// serveForBenchmark is what this test binary does in such a process.
func serveForBenchmark(kind string) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := &server{users: newUsers(bcrypt.MinCost), tokens: newOpaqueTokens(time.Hour), log: log}
	token, _, _ := s.tokens.Issue("user1")
	handler := s.routes()
	if kind == "bare" {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /protected", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			io.WriteString(w, `{"message":"Success to authentication, user1!"}`)
		})
		handler = mux
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s %s\n", listener.Addr(), token)
	panic(withLimits(handler, log).Serve(listener))
}

func startServing(b *testing.B, kind string) *serving {
	b.Helper()
	s := &serving{cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(os.Environ(), "SERVE_FOR_BENCHMARK="+kind)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.cmd.Process.Kill() })
	if _, err := fmt.Fscanln(stdout, &s.url, &s.token); err != nil {
		b.Fatal(err)
	}
	return s
}

// stop ends the process and returns how much processor time it took.
func (s *serving) stop(b *testing.B) time.Duration {
	b.Helper()
	s.cmd.Process.Kill()
	s.cmd.Wait()
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
}

type measured struct {
	total time.Duration
	took  []time.Duration // by each request, sorted
}

// get asks for /protected so many times over four connections.
func (s *serving) get(b *testing.B, times int) measured {
	b.Helper()
	const connections = 4
	m := measured{took: make([]time.Duration, times)}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	start := time.Now()
	var wait sync.WaitGroup
	for c := range connections {
		wait.Go(func() {
			for i := c; i < times; i += connections {
				start := time.Now()
				r, err := http.NewRequest("GET", s.url+"/protected", nil)
				if err == nil {
					r.Header.Set("Authorization", "Bearer "+s.token)
					var got *http.Response
					if got, err = client.Do(r); err == nil {
						io.Copy(io.Discard, got.Body)
						got.Body.Close()
					}
				}
				if err != nil {
					b.Error(err)
				}
				m.took[i] = time.Since(start)
			}
		})
	}
	wait.Wait()
	m.total = time.Since(start)
	slices.Sort(m.took)
	return m
}

// Helpers.

// An api is a server with the demo users and the cheapest possible hash.
type api struct {
	t       testing.TB
	server  *server
	handler http.Handler
	shown   bool // log every exchange
}

func newAPI(t testing.TB) *api {
	t.Helper()
	s := &server{
		users:  newUsers(bcrypt.MinCost),
		tokens: newOpaqueTokens(15 * time.Minute),
		ttl:    15 * time.Minute,
		log:    slog.New(slog.NewTextHandler(&wholeRun, nil)),
	}
	s.users.addDemoUsers()
	return &api{t: t, server: s, handler: s.routes()}
}

// in is the same server, in another test.
func (a *api) in(t testing.TB) *api {
	other := *a
	other.t = t
	return &other
}

// do sends a request with these headers, given as name, value, name, value …
func (a *api) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	a.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	if a.shown {
		dump, _ := httputil.DumpRequest(r, true)
		a.t.Logf("→\n%s", dump)
	}
	a.handler.ServeHTTP(w, r)
	for _, match := range secret.FindAllStringSubmatch(body+" "+w.Body.String(), -1) {
		wholeRun.secrets.Store(match[1], true)
	}
	if a.shown {
		dump, _ := httputil.DumpResponse(w.Result(), true)
		a.t.Logf("←\n%s", dump)
	}
	if cors := w.Header().Get("Access-Control-Allow-Origin"); cors != "" {
		a.t.Errorf("got Access-Control-Allow-Origin %q, want none anywhere", cors)
	}
	return w
}

func (a *api) register(username, password string) *httptest.ResponseRecorder {
	a.t.Helper()
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.do("POST", "/register", string(body), "Content-Type", "application/json")
}

func (a *api) post(path, form string) *httptest.ResponseRecorder {
	a.t.Helper()
	return a.do("POST", path, form, "Content-Type", formType)
}

// get sends one Authorization header for each of authorizations.
func (a *api) get(path string, authorizations ...string) *httptest.ResponseRecorder {
	a.t.Helper()
	var headers []string
	for _, value := range authorizations {
		headers = append(headers, "Authorization", value)
	}
	return a.do("GET", path, "", headers...)
}

// tokenOf issues a token past the password, which costs time.
func (a *api) tokenOf(username string) string {
	a.t.Helper()
	token, _, err := a.server.tokens.Issue(username)
	if err != nil {
		a.t.Fatal(err)
	}
	wholeRun.secrets.Store(token, true)
	return token
}

func (a *api) wantStatus(got *httptest.ResponseRecorder, want int) {
	a.t.Helper()
	if got.Code != want {
		a.t.Fatalf("got %d %s, want %d", got.Code, got.Body, want)
	}
}

func (a *api) wantBody(got *httptest.ResponseRecorder, want string) {
	a.t.Helper()
	a.wantStatus(got, 200)
	wantJSONHeaders(a.t, got)
	if got.Body.String() != want {
		a.t.Errorf("got %s, want %s", got.Body, want)
	}
}

func (a *api) wantOneOf(got *httptest.ResponseRecorder, statuses ...int) {
	a.t.Helper()
	if !slices.Contains(statuses, got.Code) {
		a.t.Fatalf("got %d, want one of %v", got.Code, statuses)
	}
	code, _ := decode(a.t, got)["error"].(string)
	a.wantRefusal(got, got.Code, code)
}

// wantRefusal checks all that every refusal has in common.
func (a *api) wantRefusal(got *httptest.ResponseRecorder, status int, code string) {
	a.t.Helper()
	a.wantStatus(got, status)
	wantJSONHeaders(a.t, got)
	body := decode(a.t, got)
	detail, _ := body["detail"].(string)
	if body["error"] != code || body["error_description"] != detail || len(body) != 3 {
		a.t.Errorf("got %v, want error %s, and detail equal to error_description", body, code)
	}
	if !regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`).MatchString(detail) { // RFC 6749 §5.2
		a.t.Errorf("got detail %q, want plain ASCII without quotes", detail)
	}
	challenge := ""
	switch {
	case code == "invalid_token":
		challenge = `Bearer realm="token server", error="invalid_token"`
	case status == 401:
		challenge = `Bearer realm="token server"`
	}
	if header := got.Header().Get("WWW-Authenticate"); header != challenge {
		a.t.Errorf("got challenge %q, want %q", header, challenge)
	}
	retry := got.Header().Get("Retry-After")
	wanted := status == 429 || status == 503
	if wanted != regexp.MustCompile(`^\d+$`).MatchString(retry) {
		a.t.Errorf("got Retry-After %q with status %d", retry, status)
	}
}

func wantJSONHeaders(t testing.TB, got *httptest.ResponseRecorder) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type":           "application/json",
		"Cache-Control":          "no-store",
		"X-Content-Type-Options": "nosniff",
	} {
		if value := got.Header().Get(name); value != want {
			t.Errorf("got %s %q, want %q", name, value, want)
		}
	}
}

func decode(t testing.TB, got *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(got.Body.Bytes(), &body); err != nil {
		t.Fatalf("got body %q: %v", got.Body, err)
	}
	return body
}

func wantOwner(t *testing.T, tokens tokenService, token, want string) {
	t.Helper()
	if got, _, err := tokens.Check(token); got != want || (err == nil) != (want != "") {
		t.Errorf("got owner %q and %v, want %q", got, err, want)
	}
}

// pass lets time go by, at once, inside a bubble.
func pass(d time.Duration) { <-time.After(d) }

func pad(form string, length int) string {
	return form + "&x=" + strings.Repeat("x", length-len(form)-len("&x="))
}

// sourceFiles lists what is read as part of the program, tests aside.
func sourceFiles(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(goFiles(t), func(file string) bool {
		return strings.HasSuffix(file, "_test.go")
	})
}

func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.go", "client/*.go", "internal/*/*.go"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, matches...)
	}
	return files
}

// A program is this server as a process of its own.
type program struct {
	cmd            *exec.Cmd
	url            string
	stdout, stderr safeBuffer
	wait           func() (exitStatus int)
}

// startProgram starts the server, on a free port unless args say which one.
func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	return startProgramWith(t, nil, args...)
}

func startProgramWith(t *testing.T, environment []string, args ...string) *program {
	t.Helper()
	if !slices.Contains(args, "-addr") {
		args = append(args, "-addr", "127.0.0.1:0")
	}
	p := &program{cmd: exec.Command(binary(t, "tokenserver"), args...)}
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.wait = sync.OnceValue(func() int {
		io.Copy(&p.stdout, stdout)
		p.cmd.Wait()
		return p.cmd.ProcessState.ExitCode()
	})
	t.Cleanup(func() { p.stop() })
	if slices.Contains(args, "-quiet") {
		p.url = "http://" + args[slices.Index(args, "-addr")+1]
		return p
	}
	greeting := make([]byte, 1<<10) // it comes in one piece
	n, err := stdout.Read(greeting)
	if err != nil {
		p.wait()
		t.Fatalf("got %v and stderr %s, want where it listens", err, p.stderr.String())
	}
	p.stdout.Write(greeting[:n])
	p.url = regexp.MustCompile(`https?://\S+`).FindString(p.stdout.String())
	return p
}

func (p *program) stop() (exitStatus int) {
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

// stopListening stops the server, which then still finishes what is in flight.
func (p *program) stopListening(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	for {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			return
		}
		conn.Close()
	}
}

func runClient(t *testing.T, args ...string) (exitStatus int, output string) {
	t.Helper()
	cmd := exec.Command(binary(t, "client"), args...)
	out, err := cmd.Output()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// wantOneLine starts the server and wants it to end at once.
func wantOneLine(t *testing.T, status int, want string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // else a start never ends
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t, "tokenserver"), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Run()
	got := stderr.String()
	if cmd.ProcessState.ExitCode() != status || strings.Count(got, "\n") != 1 ||
		!strings.Contains(got, want) || stdout.Len() > 0 {
		t.Errorf("%v: got exit status %d, stdout %q and stderr %q, want %d and one line with %q",
			args, cmd.ProcessState.ExitCode(), stdout.String(), got, status, want)
	}
}

// A safeBuffer may be written by one goroutine and read by another.
type safeBuffer struct {
	mu     sync.Mutex // guards buffer
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// binary is the path of a program, both of which are built once for all tests.
func binary(t *testing.T, name string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binaries, name)
}

var (
	binaries string // a folder that TestMain makes and removes
	build    = sync.OnceValue(func() error {
		out, err := exec.Command("go", "build", "-o", binaries, ".", "./client").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
)

func TestMain(m *testing.M) {
	if kind := os.Getenv("SERVE_FOR_BENCHMARK"); kind != "" {
		serveForBenchmark(kind)
		return
	}
	var err error
	if binaries, err = os.MkdirTemp("", "tokenserver"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(binaries)
	os.Exit(code)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificate makes a self-signed one for 127.0.0.1 and returns its two files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template,
		private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(path, block, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", public), write("key.pem", "PRIVATE KEY", secret)
}
