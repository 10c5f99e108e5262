// The specification of keys from an outside issuer: where they come from, when they are
// fetched, and what a bad set can do. Time passes inside synctest bubbles: no test waits.

package jwt

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const issuer = "https://tokens.example/"

// epoch is when each bubble of synctest begins.
var epoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// anotherKey is made once: the tests sign with the example key and with this one.
var anotherKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// A keyServer stands in for the issuer's, without a network. It answers with what is in it.
type keyServer struct {
	mu      sync.Mutex // guards the rest
	fetches int
	status  int
	body    string
	err     error
	delay   time.Duration
}

func (k *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	k.fetches++
	status, body, err, delay := k.status, k.body, k.err, k.delay
	k.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status),
		Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (k *keyServer) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

func (k *keyServer) wantFetches(t testing.TB, want int) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fetches != want {
		t.Errorf("got %d fetches, want %d", k.fetches, want)
	}
}

// outside runs a test in a bubble of time, with a service that trusts an issuer
// whose set holds the example key as "one".
func outside(t *testing.T, test func(t *testing.T, s *Service, server *keyServer)) {
	t.Helper()
	anotherKey() // outside the bubble, as it lasts
	synctest.Test(t, func(t *testing.T) {
		server := &keyServer{status: 200, body: keySet(published("one", exampleKey(t)))}
		test(t, trusting(t, server, quiet), server)
	})
}

func trusting(t testing.TB, transport http.RoundTripper, log *slog.Logger) *Service {
	t.Helper()
	s := &Service{issuer: issuer, audience: "api"}
	if err := s.useIssuer(issuer, "api", "", log); err != nil {
		t.Fatal(err)
	}
	s.remote.client.Transport = transport
	return s
}

func numbers(key *rsa.PublicKey) (n, e string) { return jwk(key)["n"], jwk(key)["e"] }

func published(kid string, key *rsa.PrivateKey) map[string]any {
	n, e := numbers(&key.PublicKey)
	return map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e}
}

func keySet(keys ...any) string {
	set, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(set)
}

func foreignToken(t testing.TB, kid string, key *rsa.PrivateKey) string {
	t.Helper()
	return foreign(t, key, changes{"kid": kid}, changes{})
}

func foreign(t testing.TB, key *rsa.PrivateKey, header, claims changes) string {
	t.Helper()
	return rs256Token(t, key,
		header.to(map[string]any{"alg": "RS256", "typ": "JWT", "kid": "one"}),
		claims.to(map[string]any{"iss": issuer, "aud": "api", "sub": "auth0|1",
			"exp": time.Now().Unix() + 86400}))
}

func wantUnavailable(t testing.TB, err error, want bool) {
	t.Helper()
	if got := errors.Is(err, ErrUnavailable); got != want {
		t.Errorf("got %v, want ErrUnavailable: %v", err, want)
	}
}

func TestATokenOfTheOutsideIssuerPassesAndNoneIsIssued(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		server.wantFetches(t, 0) // two servers may start in either order
		username, expires, err := s.Check(foreignToken(t, "one", exampleKey(t)))
		if username != "auth0|1" || expires.IsZero() || err != nil {
			t.Errorf("got %q, %v, %v; want auth0|1", username, expires, err)
		}
		server.wantFetches(t, 1)
		if _, _, err := s.Issue("user1"); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Issue: got %v, want ErrUnsupported", err)
		}
		if s.JWKS() != nil {
			t.Error("publishes keys that are not its own")
		}
	})
}

