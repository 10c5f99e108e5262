// auth.go is the HTTP side: it reads what a client sends, asks users.go and
// tokens.go, and answers. It does not know how a token or a hash is made.

package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type server struct {
	users  *users
	tokens *opaqueTokens
	ttl    time.Duration // of a token
	log    *slog.Logger
}

const formType = "application/x-www-form-urlencoded"

// A handler only decides: what to send or, if err is not nil, whom to refuse and why.
// The username is for the log. What goes over the wire is up to answer.
type handler func(*http.Request) (username string, body any, err error)

// answer sends what a handler decides, with this status unless it is a refusal,
// and logs the event. A body of nil is an empty one. No cache may keep an answer: it
// may hold a token.
func (s *server) answer(status int, event string, decide handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		username, body, err := decide(r)
		status := status
		if err == nil {
			s.log.Info(event, "username", username)
		} else {
			s.log.Info(event+" refused", "username", username, "reason", err)
			no := err.(refusal) // handlers return no other error
			if name, value, ok := strings.Cut(no.header, ": "); ok {
				w.Header().Set(name, value)
			}
			status = no.status
			body = map[string]string{ // the article's clients read detail, OAuth clients the others
				"detail": no.detail, "error": no.code, "error_description": no.detail,
			}
		}
		if body != nil {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(status)
			text, _ := json.Marshal(body) // fails only for types that no handler returns
			w.Write(text)
		}
	}
}

// A refusal is an answer that says no. Its text is constant: repeating what was
// sent, or what a function returned as its error, is how servers leak.
type refusal struct {
	status int
	code   string // for programs: from RFC 6749 §5.2 or RFC 6750 §3.1 where one fits
	detail string // for people
	header string // "Name: value", or ""
}

func (no refusal) Error() string { return no.detail }

func invalid(detail string) refusal { return refusal{400, "invalid_request", detail, ""} }

const challenge = `WWW-Authenticate: Bearer realm="token server"`

var (
	wrongPassword = refusal{401, "invalid_grant", "Incorrect username or password", challenge}
	// error= tells a client that a new token would help.
	invalidToken = refusal{401, "invalid_token", "Invalid authentication credentials",
		challenge + `, error="invalid_token"`}
	disabled = refusal{403, "access_denied", "Inactive user", ""}
)

// issueToken trades a username and a password for a token.
//
// This is OAuth's password grant, as in the article. It must not be used in new
// systems (RFC 9700 §2.4), because the client gets to see the user's password:
// they use the authorization code grant with PKCE.
func (s *server) issueToken(r *http.Request) (string, any, error) {
	form, err := read(r,
		"grant_type", "username", "password", "scope", "client_id", "client_secret")
	if err != nil {
		return "", nil, err
	}
	if grant := form.Get("grant_type"); grant != "" && grant != "password" {
		return "", nil, refusal{400, "unsupported_grant_type", "The only one is password", ""}
	}
	username, password := form.Get("username"), form.Get("password")
	if username == "" || password == "" {
		return username, nil, invalid("Send username and password")
	}
	user, err := s.users.authenticate(username, password)
	if err != nil {
		return username, nil, wrongPassword
	}
	token, expires := s.tokens.Issue(user)
	return user, map[string]any{
		"access_token": token,
		"token_type":   "bearer",
		"expires_in":   int(s.ttl.Seconds()),
		"expires_at":   expires.UTC().Format(time.RFC3339),
	}, nil
}

// revoke follows RFC 7009. Whoever shows a token may kill it: at worst
// a thief logs the owner out. An unknown token is as dead as was asked for.
func (s *server) revoke(r *http.Request) (string, any, error) {
	form, err := read(r, "token", "token_type_hint")
	if err != nil {
		return "", nil, err
	}
	if form.Get("token") == "" {
		return "", nil, invalid("Send the token")
	}
	return s.tokens.Revoke(form.Get("token")), nil, nil
}

// guard opens to a bearer: whoever shows a good token. A stolen one is as good as the
// user's own until it dies. Whatever is wrong with a token, the answer is the same:
// how it failed is nobody's business.
func (s *server) guard(open func(username string) any) handler {
	return func(r *http.Request) (string, any, error) {
		if len(r.Header["Authorization"]) > 1 { // Get would hide the second
			return "", nil, invalid("Send one Authorization header")
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", nil, refusal{401, "unauthorized", "Not authenticated", challenge}
		}
		username, _, err := s.tokens.Check(strings.TrimLeft(token, " "))
		if err != nil {
			return "", nil, invalidToken
		}
		// We know who this is (authentication), but they may not enter (authorization):
		// 403, since no other token would help them.
		if s.users.byName[username].disabled {
			return username, nil, disabled
		}
		return username, open(username), nil
	}
}

func protected(username string) any {
	return map[string]string{"message": "Success to authentication, " + username + "!"}
}

// read returns the fields of a form. Those with these names are text and may come
// once each. r.FormValue would be a trap: it reads the query too, which ends up in
// logs and browser histories, and of a field that came twice it returns the first,
// where another program may take the last.
func read(r *http.Request, names ...string) (url.Values, error) {
	if sent, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); sent != formType {
		return nil, refusal{415, "invalid_request", "Send " + formType, ""}
	}
	body, err := io.ReadAll(r.Body)
	if errors.As(err, new(*http.MaxBytesError)) { // routes sets the limit
		return nil, refusal{413, "invalid_request", "The body is larger than 4 KiB", ""}
	}
	form, parseErr := url.ParseQuery(string(body))
	if err != nil || parseErr != nil {
		return nil, invalid("The body is no form")
	}
	for _, name := range names {
		// U+FFFD replaces what is no UTF-8: two passwords would become the same one.
		if len(form[name]) > 1 || strings.ContainsAny(form.Get(name), "\x00\uFFFD") {
			return nil, invalid("Send each field once, in UTF-8")
		}
	}
	return form, nil
}
