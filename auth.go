// auth.go is the HTTP side: it reads what a client sends, asks users.go and tokens.go, and
// answers. It does not know how a token or a password hash is made.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"tokenserver/internal/jwt"
	"tokenserver/internal/strictjson"
)

// A handler only decides: it returns a body to send as JSON, or an error to refuse with, and
// a username for the log. The function answer, below, does the rest.
type handler func(*http.Request) (username string, body any, err error)

// issueToken exchanges a username and a password for a token. This is OAuth's password grant, as
// in the article. New systems must not use it, because the client sees the user's password (RFC
// 9700 §2.4). They use the authorization code grant with PKCE (§2.1).
func (s *server) issueToken(r *http.Request) (string, any, error) {
	form, err := readForm(r,
		"grant_type", "username", "password", "scope", "client_id", "client_secret")
	if err != nil {
		return "", nil, err
	}
	username, password := form.Get("username"), form.Get("password")
	if grant := form.Get("grant_type"); grant != "" && grant != "password" {
		return username, nil, refusal{400, "unsupported_grant_type", "Send grant_type=password", ""}
	}
	if username == "" || password == "" {
		return username, nil, invalid("Send username and password")
	}
	user, err := s.users.authenticate(r.Context(), username, password)
	if err != nil {
		return username, nil, err
	}
	if user.disabled && s.signed { // other servers do not know who is disabled
		return username, nil, errInactive
	}
	before := time.Now() // after Issue, 899.99 seconds would be left, cut to 899
	token, expires, err := s.tokens.Issue(user.name)
	return user.name, map[string]any{
		"access_token": token,
		"token_type":   "bearer",
		"expires_in":   int(expires.Sub(before).Seconds()),
		"expires_at":   expires.UTC().Format(time.RFC3339),
	}, err
}

// guard calls open only for the bearer of a valid token: anyone who presents it. A stolen
// token works like the user's own until it expires or is revoked. Each bad token gets the same
// answer, so a forger learns nothing from it; the reason is written to the log.
func (s *server) guard(open func(username string, expires time.Time) any) handler {
	return func(r *http.Request) (string, any, error) {
		if len(r.Header["Authorization"]) > 1 { // Get would hide the second
			return "", nil, errTwoTokens
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", nil, errNoToken
		}
		username, expires, err := s.tokens.Check(strings.TrimLeft(token, " "))
		switch {
		case errors.Is(err, jwt.ErrUnavailable):
			return "", nil, errUnavailable.because(err)
		case err != nil:
			return "", nil, errBadToken.because(err)
		case s.users != nil && s.users.lookup(username).disabled:
			// We know who this is (authentication), but they may not enter (authorization).
			// 401 says "log in"; 403 says "that would not help".
			return username, nil, errInactive
		}
		return username, open(username, expires), nil
	}
}

func protected(username string, _ time.Time) any {
	return struct {
		Message string `json:"message"`
	}{"Success to authentication, " + username + "!"}
}

// revoke follows RFC 7009. Anyone who has a token may revoke it: at worst, a thief logs the
// owner out. An unknown token is as good as revoked.
func (s *server) revoke(r *http.Request) (string, any, error) {
	form, err := readForm(r, "token", "token_type_hint")
	if err != nil {
		return "", nil, err
	}
	if form.Get("token") == "" {
		return "", nil, invalid("Send the token")
	}
	username, err := s.tokens.Revoke(form.Get("token"))
	if errors.Is(err, errors.ErrUnsupported) {
		err = errSigned
	}
	return username, nil, err
}

// register answers 409 for a taken name, which reveals who has an account. Only a mail to
// the new user's address could avoid that.
func (s *server) register(r *http.Request) (string, any, error) {
	body, err := readBody(r, "application/json")
	if err != nil {
		return "", nil, err
	}
	fields, err := strictjson.Object(body)
	username, _ := fields["username"].(string)
	password, _ := fields["password"].(string)
	if err != nil || len(fields) != 2 {
		return username, nil, invalid("Send JSON with username and password, and nothing else")
	}
	err = s.users.register(r.Context(), username, password)
	return username, map[string]string{"username": username}, err
}

func me(username string, expires time.Time) any {
	return map[string]any{"username": username, "expires_at": expires.UTC().Format(time.RFC3339)}
}

func items(username string, _ time.Time) any {
	return []map[string]string{{"item_id": "Foo", "owner": username}}
}

// isLoggedIn answers false where guard answers 4xx, so also to a disabled user who just logged in.
func (s *server) isLoggedIn(r *http.Request) (string, any, error) {
	username, _, err := s.guard(me)(r)
	if errors.Is(err, errUnavailable) {
		return "", nil, err
	}
	return username, map[string]bool{"is_logged_in": err == nil}, nil
}