func TestAnOutsideTokenIsHeldToTheSameRules(t *testing.T) {
	now := epoch.Unix()
	for _, test := range []struct {
		name           string
		header, claims changes
		want           error
	}{
		{"typ absent", changes{"typ": absent}, nil, nil},
		{"typ at+jwt", changes{"typ": "at+jwt"}, nil, nil},
		{"typ jwt in lower case", changes{"typ": "jwt"}, nil, nil},
		{"typ with application/", changes{"typ": "application/at+jwt"}, nil, nil},
		{"typ with it in upper case", changes{"typ": "Application/AT+JWT"}, nil, nil},
		{"typ application/jwt", changes{"typ": "application/jwt"}, nil, nil},
		{"typ a number", changes{"typ": 1}, nil, ErrHeader},
		{"typ of another kind", changes{"typ": "dpop+jwt"}, nil, ErrHeader},
		{"typ empty", changes{"typ": ""}, nil, ErrHeader},
		{"typ null", changes{"typ": nil}, nil, ErrHeader},
		{"crit", changes{"crit": []string{"exp"}}, nil, ErrHeader},
		{"alg none", changes{"alg": "none"}, nil, ErrHeader},
		{"alg RS512", changes{"alg": "RS512"}, nil, ErrHeader},
		{"kid absent", changes{"kid": absent}, nil, ErrUnknownKey},
		{"kid a number", changes{"kid": 1}, nil, ErrUnknownKey},
		{"kid empty", changes{"kid": ""}, nil, ErrUnknownKey},
		{"iss without its slash", nil, changes{"iss": strings.TrimSuffix(issuer, "/")},
			ErrClaim},
		{"aud of another API", nil, changes{"aud": "other"}, ErrClaim},
		{"aud a list with ours", nil, changes{"aud": []string{"other", "api"}}, nil},
		{"exp 29 seconds ago", nil, changes{"exp": now - 29}, nil},
		{"exp 30 seconds ago", nil, changes{"exp": now - 30}, ErrExpired},
		{"nbf in 30 seconds", nil, changes{"nbf": now + 30}, nil},
		{"nbf in 31 seconds", nil, changes{"nbf": now + 31}, ErrNotYet},
		{"exp 1e300", nil, changes{"exp": 1e300}, ErrClaim},
	} {
		t.Run(test.name, func(t *testing.T) {
			outside(t, func(t *testing.T, s *Service, server *keyServer) {
				token := foreign(t, exampleKey(t), test.header, test.claims)
				wantError(t, s, token, test.want)
			})
		})
	}
	t.Run("signed with another key", func(t *testing.T) {
		outside(t, func(t *testing.T, s *Service, server *keyServer) {
			wantError(t, s, foreignToken(t, "one", anotherKey()), ErrSignature)
		})
	})
}

func TestATokenThatBringsItsOwnKeyCausesNoRequest(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		s.Check(foreignToken(t, "one", exampleKey(t)))
		for _, header := range []changes{
			{"jwk": published("one", anotherKey())},
			{"jku": "https://evil.example/"},
			{"x5u": "https://evil.example/"},
			{"x5c": []string{"MII"}},
		} {
			wantError(t, s, foreign(t, anotherKey(), header, changes{}), ErrSignature)
			wantError(t, s, foreign(t, exampleKey(t), header, changes{}), nil)
		}
		server.wantFetches(t, 1)
	})
}

func TestAMalformedTokenCausesNoFetch(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		good := foreignToken(t, "one", exampleKey(t))
		for _, token := range []string{"", "x", "a.b.c", good + "=", good + ".x", a1, a2,
			foreign(t, exampleKey(t), changes{"alg": "none"}, nil),
			foreign(t, exampleKey(t), changes{"crit": nil}, nil),
			foreign(t, exampleKey(t), changes{"kid": absent}, nil),
		} {
			_, _, err := s.Check(token)
			if err == nil {
				t.Errorf("%q is accepted", token)
			}
			wantUnavailable(t, err, false)
		}
		server.wantFetches(t, 0)
	})
}

func TestAnUnknownKidCausesAtMostOneFetchAMinute(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		s.Check(foreignToken(t, "one", exampleKey(t)))
		unknown := foreignToken(t, "two", exampleKey(t))
		for range 100 {
			wantError(t, s, unknown, ErrUnknownKey)
		}
		server.wantFetches(t, 1)
		time.Sleep(time.Minute - time.Nanosecond)
		wantError(t, s, unknown, ErrUnknownKey)
		server.wantFetches(t, 1)
		time.Sleep(time.Nanosecond)
		for range 100 {
			wantError(t, s, unknown, ErrUnknownKey)
		}
		server.wantFetches(t, 2)
	})
}

