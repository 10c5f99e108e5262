// history.go draws a history of what clients do, plays it to a server, and compares the
// answers with those of the model in model.go. It knows the server as an http.Handler only.

package apitest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// CheckHistory makes up a history: what some clients do within a day, in so many steps at most.
// It sends each request to a new server and compares each answer with a model's: a second,
// much simpler program for the same contract, in model.go. If an answer is wrong, the test
// fails with the shortest history found that still has a wrong answer.
//
// The same seed makes the same history. Call this in a synctest bubble, where a day passes at
// once. server returns a new server for one kind of token, opaque or hs256, with the demo
// users and so many strangers: users with other names, who never log in.
func CheckHistory(t testing.TB, seed uint64, steps int,
	server func(kind string, strangers int) http.Handler) {
	t.Helper()
	if limitsTokens(server("opaque", 0)) {
		t.Skip("a fourth login ends the first token (exercise 1), which model.go does not know")
	}
	h := draw(seed, steps)
	lines, ran := h.run(server)
	if lines == nil {
		return
	}
	all := ran
	h.requests = h.requests[:ran] // the shortest prefix
	for size := ran / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(h.requests); { // leave out what need not be there
			shorter := h
			shorter.requests = slices.Delete(slices.Clone(h.requests), i, i+size)
			if found, ran := shorter.run(server); found != nil {
				h.requests, lines = shorter.requests[:ran], found
			} else {
				i += size
			}
		}
	}
	t.Fatalf("seed %d is wrong after %d requests; of these %d are enough (%s tokens, %d strangers)"+
		":\n%s", seed, all, len(h.requests), h.kind, h.strangers, strings.Join(lines, "\n"))
}

// limitsTokens reports whether a user's fourth login ends the first token.
func limitsTokens(server http.Handler) bool {
	c := clients{server, map[int]string{}, map[int]string{}}
	for id := range 4 {
		c.send([]request{{id: id, path: "/token", name: "user1", password: "password1"}})
	}
	return !strings.HasPrefix(c.send([]request{{id: 4, path: "/protected", token: 0}})[0], "200")
}

type history struct {
	kind      string
	strangers int
	requests  []request
}

// A request happens at a time since the start, not since the request before: so one can be
// left out, and the others still happen when they did.
type request struct {
	id             int
	at             time.Duration
	step           int // requests of one step are sent at once
	path           string
	name, password string // of a login or registration
	token          int    // the id of the login that got it, or one of these:
}

const (
	noToken     = -1
	madeUpToken = -2
)

// run returns nil if all answers are right. Otherwise it returns all requests until the first
// wrong answer, as lines, and how many they are.
func (h history) run(server func(string, int) http.Handler) (lines []string, ran int) {
	const day = 24 * time.Hour
	time.Sleep(time.Until(time.Now().Truncate(day).Add(day))) // so a history starts at 00:00
	c := clients{server(h.kind, h.strangers), map[int]string{}, map[int]string{}}
	m := newModel(h.kind == "hs256", h.strangers)
	start := time.Now()
	for after := m; ran < len(h.requests); m = after {
		step := h.requests[ran:]
		for i, q := range step {
			if q.step != step[0].step {
				step = step[:i]
				break
			}
		}
		ran += len(step)
		time.Sleep(time.Until(start.Add(step[0].at)))
		now, got := time.Now(), c.send(step)
		for i, q := range step {
			lines = append(lines, c.describe(q, len(step) > 1)+got[i])
		}
		if after = m.explain(now, step, got); after == nil && len(step) > 1 {
			return append(lines, "  no order of the requests of one time gives these answers"), ran
		} else if after == nil {
			return append(lines, "  want "+m.answer(now, step...)[0]), ran
		}
	}
	return nil, ran
}

// clients send requests and keep the tokens they get.
type clients struct {
	server http.Handler
	tokens map[int]string // by the id of the login that got it
	called map[int]string // what to call this token, such as "alice's token 2"
}

