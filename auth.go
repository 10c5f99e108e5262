// auth.go is the HTTP side: it reads what a client sends, asks users.go and
// tokens.go, and answers. It does not know how a token or a hash is made.

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"tokenserver/internal/jwt"
)

type server struct {
	users  *users // nil if tokens come from elsewhere
	tokens tokenService
	ttl    time.Duration // of a token
	log    *slog.Logger
}

const formType = "application/x-www-form-urlencoded"

// A handler only decides: what to send or, if err is not nil, whom to refuse and why.
// The username is for the log. What goes over the wire is up to answer.
type handler func(*http.Request) (username string, body any, err error)

// answer sends what a handler decides and logs the event. A body of nil is an empty
// one. No cache may keep an answer: it may hold a token.
func (s *server) answer(success int, event string, decide handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		username, body, err := decide(r)
		status := success
		if err == nil {
			s.log.Info(event, "username", username)
		} else {
			no, level := refusalFor(err), slog.LevelInfo
			if no.status == 500 {
				level = slog.LevelError // our fault, so -quiet shows it, too
			}
			s.log.Log(r.Context(), level, event+" refused", "username", username, "reason", err)
			if name, value, ok := strings.Cut(no.header, ": "); ok {
				w.Header().Set(name, value)
			}
			status = no.status
			body = map[string]string{ // the article's clients read detail, OAuth clients the others
				"detail": no.detail, "error": no.code, "error_description": no.detail,
			}
		}
		var text []byte
		if body != nil {
			w.Header().Set("Content-Type", "application/json")
			text, _ = json.Marshal(body) // fails only for types that no handler returns
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		w.Write(text)
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

var cannotTell = refusal{503, "temporarily_unavailable", "Try again later", "Retry-After: 10"}

// refusalFor finds the answer to an error, also to those of the other files.
func refusalFor(err error) refusal {
	if no, ok := err.(refusal); ok {
		return no
	}
	return cmp.Or(map[error]refusal{
		errWrongPassword: {401, "invalid_grant", "Incorrect username or password", challenge},
		errThrottled:     {429, "temporarily_unavailable", "Wait a minute", "Retry-After: 60"},
		errBusy:          {503, "temporarily_unavailable", "Too many logins", "Retry-After: 2"},
		errFull:          {503, "temporarily_unavailable", "No room for more", "Retry-After: 600"},
		errTaken:         {409, "conflict", "already registered", ""},
		errBadName:       invalid("username: 1 to 64 of a-z 0-9 . _ @ -"),
		errBadPassword:   invalid("password: 8 characters to 72 bytes, no NUL, not the username"),
		errors.ErrUnsupported: {400, "unsupported_token_type",
			"A signed token stays good until it expires", ""},
	}[err], refusal{500, "server_error", "Internal error", ""})
}

// issueToken trades a username and a password for a token.
//
// This is OAuth's password grant, as in the article. It must not be used in new
// systems (RFC 9700 §2.4), because the client gets to see the user's password:
// they use the authorization code grant with PKCE.
func (s *server) issueToken(r *http.Request) (string, any, error) {
	form, err := read(r, formType, url.ParseQuery,
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
	user, err := s.users.authenticate(r.Context(), username, password)
	if err != nil {
		return username, nil, err
	}
	token, expires, err := s.tokens.Issue(user)
	return user, map[string]any{
		"access_token": token,
		"token_type":   "bearer",
		"expires_in":   int(s.ttl.Seconds()),
		"expires_at":   expires.UTC().Format(time.RFC3339),
	}, err
}

// revoke follows RFC 7009. Whoever shows a token may kill it: at worst
// a thief logs the owner out. An unknown token is as dead as was asked for.
func (s *server) revoke(r *http.Request) (string, any, error) {
	form, err := read(r, formType, url.ParseQuery, "token", "token_type_hint")
	if err != nil {
		return "", nil, err
	}
	if form.Get("token") == "" {
		return "", nil, invalid("Send the token")
	}
	username, err := s.tokens.Revoke(form.Get("token"))
	return username, nil, err
}

// register answers a taken name with 409, which tells who has an account: only a mail
// to the new user's address could avoid that.
func (s *server) register(r *http.Request) (string, any, error) {
	fields, err := read(r, "application/json", parseObject, "username", "password")
	if err != nil {
		return "", nil, err
	}
	if len(fields) != 2 {
		return fields.Get("username"), nil, invalid("Send username and password, nothing else")
	}
	username := fields.Get("username")
	err = s.users.register(r.Context(), username, fields.Get("password"))
	return username, map[string]string{"username": username}, err
}

// guard opens to a bearer: whoever shows a good token. A stolen one is as good as the
// user's own until it dies.
func (s *server) guard(open func(username string, expires time.Time) any) handler {
	return func(r *http.Request) (string, any, error) {
		username, expires, err := s.bearer(r)
		if err != nil {
			return username, nil, err
		}
		return username, open(username, expires), nil
	}
}

// bearer decides whose good token a request shows. Whatever is wrong with a token,
// the answer is the same: how it failed is nobody's business.
func (s *server) bearer(r *http.Request) (string, time.Time, error) {
	if len(r.Header["Authorization"]) > 1 { // Get would hide the second
		return "", time.Time{}, invalid("Send one Authorization header")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", time.Time{}, refusal{401, "unauthorized", "Not authenticated", challenge}
	}
	username, expires, err := s.tokens.Check(strings.TrimLeft(token, " "))
	switch {
	case errors.Is(err, jwt.ErrUnavailable):
		err = cannotTell
	case err != nil: // error= tells a client that a new token would help
		err = refusal{401, "invalid_token", "Invalid authentication credentials",
			challenge + `, error="invalid_token"`}
	case s.users != nil && s.users.lookup(username).disabled:
		// We know who this is (authentication), but they may not enter
		// (authorization): 403, since no other token would help them.
		err = refusal{403, "access_denied", "Inactive user", ""}
	}
	return username, expires, err
}

func protected(username string, _ time.Time) any {
	return map[string]string{"message": "Success to authentication, " + username + "!"}
}

func me(username string, expires time.Time) any {
	return map[string]any{"username": username, "expires_at": expires.UTC().Format(time.RFC3339)}
}

func items(username string, _ time.Time) any {
	return []map[string]string{{"item_id": "Foo", "owner": username}}
}

// isLoggedIn asks what the guard asks, but its no is an answer, not a refusal.
func (s *server) isLoggedIn(r *http.Request) (string, any, error) {
	username, _, err := s.bearer(r)
	if err == cannotTell {
		return "", nil, err
	}
	return username, map[string]bool{"is_logged_in": err == nil}, nil
}

// read returns the fields of a body. Those with these names are text and may come
// once each. r.FormValue would be a trap: it reads the query too, which ends up in
// logs and browser histories, and of a field that came twice it returns the first,
// where another program may take the last.
func read(r *http.Request, mediaType string, parse func(string) (url.Values, error),
	names ...string) (url.Values, error) {
	sent := strings.Join(r.Header["Content-Type"], ", ") // two are none
	if sent, _, _ := mime.ParseMediaType(sent); sent != mediaType {
		return nil, refusal{415, "invalid_request", "Send " + mediaType, ""}
	}
	body, err := io.ReadAll(r.Body)
	if errors.As(err, new(*http.MaxBytesError)) { // routes sets the limit
		return nil, refusal{413, "invalid_request", "The body is larger than 4 KiB", ""}
	}
	fields, parseErr := parse(string(body))
	if err != nil || parseErr != nil {
		return nil, invalid("The body is not " + mediaType + " with text fields")
	}
	for _, name := range names {
		// U+FFFD replaces what is no UTF-8: two passwords would become the same one.
		if len(fields[name]) > 1 || strings.ContainsAny(fields.Get(name), "\x00\uFFFD") {
			return nil, invalid("Send each field once, in UTF-8 without NUL")
		}
	}
	return fields, nil
}

// parseObject is to a JSON object of strings what url.ParseQuery is to a form. A struct
// would take "USERNAME" for username, and a map would hide that a name came twice.
func parseObject(text string) (url.Values, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	if first, _ := decoder.Token(); first != json.Delim('{') || !json.Valid([]byte(text)) {
		return nil, errors.New("not a JSON object")
	}
	fields := url.Values{}
	for decoder.More() {
		name, _ := decoder.Token()
		var value string
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		fields.Add(name.(string), value)
	}
	return fields, nil
}