func TestTenThousandUnknownKidsAtOnceCauseOneFetchAndStopNobody(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		known := foreignToken(t, "one", exampleKey(t))
		wantError(t, s, known, nil)
		time.Sleep(time.Minute)
		server.set(func() { server.delay = time.Second })
		signature := known[strings.LastIndexByte(known, '.'):]
		var crowd sync.WaitGroup
		for i := range 1000 { // of 10 each: the race detector follows 8,000 goroutines at most
			crowd.Go(func() {
				for j := range 10 {
					header := changes{"kid": fmt.Sprint(i, j)}.to(goodHeader())
					header = strings.Replace(header, "HS256", "RS256", 1)
					token := base64url.EncodeToString([]byte(header)) + ".e30" + signature
					if _, _, err := s.Check(token); !errors.Is(err, ErrUnknownKey) {
						t.Errorf("got %v, want ErrUnknownKey", err)
					}
				}
			})
		}
		synctest.Wait() // until all wait for the fetch
		start := time.Now()
		wantError(t, s, known, nil)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("a known key waited %v", waited)
		}
		crowd.Wait()
		server.wantFetches(t, 2)
	})
}

func TestANewKeyWorksFromItsFirstToken(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		wantError(t, s, foreignToken(t, "one", exampleKey(t)), nil)
		time.Sleep(time.Minute)
		server.set(func() {
			server.body = keySet(published("one", exampleKey(t)), published("two", anotherKey()))
			server.delay = 4 * time.Second
		})
		var all sync.WaitGroup
		for range 50 { // the first starts the fetch, the others find it under way
			all.Go(func() { wantError(t, s, foreignToken(t, "two", anotherKey()), nil) })
		}
		all.Wait()
		server.wantFetches(t, 2)
		wantError(t, s, foreignToken(t, "one", exampleKey(t)), nil)
	})
}

func TestAWithdrawnKeyIsRefusedFromTheFirstTokenAfterAnHour(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		server.set(func() { server.delay = 4 * time.Second })
		token := foreignToken(t, "one", exampleKey(t))
		wantError(t, s, token, nil)
		server.set(func() { server.body = keySet(published("two", anotherKey())) })
		time.Sleep(time.Hour - 4*time.Second - time.Nanosecond) // after the request
		wantError(t, s, token, nil)
		server.wantFetches(t, 1)
		time.Sleep(time.Nanosecond)
		wantError(t, s, token, ErrUnknownKey)
		server.wantFetches(t, 2)
	})
}

// The fetch has a limit of five seconds, but a process may be stopped for longer.
func TestAFetchThatOutlastsThePaceIsNotDoubled(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		s.remote.client.Timeout = 0
		server.set(func() { server.delay = time.Minute })
		token := foreignToken(t, "one", exampleKey(t))
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() { wantError(t, s, token, nil) })
			time.Sleep(11 * time.Second)
		}
		all.Wait()
		server.wantFetches(t, 1)
	})
}

func TestAnOutageKeepsTheLastGoodSetAtOneSlowRequestAMinute(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		token := foreignToken(t, "one", exampleKey(t))
		wantError(t, s, token, nil)
		server.set(func() { server.delay = time.Hour }) // hangs
		time.Sleep(time.Hour)
		for try := range 3 {
			start := time.Now()
			var first sync.WaitGroup
			first.Go(func() { wantError(t, s, token, nil) })
			synctest.Wait()
			for range 100 { // the others find the fetch under way and a known key
				wantError(t, s, token, nil)
			}
			if waited := time.Since(start); waited != 0 {
				t.Errorf("the others waited %v", waited)
			}
			first.Wait()
			if waited := time.Since(start); waited != 5*time.Second {
				t.Errorf("the first waited %v, want 5s", waited)
			}
			wantError(t, s, token, nil)
			server.wantFetches(t, 2+try)
			time.Sleep(time.Minute - 5*time.Second)
		}
		wantError(t, s, foreignToken(t, "two", anotherKey()), ErrUnknownKey)

		server.set(func() { server.delay, server.body = 0, keySet(published("two", anotherKey())) })
		time.Sleep(time.Minute)
		wantError(t, s, token, ErrUnknownKey)
		wantError(t, s, foreignToken(t, "two", anotherKey()), nil)
	})
}

func TestWithoutKeysCheckReportsUnavailable(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		server.set(func() { server.err = errors.New("connection refused") })
		token := foreignToken(t, "one", exampleKey(t))
		for range 100 {
			_, _, err := s.Check(token)
			wantUnavailable(t, err, true)
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("got %v, want ErrUnavailable", err)
			}
		}
		server.wantFetches(t, 1)
		time.Sleep(10*time.Second - time.Nanosecond)
		s.Check(token)
		server.wantFetches(t, 1)
		time.Sleep(time.Nanosecond)
		server.set(func() { server.err = nil })
		wantError(t, s, token, nil)
		server.wantFetches(t, 2)
		_, _, err := s.Check(foreignToken(t, "two", exampleKey(t)))
		wantUnavailable(t, err, false) // there is a set now, and this is not in it
	})
}