// answer registers h for a pattern. It sends the body that h returns as JSON, or nothing for nil,
// and logs the event by its name. No cache may keep an answer, as it may hold a token.
func (s *server) answer(mux *http.ServeMux, pattern string, success int, event string, h handler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		username, body, err := h(r)
		status, level, outcome, reason := success, slog.LevelInfo, event, slog.Attr{}
		if err != nil {
			ref := refusal{500, "server_error", "Internal error", ""}
			if !errors.As(err, &ref) { // no refusal in err, so ref stays as it is: our own fault
				level = slog.LevelError // logged even with -quiet
			}
			if name, value, ok := strings.Cut(ref.header, ": "); ok {
				w.Header().Set(name, value)
			}
			status, outcome, reason = ref.status, event+" refused", slog.Any("reason", err)
			body = map[string]string{ // detail as in the article, the others for OAuth clients
				"detail": ref.detail, "error": ref.code, "error_description": ref.detail,
			}
		}
		s.log.LogAttrs(r.Context(), level, outcome,
			slog.String("username", username), slog.String("client", r.RemoteAddr), reason)
		w.Header().Set("Cache-Control", "no-store")
		var text []byte
		if body != nil {
			w.Header().Set("Content-Type", "application/json")
			text, _ = json.Marshal(body) // fails only for types that no handler returns
		}
		w.WriteHeader(status)
		w.Write(text)
	})
}

// A refusal is an error answer. Its texts are constants: servers leak by quoting the request, or
// an internal error.
type refusal struct {
	status int
	code   string // for programs: from RFC 6749 §5.2 or RFC 6750 §3.1 where one fits
	detail string // for people
	header string // "Name: value", or ""
}

func (r refusal) Error() string { return r.detail }

// because adds a reason, which is written to the log and never sent.
func (r refusal) because(reason error) error { return fmt.Errorf("%w: %w", r, reason) }
func invalid(detail string) refusal          { return refusal{400, "invalid_request", detail, ""} }

const challenge = `WWW-Authenticate: Bearer realm="token server"`
const later = "temporarily_unavailable"
const formType = "application/x-www-form-urlencoded"
const maxBody = 4 << 10 // bytes: more than any login needs

// The article answers a wrong password with 401, and so do we. RFC 6749 §5.2 would say 400. The
// price: an OAuth client such as oauth4webapi stops at a 401, and does not show invalid_grant.
var (
	errWrongPassword = refusal{401, "invalid_grant", "Incorrect username or password", challenge}
	errNoToken       = refusal{401, "unauthorized", "Not authenticated", challenge}
	errBadToken      = refusal{401, "invalid_token", "Invalid authentication credentials",
		challenge + `, error="invalid_token"`} // error= tells a client to get a new token
	errTwoTokens = refusal{400, "invalid_request", "Send one Authorization header",
		challenge + `, error="invalid_request"`}
	errInactive    = refusal{403, "access_denied", "Inactive user", challenge}
	errSigned      = refusal{400, "unsupported_token_type", "A signed token cannot be revoked", ""}
	errTaken       = refusal{409, "conflict", "already registered", ""}
	errBadName     = invalid("username: 1 to 64 characters out of a-z 0-9 . _ @ + -")
	errBadPassword = invalid("password: 8 characters or more, 72 bytes at most, not the username")
	errThrottled   = refusal{429, later,
		"Too many failed logins; retry in a minute", "Retry-After: 60"}
	errBusy        = refusal{503, later, "Too many logins at once; try again", "Retry-After: 2"}
	errUnavailable = refusal{503, later, "Try again later", "Retry-After: 10"}
	errFull        = refusal{503, later, "No room for more users", ""} // so no Retry-After
)

// readForm returns the fields of a form. Each of names may appear once. r.FormValue would be a
// trap: it reads the query, too, which ends up in logs and browser histories, and it takes the
// first of two equal fields where another program may take the last.
func readForm(r *http.Request, names ...string) (url.Values, error) {
	body, err := readBody(r, formType)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalid("The body is not a form")
	}
	for _, name := range names {
		// ContainsAny takes a byte that is not UTF-8 for U+FFFD, so it finds those, too.
		if len(form[name]) > 1 || strings.ContainsAny(form.Get(name), "\x00\uFFFD") {
			return nil, invalid("Send each field once, in UTF-8 without NUL")
		}
	}
	return form, nil
}

func readBody(r *http.Request, mediaType string) ([]byte, error) {
	sent, _, _ := mime.ParseMediaType(strings.Join(r.Header["Content-Type"], ", ")) // two: 415
	if sent != mediaType {
		return nil, refusal{415, "invalid_request", "Send " + mediaType, ""}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, invalid("The body broke off").because(err)
	}
	if len(body) > maxBody {
		return nil, refusal{413, "invalid_request", "The body is larger than 4 KiB", ""}
	}
	return body, nil
}
