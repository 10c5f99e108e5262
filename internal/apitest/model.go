// model.go holds the model. It knows nothing of HTTP, nor of how the server does its work.

package apitest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A model says what the server must answer. It is the contract as a program: short, slow and
// plain. It knows no hash, never forgets anything, and needs no lock, since it is asked one
// thing at a time. An answer is a status and a JSON body, as text.
type model struct {
	signed    bool                   // the tokens are signed, not opaque
	strangers int                    // users of whom only the number matters
	passwords map[string]string      // of all other users, by name
	tokens    map[int]token          // by the number of the login that got them
	guesses   map[string][]time.Time // logins that failed or still run, by name, oldest first
}

type token struct {
	username string
	expires  time.Time
	revoked  bool
}

const (
	lifetime   = 15 * time.Minute // of a token
	cooling    = time.Minute      // without a failed login: those before it no longer count
	maxGuesses = 10
	maxUsers   = 10_000
	disabled   = "user3"
	good       = "abcdefghijklmnopqrstuvwxyz0123456789._@+-" // in a username
)

func newModel(signed bool, strangers int) *model {
	return &model{signed, strangers,
		map[string]string{"user1": "password1", "user2": "password2", "user3": "password3"},
		map[int]token{}, map[string][]time.Time{}}
}

// begin returns the answer to a request, or "" for a login with the right password: finish
// returns that one. A login takes a while, and other requests may come in between.
func (m *model) begin(now time.Time, q request) (answer string) {
	holder := m.tokens[q.token]
	valid := !holder.revoked && now.Before(holder.expires)
	switch {
	case q.path == "/token":
		return m.beginLogin(now, q.name, q.password)
	case q.path == "/register":
		return m.register(q.name, q.password)
	case q.path == "/revoke" && valid && m.signed:
		return refused(400, "unsupported_token_type")
	case q.path == "/revoke":
		holder.revoked = true
		m.tokens[q.token] = holder
		return "200"
	case q.path == "/is_logged_in":
		return fmt.Sprintf(`200 {"is_logged_in":%t}`, valid && holder.username != disabled)
	case q.token == noToken:
		return refused(401, "unauthorized")
	case !valid:
		return refused(401, "invalid_token")
	case holder.username == disabled:
		return refused(403, "access_denied")
	case q.path == "/protected":
		return fmt.Sprintf(`200 {"message":"Success to authentication, %s!"}`, holder.username)
	}
	return fmt.Sprintf(`200 {"expires_at":%q,"username":%q}`,
		clock(holder.expires), holder.username)
}

func (m *model) beginLogin(now time.Time, name, password string) (answer string) {
	right, known := m.passwords[name]
	switch {
	case name == "" || password == "" || strings.Contains(password, "\x00"):
		return refused(400, "invalid_request")
	case m.throttled(now, name):
		return refused(429, "temporarily_unavailable")
	case len(password) > 72: // nobody has such a password, so it is no guess
		return refused(401, "invalid_grant")
	}
	m.guesses[name] = append(slices.Clip(m.guesses[name]), now) // Clip: a clone may share them
	if !known || password != right {
		return refused(401, "invalid_grant")
	}
	return ""
}

// throttled reports whether ten logins failed, each less than a minute before the next one,
// and the last one less than a minute ago.
func (m *model) throttled(now time.Time, name string) bool {
	count, next := 0, now
	for _, failed := range slices.Backward(m.guesses[name]) {
		if next.Sub(failed) >= cooling {
			break
		}
		count, next = count+1, failed
	}
	return count >= maxGuesses
}

func (m *model) finish(now time.Time, q request) (answer string) {
	m.guesses[q.name] = m.guesses[q.name][:len(m.guesses[q.name])-1] // it was no guess
	if m.signed && q.name == disabled {
		return refused(403, "access_denied")
	}
	expires := now.Add(lifetime)
	if m.signed {
		expires = now.Truncate(time.Second).Add(lifetime)
	}
	m.tokens[q.id] = token{username: q.name, expires: expires}
	return fmt.Sprintf(`200 {"expires_at":%q,"expires_in":%d,"token_type":"bearer"}`,
		clock(expires), expires.Sub(now)/time.Second)
}

func (m *model) register(name, password string) (answer string) {
	_, taken := m.passwords[name]
	switch {
	case name == "" || len(name) > 64 || strings.Trim(name, good) != "",
		utf8.RuneCountInString(password) < 8 || len(password) > 72,
		strings.Contains(password, "\x00") || password == name:
		return refused(400, "invalid_request")
	case taken:
		return refused(409, "conflict")
	case m.strangers+len(m.passwords) >= maxUsers:
		return refused(503, "temporarily_unavailable")
	}
	m.passwords[name] = password
	return fmt.Sprintf(`201 {"username":%q}`, name)
}

// answer takes the requests one after the other.
func (m *model) answer(now time.Time, requests ...request) (answers []string) {
	for _, q := range requests {
		answer := m.begin(now, q)
		if answer == "" {
			answer = m.finish(now, q)
		}
		answers = append(answers, answer)
	}
	return answers
}

// explain finds an order of these requests, sent at once, in which the model gives the
// answers that the server gave, and returns the model after them, or nil if there is none.
func (m *model) explain(now time.Time, requests []request, got []string) *model {
	tried := map[string]bool{}
	var try func(*model, string) *model
	try = func(m *model, state string) *model { // of each request: new, begun or done
		if !strings.ContainsAny(state, "nb") {
			return m
		}
		if tried[state] {
			return nil
		}
		tried[state] = true
		for i, q := range requests {
			if state[i] == 'd' {
				continue
			}
			next, after := m.clone(), "d"
			answer := next.step(now, q, state[i])
			if answer == "" {
				after = "b"
			} else if answer != got[i] {
				continue
			}
			if found := try(next, state[:i]+after+state[i+1:]); found != nil {
				return found
			}
		}
		return nil
	}
	return try(m, strings.Repeat("n", len(requests)))
}

func (m *model) step(now time.Time, q request, state byte) (answer string) {
	if state == 'n' {
		return m.begin(now, q)
	}
	return m.finish(now, q)
}

func (m *model) clone() *model {
	return &model{m.signed, m.strangers,
		maps.Clone(m.passwords), maps.Clone(m.tokens), maps.Clone(m.guesses)}
}

func refused(status int, code string) string { return fmt.Sprintf(`%d {"error":%q}`, status, code) }
func clock(t time.Time) string               { return t.UTC().Format(time.RFC3339) }