// send sends requests at once and returns the answers.
func (c *clients) send(requests []request) []string {
	answers, issued := make([]string, len(requests)), make([]string, len(requests))
	var all sync.WaitGroup
	for i, q := range requests {
		all.Go(func() { answers[i], issued[i] = c.exchange(q) })
	}
	all.Wait()
	for i, token := range issued {
		if token == "" {
			continue
		}
		for _, other := range c.tokens {
			if token == other {
				answers[i] += ", a token that was issued before"
			}
		}
		number := 1
		for _, name := range c.called {
			if strings.HasPrefix(name, requests[i].name+"'s ") {
				number++
			}
		}
		c.tokens[requests[i].id] = token
		c.called[requests[i].id] = fmt.Sprintf("%s's token %d", requests[i].name, number)
	}
	return answers
}

// exchange sends one request. The answer is its status and body, without the token, which
// nobody can predict, and without the texts for people.
func (c *clients) exchange(q request) (answer, token string) {
	w := httptest.NewRecorder()
	c.server.ServeHTTP(w, c.newRequest(q))
	if w.Body.Len() == 0 {
		return fmt.Sprint(w.Code), ""
	}
	var fields map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &fields); err != nil {
		return fmt.Sprintf("%d %q", w.Code, w.Body), ""
	}
	token, _ = fields["access_token"].(string)
	for _, name := range []string{"access_token", "detail", "error_description"} {
		delete(fields, name)
	}
	text, _ := json.Marshal(fields) // sorted by name
	return fmt.Sprintf("%d %s", w.Code, text), token
}