func TestAHangingKeyServerIsGivenUpAfterFiveSeconds(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		server.set(func() { server.delay = time.Hour })
		start := time.Now()
		_, _, err := s.Check(foreignToken(t, "one", exampleKey(t)))
		wantUnavailable(t, err, true)
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("waited %v, want 5s", waited)
		}
	})
}

func TestABadAnswerIsAFailedFetch(t *testing.T) {
	one := keySet(published("one", exampleKey(t)))
	for _, test := range []struct {
		name   string
		status int
		body   string
	}{
		{"302", 302, one},
		{"404", 404, one},
		{"500", 500, one},
		{"201", 201, one},
		{"HTML", 200, "<!doctype html><title>Welcome</title>"},
		{"nothing", 200, ""},
		{"cut off", 200, one[:len(one)-1]},
		{"something after it", 200, one + "x"},
		{"not UTF-8", 200, strings.Replace(one, "one", "one\xff", 1)},
		{"keys twice", 200, strings.Replace(one, "{", `{"keys":[],`, 1)},
		{"a list", 200, "[" + one + "]"},
		{"keys not a list", 200, `{"keys":{}}`},
		{"keys missing", 200, `{}`},
		{"keys in another case", 200, strings.Replace(one, "keys", "Keys", 1)},
		{"no key", 200, `{"keys":[]}`},
		{"no usable key", 200, `{"keys":[{"kty":"EC"}]}`},
		{"over a MiB", 200, one + strings.Repeat(" ", 1<<20)},
	} {
		t.Run(test.name, func(t *testing.T) {
			outside(t, func(t *testing.T, s *Service, server *keyServer) {
				token := foreignToken(t, "one", exampleKey(t))
				wantError(t, s, token, nil)
				server.set(func() { server.status, server.body = test.status, test.body })
				time.Sleep(2 * time.Hour)
				wantError(t, s, token, nil) // the last good set is kept
				server.wantFetches(t, 2)

				fresh := trusting(t, server, quiet)
				_, _, err := fresh.Check(token)
				wantUnavailable(t, err, true) // it never had a set
			})
		})
	}
}

func TestASetOfExactlyOneMiBIsTaken(t *testing.T) {
	outside(t, func(t *testing.T, s *Service, server *keyServer) {
		server.set(func() { server.body += strings.Repeat(" ", 1<<20-len(server.body)) })
		wantError(t, s, foreignToken(t, "one", exampleKey(t)), nil)
	})
}

func TestAFailedFetchIsLogged(t *testing.T) {
	outside(t, func(t *testing.T, _ *Service, server *keyServer) {
		var log bytes.Buffer
		s := trusting(t, server, slog.New(slog.NewTextHandler(&log, nil)))
		server.set(func() { server.status = 404 })
		token := foreignToken(t, "one", exampleKey(t))
		s.Check(token)
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "404") ||
			strings.Contains(got, token) {
			t.Errorf("got log %q, want one line with the reason", got)
		}
	})
}

func TestTheLogOfAFailedFetchHasNoURL(t *testing.T) {
	var log bytes.Buffer
	s := trusting(t, unreachable{}, slog.New(slog.NewTextHandler(&log, nil)))
	s.remote.address.RawQuery = "api_key=secret"
	s.Check(foreignToken(t, "one", exampleKey(t)))
	if got := log.String(); !strings.Contains(got, "no route") || strings.Contains(got, "secret") {
		t.Errorf("got log %q, want the reason without the query of the URL", got)
	}
}

type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no route to host")
}