func (c *clients) newRequest(q request) *http.Request {
	token := cmp.Or(c.tokens[q.token], strings.Repeat("A", 32))
	mediaType, body := "application/x-www-form-urlencoded", ""
	switch q.path {
	case "/token":
		body = url.Values{"username": {q.name}, "password": {q.password}}.Encode()
	case "/register":
		text, _ := json.Marshal(map[string]string{"username": q.name, "password": q.password})
		mediaType, body = "application/json", string(text)
	case "/revoke":
		body = "token=" + token
	default:
		r := httptest.NewRequest("GET", "http://localhost"+q.path, nil)
		if q.token != noToken {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return r
	}
	r := httptest.NewRequest("POST", "http://localhost"+q.path, strings.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	return r
}

// describe says when a request was sent, what it was and whether it was sent with others.
func (c *clients) describe(q request, atOnce bool) string {
	with := " with " + cmp.Or(c.called[q.token], "a made-up token")
	switch {
	case q.path == "/token" || q.path == "/register":
		with = fmt.Sprintf(" as %q with password %q", q.name, q.password)
		if len(q.password) > 72 {
			with = fmt.Sprintf(" as %q with a password of %d bytes", q.name, len(q.password))
		}
	case q.token == noToken:
		with = " without a token"
	}
	if atOnce {
		with += ", at once"
	}
	at, method := time.Time{}.Add(q.at).Format("15:04:05.999999999"), c.newRequest(q).Method
	return fmt.Sprintf("  %s  %s %s%s: got ", at, method, q.path, with)
}

// A drawer makes up a history. It asks a model of its own what will happen, since a client
// who knows when a token expires can try it at that very nanosecond.
type drawer struct {
	*rand.Rand
	history
	m      *model
	start  time.Time
	now    time.Time
	names  []string // few, so the clients meet often
	logins []int    // requests that got a token
	lastID int
	step   int
}

func draw(seed uint64, steps int) history {
	start := time.Unix(946684800, 0) // any midnight
	d := &drawer{Rand: rand.New(rand.NewPCG(seed, 0)), start: start, now: start}
	d.kind = pick(d, "opaque", "opaque", "opaque", "hs256")
	d.strangers = pick(d, 0, 0, 0, maxUsers-3-d.IntN(9)) // 3 demo users, some room
	d.m = newModel(d.kind == "hs256", d.strangers)
	all := []string{"user1", "user2", "user3", "alice", "bob", "x@example.com"}
	for _, i := range d.Perm(len(all))[:3] {
		d.names = append(d.names, all[i])
	}
	if d.strangers > 0 {
		d.names = append(d.names, "carol", "dave")
	}
	for d.step < steps && d.now.Sub(start) < 23*time.Hour {
		pick(d, d.alone, d.alone, d.alone, d.alone, d.alone, d.alone, d.alone, d.alone, d.expiry,
			d.expiry, d.turn, d.turn, d.cooled, d.guessing, d.together, d.together)()
	}
	return d.history
}

func pick[T any](d *drawer, choices ...T) T { return choices[d.IntN(len(choices))] }

// do adds a step.
func (d *drawer) do(requests ...request) {
	d.step++
	for i := range requests {
		requests[i].step, requests[i].at = d.step, d.now.Sub(d.start)
	}
	d.requests = append(d.requests, requests...)
	d.m.answer(d.now, requests...)
	for _, q := range requests {
		if _, ok := d.m.tokens[q.id]; ok && q.path == "/token" {
			d.logins = append(d.logins, q.id)
		}
	}
}

// wait lets no time pass, or a little, or much.
func (d *drawer) wait() {
	d.now = d.now.Add(pick(d, 0, 0, 0, 1, time.Duration(d.Int64N(3e9)), time.Second,
		time.Duration(d.IntN(60))*time.Second, cooling,
		time.Duration(d.IntN(600))*time.Second, pick(d, 5*time.Minute, lifetime, 2*lifetime)))
}

// until waits until a moment, or to the nanosecond before it.
func (d *drawer) until(moment time.Time) {
	moment = moment.Add(-time.Duration(d.IntN(2)))
	if moment.After(d.now) {
		d.now = moment
	}
}

// someTimeUntil waits, but not as long as until a moment.
func (d *drawer) someTimeUntil(moment time.Time) {
	if left := moment.Sub(d.now); left > 0 {
		d.now = d.now.Add(time.Duration(d.Int64N(int64(left))))
	}
}

// alone is one request.
func (d *drawer) alone() {
	d.wait()
	d.do(d.any(pick(d, d.names...)))
}

// expiry uses a token at the end of its time, maybe after some other logins.
func (d *drawer) expiry() {
	q := d.use(d.user())
	expires := d.m.tokens[q.token].expires
	for range d.IntN(4) {
		if d.now.Before(expires) {
			d.someTimeUntil(expires)
			d.do(d.login(d.user(), true))
		}
	}
	d.until(expires)
	d.do(q)
}

// turn logs in one or two lifetimes after an earlier login. A server that forgets by the
// batch may do so then, but must know the token of a login in between.
func (d *drawer) turn() {
	moment := d.start.Add(lifetime)
	if len(d.logins) > 0 {
		moment = d.m.tokens[pick(d, d.logins...)].expires.Add(pick(d, 0, 0, lifetime))
	}
	d.someTimeUntil(moment)
	between := d.login(d.user(), true)
	d.do(between)
	pick(d, d.until, d.until, d.someTimeUntil)(moment)
	d.do(d.login(d.user(), true))
	switch d.IntN(3) {
	case 0:
		d.do(d.request("/revoke", between.id))
	case 1:
		d.someTimeUntil(d.m.tokens[between.id].expires)
		d.do(d.login(d.user(), true))
	}
	d.do(d.request(pick(d, "/protected", "/users/me"), between.id))
}

// user returns a name that can log in, mostly.
func (d *drawer) user() (name string) {
	for range 4 {
		name = pick(d, d.names...)
		if d.m.passwords[name] != "" {
			break
		}
	}
	return name
}

// guessing is some ten wrong logins for one name, and maybe right ones between them.
func (d *drawer) guessing() {
	name := pick(d, d.user(), pick(d, d.names...))
	gap := pick(d, 0, time.Second, cooling/2, cooling-1, cooling)
	for range 8 + d.IntN(5) {
		d.do(d.login(name, d.IntN(8) == 0))
		d.now = d.now.Add(pick(d, gap, gap, gap, 0))
		if d.IntN(8) == 0 {
			d.do(d.login(pick(d, d.names...), false))
		}
	}
	d.cool(name)
}

// cooled logs in a minute after the last wrong login.
func (d *drawer) cooled() { d.cool(pick(d, d.names...)) }

func (d *drawer) cool(name string) {
	if failed := d.m.guesses[name]; len(failed) > 0 {
		d.until(failed[len(failed)-1].Add(cooling))
	}
	d.do(d.login(name, d.IntN(2) == 0))
}

// together sends requests at once.
func (d *drawer) together() {
	d.wait()
	name := pick(d, d.names...)
	fresh := fmt.Sprint("new", d.step)
	token := d.use(name).token
	requests := make([]request, 0, 12)
	kind := pick(d, 0, 0, 1, 2, 3, 4)
	if d.strangers > 0 {
		kind = pick(d, kind, 2)
	}
	for i := range 2 + d.IntN(11) {
		switch kind {
		case 0: // guessing
			requests = append(requests, d.login(name, i < 2 && d.IntN(2) == 0))
		case 1: // one name for many
			requests = append(requests, d.register(fresh))
		case 2: // many names
			requests = append(requests, d.register(fmt.Sprint(fresh, "-", i%4)))
		case 3: // one token
			q := d.use(name)
			q.token = token
			requests = append(requests, q)
		case 4: // each client something else
			if i < len(d.names) {
				requests = append(requests, d.any(d.names[i]))
			}
		}
	}
	d.do(requests...)
}

func (d *drawer) any(name string) request {
	if d.IntN(2) == 0 {
		return d.use(name)
	}
	return pick(d, d.login(name, true), d.login(name, true), d.login(name, false),
		d.register(name))
}

// use is a request with a token of this name, if there is one, and mostly with the last.
func (d *drawer) use(name string) request {
	own := []int{madeUpToken}
	for _, id := range d.logins {
		if d.m.tokens[id].username == name {
			own = append(own, id)
		}
	}
	last := own[len(own)-1]
	if len(own) == 1 && len(d.logins) > 0 {
		last = pick(d, d.logins...)
	}
	id := pick(d, last, last, last, pick(d, own...))
	if d.IntN(6) == 0 {
		return d.request("/revoke", id)
	} else if d.IntN(12) == 0 {
		id = noToken
	}
	return d.request(pick(d, "/protected", "/users/me", "/is_logged_in"), id)
}

func (d *drawer) login(name string, right bool) request {
	q := d.request("/token", noToken)
	q.name, q.password = name, "wrong"
	if password, ok := d.m.passwords[name]; ok && right {
		q.password = password
	} else if d.IntN(6) == 0 { // some are too long, one could be right by mistake
		q.password = pick(d, d.m.passwords[name]+strings.Repeat("!", 72), "password1", "",
			d.m.passwords[name]+"\x00", "nobody's password")
	}
	return q
}

func (d *drawer) register(name string) request {
	q := d.request("/register", noToken)
	q.name, q.password = name, pick(d, "pass word", "ÄÖÜäöüß€", strings.Repeat("p", 72))
	if d.IntN(4) == 0 {
		q.name = pick(d, "", "Alice", "a b", strings.Repeat("a", 65), q.name)
		q.password = pick(d, q.password, name, "1234567", "ÄÖÜäöüß", "1234567\x00",
			strings.Repeat("p", 73))
	}
	return q
}

func (d *drawer) request(path string, token int) request {
	d.lastID++
	return request{id: d.lastID, path: path, token: token}
}