func TestABadKeyIsSkippedAndItsNeighbourWorks(t *testing.T) {
	key := exampleKey(t)
	n, e := numbers(&key.PublicKey)
	bits := func(bits uint) string {
		number := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return base64url.EncodeToString(number.Add(number, big.NewInt(1)).Bytes())
	}
	even := new(big.Int).Lsh(key.N, 1)
	change := func(c changes) any {
		members := published("bad", key)
		return json.RawMessage(c.to(members))
	}
	for _, test := range []struct {
		name string
		bad  any
		used bool
	}{
		{"as published", change(changes{}), true},
		{"use absent", change(changes{"use": absent}), true},
		{"alg absent", change(changes{"alg": absent}), true},
		{"key_ops with verify", change(changes{"key_ops": []string{"sign", "verify"}}), true},
		{"unknown members", change(changes{"x5t": "x", "x5c": []string{"MII"}}), true},
		{"8192 bits", change(changes{"n": bits(8192)}), true},
		{"exponent 3", change(changes{"e": "Aw"}), true},

		{"kty EC", change(changes{"kty": "EC"}), false},
		{"kty oct", map[string]any{"kty": "oct", "kid": "bad", "k": "AAAA"}, false},
		{"kty absent", change(changes{"kty": absent}), false},
		{"kty in lower case", change(changes{"kty": "rsa"}), false},
		{"use enc", change(changes{"use": "enc"}), false},
		{"use a list", change(changes{"use": []string{"sig"}}), false},
		{"alg RS512", change(changes{"alg": "RS512"}), false},
		{"alg RSA-OAEP", change(changes{"alg": "RSA-OAEP"}), false},
		{"key_ops without verify", change(changes{"key_ops": []string{"encrypt"}}), false},
		{"key_ops empty", change(changes{"key_ops": []string{}}), false},
		{"key_ops a string", change(changes{"key_ops": "verify"}), false},
		{"kid absent", change(changes{"kid": absent}), false},
		{"kid empty", change(changes{"kid": ""}), false},
		{"kid a number", change(changes{"kid": 1}), false},
		{"kid of its neighbour", change(changes{"kid": "good", "n": bits(2048)}), false},
		{"n absent", change(changes{"n": absent}), false},
		{"n a number", change(changes{"n": 1}), false},
		{"n padded", change(changes{"n": n + "="}), false},
		{"n with a line feed", change(changes{"n": n[:9] + "\n" + n[9:]}), false},
		{"n in the other alphabet", change(changes{"n": "+/" + n[2:]}), false},
		{"n with a zero in front", change(changes{"n": base64url.EncodeToString(
			append([]byte{0}, key.N.Bytes()...))}), false},
		{"n even", change(changes{"n": base64url.EncodeToString(even.Bytes())}), false},
		{"1024 bits", change(changes{"n": bits(1024)}), false},
		{"2047 bits", change(changes{"n": bits(2047)}), false},
		{"8193 bits", change(changes{"n": bits(8193)}), false},
		{"e absent", change(changes{"e": absent}), false},
		{"e empty", change(changes{"e": ""}), false},
		{"e a number", change(changes{"e": 65537}), false},
		{"exponent 0", change(changes{"e": "AA"}), false},
		{"exponent 1", change(changes{"e": "AQ"}), false},
		{"exponent 2", change(changes{"e": "Ag"}), false},
		{"exponent 65536", change(changes{"e": "AQAA"}), false},
		{"exponent 2³¹+1", change(changes{"e": "gAAAAQ"}), false},
		{"exponent 2⁶⁴+65537", change(changes{"e": "AQAAAAAAAQAB"}), false},
		{"exponent of 2048 bits", change(changes{"e": n}), false},
		{"e with a zero in front", change(changes{"e": "AAEAAQ"}), false},
		{"e with unused bits that are not zero", change(changes{"e": e[:2] + "AC"}), false},
		{"not an object", "bad", false},
		{"null", nil, false},
		{"a list", []any{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := published("good", anotherKey())
			for _, set := range []string{keySet(good, test.bad), keySet(test.bad, good)} {
				if test.name == "kid of its neighbour" {
					set = keySet(good, test.bad) // the first one counts
				}
				keys, err := parseKeySet([]byte(set))
				if err != nil || !anotherKey().PublicKey.Equal(keys["good"]) {
					t.Errorf("the neighbour: got %v, %v", keys, err)
				}
				if used := len(keys) > 1; used != test.used {
					t.Errorf("got %d keys, want this one used: %v", len(keys), test.used)
				}
			}
		})
	}
}

func TestAnAnswerFromARealServerIsRead(t *testing.T) {
	var followed atomic.Bool
	mux := http.NewServeMux()
	answer := func(path string, handler http.HandlerFunc) { mux.Handle("GET "+path, handler) }
	answer("/a/.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, keySet(published("one", exampleKey(t))))
	})
	answer("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/target", http.StatusFound)
	})
	answer("/target", func(w http.ResponseWriter, _ *http.Request) {
		followed.Store(true)
		io.WriteString(w, keySet(published("one", exampleKey(t))))
	})
	answer("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for { // until the client hangs up
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	issuer := server.URL + "/a/" // as Auth0's, with a slash
	claims := changes{"iss": issuer, "aud": "api", "sub": "u", "exp": time.Now().Unix() + 60}
	token := rs256Token(t, exampleKey(t), `{"alg":"RS256","kid":"one"}`,
		claims.to(map[string]any{}))
	t.Setenv("JWT_ISSUER", issuer)
	t.Setenv("JWT_AUDIENCE", "api")
	for jwksURL, want := range map[string]error{
		"":                      nil,
		server.URL + "/moved":   ErrUnavailable,
		server.URL + "/endless": ErrUnavailable,
		server.URL + "/none":    ErrUnavailable,
		"http://127.0.0.1:1/":   ErrUnavailable,
	} {
		t.Setenv("JWT_JWKS_URL", jwksURL)
		wantError(t, newService(t, "external"), token, want)
	}
	if followed.Load() {
		t.Error("the redirect was followed")
	}
}

func TestAnEndlessStreamOfGzipThatUnpacksToNothingIsCutOff(t *testing.T) {
	var nothing bytes.Buffer
	gzip.NewWriter(&nothing).Close()
	chunk := bytes.Repeat(nothing.Bytes(), 64<<10/nothing.Len())
	var asked atomic.Value
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip") // whatever was asked for
		for {                                      // until the client hangs up
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	t.Setenv("JWT_ISSUER", server.URL)
	t.Setenv("JWT_AUDIENCE", "api")
	s := newService(t, "external")
	_, _, err := s.Check(foreignToken(t, "one", exampleKey(t)))
	wantUnavailable(t, err, true)
	server.Close() // which waits for the handler
	if got := asked.Load(); got != "identity" {
		t.Errorf("asked for Accept-Encoding %q, want identity", got)
	}
	// We read a MiB; the rest fits into the buffers of the connection. Unpacked, it would
	// go on until the five seconds are over.
	if got := sent.Load(); got > 32<<20 {
		t.Errorf("read on for %d MiB", got>>20)
	}
}

func TestKeysOverPlainHTTPComeFromThisMachineOnly(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://tokens.example/keys": true,
		"http://127.0.0.1:8001/keys":  true,
		"http://127.9.9.9/keys":       true,
		"http://localhost:8001/keys":  true,
		"http://[::1]:8001/keys":      true,
		"http://tokens.example/keys":  false,
		"http://10.0.0.1/keys":        false,
		"http://0.0.0.0/keys":         false,
		"http://[::]/keys":            false,
		"http://127.0.0.1@evil/keys":  false,
		"http://localhost@evil/keys":  false,
		"https://me@tokens.example/":  false,
		"ftp://localhost/keys":        false,
		"//localhost/keys":            false,
		"localhost:8001":              false,
		":":                           false,
	} {
		err := new(Service).useIssuer(issuer, "api", address, quiet)
		if (err == nil) != ok {
			t.Errorf("%q: got error %v, want accepted: %v", address, err, ok)
		}
	}
}

// FuzzKeySet: no set makes parseKeySet panic, and each key it accepts is written
// in the set exactly as we would write it.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(keySet(published("one", exampleKey(f)))))
	f.Add([]byte(keySet(published("one", exampleKey(f)), published("two", exampleKey(f)), 1, nil)))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"x","n":"AQ","e":"AQAB","key_ops":["verify"]}]}`))
	f.Fuzz(func(t *testing.T, set []byte) {
		keys, err := parseKeySet(set)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("got %d keys and %v", len(keys), err)
		}
		var loose struct {
			Keys []any `json:"keys"`
		}
		json.Unmarshal(set, &loose)
		for kid, key := range keys {
			if !usable(key) || kid == "" {
				t.Errorf("accepted %q, which is not usable", kid)
			}
			n, e := numbers(key)
			found := false
			for _, element := range loose.Keys {
				members, _ := element.(map[string]any)
				found = found || members["kid"] == kid && members["n"] == n && members["e"] == e
			}
			if !found {
				t.Errorf("key %q is accepted, but not spelled n=%s e=%s", kid, n, e)
			}
		}
	})
}
