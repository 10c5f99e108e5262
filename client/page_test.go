// page_test.go tests the page as a learner sees it, in a real Chromium.

package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestThePageNamesTestsThatExist(t *testing.T) {
	var tests strings.Builder
	for name, text := range repository(t) {
		if strings.HasSuffix(name, "_test.go") {
			tests.WriteString(text)
		}
	}
	named := regexp.MustCompile(`"(Test\w+)"`).FindAllStringSubmatch(
		repository(t)["client/page.js"], -1)
	if len(named) != 8 {
		t.Errorf("tests named in page.js: got %d, want one for each of 8 attacks", len(named))
	}
	for _, name := range named {
		if !strings.Contains(tests.String(), "\nfunc "+name[1]+"(") {
			t.Errorf("page.js names %s, which does not exist", name[1])
		}
	}
}

func TestThePageIsShortEnoughToRead(t *testing.T) {
	total := 0
	for _, name := range []string{"index.html", "page.js", "page.css"} {
		for i, line := range strings.Split(repository(t)["client/"+name], "\n") {
			if n := utf8.RuneCountInString(line); n > 100 {
				t.Errorf("%s:%d: got %d columns, want at most 100", name, i+1, n)
			}
		}
		total += strings.Count(repository(t)["client/"+name], "\n")
	}
	if total > 380 {
		t.Errorf("lines of the page: got %d, want at most 380", total)
	}
}

func TestThePageHasNoInlineCodeAndNoInlineStyle(t *testing.T) {
	inline := regexp.MustCompile(`(?i)\s(style|on[a-z]+)\s*=|javascript:|<style|<script[^>]*>[^<]`)
	if found := inline.FindString(repository(t)["client/index.html"]); found != "" {
		t.Errorf("index.html: got %q, want code in page.js and style in page.css", found)
	}
	writes := regexp.MustCompile(`(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|` +
		`new Function|[lL]ocalStorage|sessionStorage|\.cookie|indexedDB|location\.`)
	if found := writes.FindString(repository(t)["client/page.js"]); found != "" {
		t.Errorf("page.js: got %q, want text set as text, and nothing stored", found)
	}
}

func TestThePageLogsInOpensTheProtectedResourceAndLogsOut(t *testing.T) {
	p := openPage(t)
	p.get("/protected", "GET /protected → 401 Unauthorized: Not authenticated")
	p.logIn("user1", "password1", "POST /token → 200 OK: token ")
	p.waitForText("#life", regexp.MustCompile(`^(15:00|14:5\d) left$`))
	p.get("/protected", "→ 200 OK: Success to authentication, user1!")
	p.get("/users/me", `→ 200 OK: {"expires_at":`)
	p.get("/users/me/items", `→ 200 OK: [{"item_id":"Foo","owner":"user1"}]`)
	p.get("/is_logged_in", `→ 200 OK: {"is_logged_in":true}`)
	p.click("#logout", "The token has been revoked: try GET /protected now.")
	if got := p.text("#life"); got != "revoked" {
		t.Errorf("count-down after the logout: got %q, want revoked", got)
	}
	p.get("/protected", "→ 401 Unauthorized: Invalid authentication credentials")
	p.get("/is_logged_in", `→ 200 OK: {"is_logged_in":false}`)

	drawn := p.drawn()
	drawn[7] = drawn[7][:len(`answer 200 OK | {"expires_at":`)] // the time follows
	if want := []string{
		"request GET /protected | no token", "refusal 401 Unauthorized | Not authenticated",
		"request POST /token | username, password", "answer 200 OK | token abc123… for 15:00",
		"request GET /protected | Bearer abc123…",
		"answer 200 OK | Success to authentication, user1!",
		"request GET /users/me | Bearer abc123…", `answer 200 OK | {"expires_at":`,
		"request GET /users/me/items | Bearer abc123…",
		`answer 200 OK | [{"item_id":"Foo","owner":"user1"}]`,
		"request GET /is_logged_in | Bearer abc123…", `answer 200 OK | {"is_logged_in":true}`,
		"request POST /revoke | token abc123…", "answer 200 OK | ",
		"note the token has been revoked",
		"request GET /protected | Bearer abc123…",
		"refusal 401 Unauthorized | Invalid authentication credentials",
		"request GET /is_logged_in | Bearer abc123…", `answer 200 OK | {"is_logged_in":false}`,
	}; !slices.Equal(drawn, want) {
		t.Errorf("diagram: got\n%s\nwant\n%s", strings.Join(drawn, "\n"), strings.Join(want, "\n"))
	}
	p.wantTokenShownOnce(p.issuedToken())
	p.wantNoTrace()
}

func TestThePageShowsAWholeMessageUntilTheNextRequest(t *testing.T) {
	p := openPage(t)
	p.logIn("user1", "password1", "200 OK")
	p.get("/protected", "200 OK")
	p.logIn("user2", "wrong", "401 Unauthorized: Incorrect username or password")
	for arrow, contents := range map[string][]string{
		"li:nth-child(1)": {
			"POST /token\nContent-Type: application/x-www-form-urlencoded\n\n",
			"username=user1&password=••••",
		},
		"li:nth-child(3)": {"GET /protected\nAuthorization: Bearer "},
		"li:nth-child(4)": {
			"200 OK\n", "Content-Type: application/json\n", "Cache-Control: no-store\n",
			"\n\n{\n  \"message\": \"Success to authentication, user1!\"\n}",
		},
		"li:nth-child(6)": {"401 Unauthorized\n", "Www-Authenticate: Bearer realm=", `"detail":`},
	} {
		p.press(arrow + " summary")
		opened := p.text(arrow + " pre") // "" while it cannot be seen
		for _, want := range contents {
			if !strings.Contains(opened, want) {
				t.Errorf("arrow %s opened: got %q, want %q in it", arrow, opened, want)
			}
		}
	}
	if n := p.count("details[open]"); n != 4 {
		t.Errorf("open arrows: got %d, want 4", n)
	}
	p.get("/protected", "200 OK")
	if n := p.count("details[open]"); n != 0 {
		t.Errorf("open arrows after one more request: got %d, want none", n)
	}
	if strings.Contains(p.html(), "password=wrong") {
		t.Error("the page shows a password that was typed")
	}
	p.wantNoTrace()
}

func TestThePageNeverCrossesArrows(t *testing.T) {
	p := openPage(t)
	p.run(`for (const id of ["login", "login", "register"]) document.getElementById(id).click();
		document.querySelector("[data-get]").click()`, nil)
	p.waitFor("four answers", func() (any, bool) {
		drawn := p.drawn()
		return drawn, len(drawn) == 8
	})
	p.wantDrawn(
		"request POST /token | username, password", "answer 200 OK | token abc123… for 15:00",
		"request POST /token | username, password", "answer 200 OK | token abc123… for 15:00",
		"request POST /register | username, password", "refusal 409 Conflict | already registered",
		"request GET /protected | Bearer abc123…",
		"answer 200 OK | Success to authentication, user1!")
}

func TestThePageSaysInWordsWhatWasRefused(t *testing.T) {
	p := openPage(t)
	p.logIn("user1", "", "400 Bad Request: Send username and password")
	p.logIn("nobody", "password1", "401 Unauthorized: Incorrect username or password")
	p.typeIn("#password", "short")
	p.click("#register", "400 Bad Request: password: 8 characters or more, ")
	p.wantNoTrace()
}

func TestThePageExplainsWhatADisabledUserSees(t *testing.T) {
	p := openPage(t)
	p.typeIn("#username", "user3") // which fills in the password
	p.click("#login", "200 OK: token ")
	p.get("/protected", "403 Forbidden: Inactive user")
	p.get("/is_logged_in", `200 OK: {"is_logged_in":false}`)
	if got, want := p.text("li:last-child"), "Disabled users count as logged out."; got != want {
		t.Errorf("below is_logged_in: got %q, want %q", got, want)
	}
	p.wantNoTrace()
}

func TestThePageRegistersAUserWhoThenLogsIn(t *testing.T) {
	p := openPage(t, "-demo=false") // not the shared one, where the user would stay
	p.typeIn("#username", "alice@example.com")
	p.typeIn("#password", `correct horse & "battery"+ünïcode`)
	p.click("#register", `POST /register → 201 Created: {"username":"alice@example.com"}`)
	p.click("#register", "409 Conflict: already registered")
	p.click("#login", "200 OK: token ")
	p.get("/protected", "Success to authentication, alice@example.com!")
	if strings.Contains(p.html(), "horse") {
		t.Error("the page shows the password that was typed")
	}
	p.wantNoTrace()
}

func TestThePageDropsTheToken(t *testing.T) {
	p := openPage(t)
	p.logIn("user2", "password2", "200 OK")
	p.press("#forget")
	for id, want := range map[string]string{
		"#outcome": "This page has dropped the token. The server has not.",
		"#held":    "No token is sent with each GET.",
		"#life":    "",
	} {
		if got := strings.Join(p.texts(id), ""); got != want {
			t.Errorf("%s after dropping the token: got %q, want %q", id, got, want)
		}
	}
	if n := p.count("#logout:disabled, #forget:disabled"); n != 2 {
		t.Errorf("disabled buttons without a token: got %d, want Log out and Drop the token", n)
	}
	p.get("/protected", "401 Unauthorized: Not authenticated")
	p.wantDrawn("request POST /token | username, password",
		"answer 200 OK | token abc123… for 15:00",
		"request GET /protected | no token", "refusal 401 Unauthorized | Not authenticated")
	p.wantNoTrace()
}

func TestThePageCountsTheTokensLifeDownToItsEnd(t *testing.T) {
	p := openPage(t, "-ttl", "2s")
	p.run(`window.seen = { life: [], outcome: [] };
		for (const id in seen) new MutationObserver(([{ target }]) => {
			const text = target.textContent;
			if (text && seen[id].at(-1) !== text) seen[id].push(text);
		}).observe(document.getElementById(id), { childList: true })`, nil)
	p.logIn("user1", "password1", "") // with any outcome, since it may be late
	p.waitForText("#life", regexp.MustCompile(`^expired$`))
	var seen struct{ Life, Outcome []string }
	p.run(`return seen`, &seen)
	if want := []string{"0:02 left", "0:01 left", "expired"}; !slices.Equal(seen.Life, want) {
		t.Errorf("count-down: got %q, want %q", seen.Life, want)
	}
	if want := []string{ // and not each second, which would be read out each time
		"POST /token → 200 OK: token abc123… for 0:02",
		"The token has expired: try GET /protected now.",
	}; !slices.Equal(maskPage(seen.Outcome), want) {
		t.Errorf("announced: got %q, want %q", maskPage(seen.Outcome), want)
	}
	if got, want := p.text("li.note"), "the token has expired"; got != want {
		t.Errorf("note in the diagram: got %q, want %q", got, want)
	}
	p.get("/protected", "401 Unauthorized: Invalid authentication credentials")
	p.click("#logout", "It was revoked already, or had expired: 200 (RFC 7009).")
	p.wantNoTrace()
}

func TestThePageShowsWhatASignedTokenTellsEverybody(t *testing.T) {
	for _, kind := range []string{"hs256", "rs256"} {
		t.Run(kind, func(t *testing.T) {
			p := openSigned(t, kind)
			p.logIn("user1", "password1", "POST /token → 200 OK: token ")
			shown := p.text("li.answer p")
			for _, want := range []string{
				"anyone can read it, only the issuer can make it", `"typ": "at+jwt"`,
				`"alg": "` + strings.ToUpper(kind) + `"`, `"sub": "user1"`, `"exp": 1`,
			} {
				if !strings.Contains(shown, want) {
					t.Errorf("about the token: got %q, want %s in it", shown, want)
				}
			}
			p.click("#logout", "POST /revoke → 400 Bad Request: A signed token cannot be revoked")
			p.get("/protected", "Success to authentication, user1!") // it stays good
			p.wantTokenShownOnce(p.issuedToken())
			p.wantNoTrace()
		})
	}
}

func TestThePageSaysWhenTheServerDoesNotAnswer(t *testing.T) {
	needBrowser(t)
	server := startProgram(t)
	p := openURL(t, server.url)
	p.logIn("user1", "password1", "200 OK")
	server.cmd.Process.Kill()
	server.wait()
	p.get("/protected", "GET /protected → no answer: The server does not answer.")
	p.wantNoTrace()
}

func TestThePageCountsDownToTheNextAttempt(t *testing.T) {
	p := openFake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"detail":"Too many failed logins"}`)
	})
	p.logIn("user1", "password1", "429 Too Many Requests: Too many failed logins")
	p.waitForText("#wait", regexp.MustCompile(`^Retry in 1 s\.$`))
	p.waitForText("#wait", regexp.MustCompile(`^You can try again now\.$`))
}

// The server of this test is a liar: what it says is markup, and its clock is wrong. Its
// page has no Content-Security-Policy: that text is set as text is all the protection.
func TestThePageShowsAnswersAsTextWhateverTheySay(t *testing.T) {
	const markup = `<img src=x onerror="window.attacked = true">ありがとう`
	token := signedToken(map[string]string{"alg": markup}, map[string]string{"sub": markup})
	p := openFake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Markup", "<img src=x onerror='window.attacked = true'>")
		json.NewEncoder(w).Encode(map[string]any{
			"POST/token": map[string]any{
				"access_token": token, "expires_in": 600, "expires_at": "2001-01-01T00:00:00Z",
			},
			"GET/protected":    map[string]string{"message": markup},
			"GET/users/me":     map[string]string{"detail": markup},
			"GET/is_logged_in": []string{markup},
		}[r.Method+r.URL.Path])
	})
	p.logIn(markup, "password1", "for 10:00")
	p.waitForText("#life", regexp.MustCompile(`^(10:00|9:5\d) left$`))
	if got := p.text("li.answer p"); strings.Count(got, "ありがとう") != 2 {
		t.Errorf("claims: got %q, want them decoded as UTF-8", got)
	}
	p.get("/protected", markup)
	p.get("/users/me", markup)
	p.get("/is_logged_in", "ありがとう")
	var attacked bool
	p.run(`return Boolean(window.attacked || document.querySelector("img"))`, &attacked)
	if attacked {
		t.Error("the page took an answer for markup")
	}
	p.wantNoTrace()
}

func TestThePageSaysWhenAnAttackSucceeds(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	modulus := base64.RawURLEncoding.EncodeToString(key.N.Bytes())
	token := signedToken(map[string]string{"alg": "RS256"}, map[string]string{"sub": "user1"})
	p := openFake(t, func(w http.ResponseWriter, r *http.Request) { // it refuses nothing
		answer := map[string]any{"message": "Welcome"}
		switch r.URL.Path {
		case "/token":
			answer = map[string]any{"access_token": token, "expires_in": 600}
		case "/.well-known/jwks.json":
			answer["keys"] = []any{map[string]string{"kty": "RSA", "n": modulus, "e": "AQAB"}}
		}
		json.NewEncoder(w).Encode(answer)
	})
	for _, name := range opaqueAttacks {
		p.attack(name, "THE ATTACK SUCCEEDED")
	}
	p.logIn("user1", "password1", "200 OK")
	for _, name := range []string{"payload", "none", "public-key"} {
		p.attack(name, "THE ATTACK SUCCEEDED")
	}
	if n := p.count("li.note"); n != 8 || p.count("li.lesson") != 0 {
		t.Errorf("alarms in the diagram: got %d, want one for each of 8 attacks", n)
	}
	p.wantQuietConsole()
}

func TestThePagesAttacksAreRefused(t *testing.T) {
	for kind, forgeries := range map[string][]string{
		"opaque": {}, "hs256": {"payload", "none"}, "rs256": {"payload", "none", "public-key"},
	} {
		t.Run(kind, func(t *testing.T) {
			var p *page
			if kind == "opaque" {
				p = openPage(t)
			} else {
				p = openSigned(t, kind)
			}
			p.refused("no-token", "made-up", "url")
			p.logIn("user1", "password1", "200 OK")
			shown := opaqueAttacks
			if kind != "opaque" {
				shown = append(slices.DeleteFunc(slices.Clone(opaqueAttacks),
					func(name string) bool { return name == "revoked" }), forgeries...)
			}
			var visible []string
			p.run(`return [...document.querySelectorAll("[data-attack]")]
				.filter((b) => b.checkVisibility()).map((b) => b.dataset.attack)`, &visible)
			if !slices.Equal(visible, shown) {
				t.Errorf("attacks that can be seen: got %q, want %q", visible, shown)
			}
			p.refused(shown...)
			if drawn := strings.Join(p.drawn(), "\n"); regexp.MustCompile(
				`request GET /protected.*\nanswer`).MatchString(drawn) {
				t.Errorf("an attack opened the resource:\n%s", drawn)
			}
			p.wantTokenShownOnce(p.issuedToken())
			p.get("/protected", "Success to authentication, user1!") // the own token stays valid
			p.wantNoTrace()
		})
	}
}

// refused carries out attacks that are all refused, and explained.
func (p *page) refused(names ...string) {
	p.t.Helper()
	for _, name := range names {
		lessons := p.count("li.lesson")
		p.attack(name, " (Test")
		if name == "guess" {
			p.waitForText("#wait", regexp.MustCompile(`^Retry in (60|5\d) s\.$`))
		}
		if p.count("li.refusal:nth-last-child(2) + li.lesson") != 1 ||
			p.count("li.lesson") != lessons+1 {
			p.t.Errorf("attack %s: got %q, want a refusal and a lesson", name, p.drawn())
		}
		lesson := p.text("li:last-child")
		if !regexp.MustCompile(`\. \(Test\w+\)$`).MatchString(lesson) ||
			lesson != p.text("#outcome") {
			p.t.Errorf("lesson of %s: got %q, want a sentence and the name of a test", name, lesson)
		}
	}
}

// A signed token cannot be revoked, so this is no attack that succeeds.
func TestThePageRaisesNoAlarmWhenATokenCannotBeRevoked(t *testing.T) {
	p := openSigned(t, "hs256")
	p.attack("revoked", "POST /revoke → 400 Bad Request: A signed token cannot be revoked")
	time.Sleep(200 * time.Millisecond) // for a request that must not follow
	p.wantDrawn("request POST /token | username, password",
		"answer 200 OK | token abc123… for 15:00",
		"request POST /revoke | token abc123…",
		"refusal 400 Bad Request | A signed token cannot be revoked")
	p.wantNoTrace()
}

var opaqueAttacks = []string{"no-token", "made-up", "revoked", "url", "guess"}

// openFake opens the page of a server with the real page and fake answers.
func openFake(t *testing.T, answer http.HandlerFunc) *page {
	t.Helper()
	needBrowser(t)
	files := http.FileServer(http.Dir("."))
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/", "/page.js", "/page.css":
			files.ServeHTTP(w, r)
		default:
			answer(w, r)
		}
	}))
	t.Cleanup(fake.Close)
	return openURL(t, fake.URL)
}

// signedToken has a signature that fits nothing.
func signedToken(header, payload map[string]string) string {
	part := func(claims map[string]string) string {
		text, _ := json.Marshal(claims) // never fails for strings
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return part(header) + "." + part(payload) + ".signature"
}

// attack presses a button and waits for what the page makes of the answer.
func (p *page) attack(name, outcome string) {
	p.t.Helper()
	p.click("[data-attack='"+name+"']", outcome)
}

// drawn lists the arrows and notes of the diagram, as in "request POST /token | no token".
func (p *page) drawn() (lines []string) {
	p.t.Helper()
	p.run(`return [...document.querySelectorAll("#exchange > li")].map((li) => {
		const text = (css) => li.querySelector(css).textContent;
		const kind = li.className.split(" ")[0];
		return kind + " " + (li.querySelector("details")
			? text("summary b") + " | " + text("summary small") : li.textContent);
	})`, &lines)
	return maskPage(lines)
}

func (p *page) wantDrawn(want ...string) {
	p.t.Helper()
	if got := p.drawn(); !slices.Equal(got, want) {
		p.t.Errorf("diagram: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// maskPage replaces what differs from run to run.
func maskPage(lines []string) (masked []string) {
	token := regexp.MustCompile(`[A-Za-z0-9_-]{6}…`)
	clock := regexp.MustCompile(`1[45]:\d\d\b`) // a signed token expires on a whole second
	for _, line := range lines {
		line = token.ReplaceAllString(line, "abc123…")
		masked = append(masked, clock.ReplaceAllString(line, "15:00"))
	}
	return masked
}

// issuedToken reads the token where the page shows it in full.
func (p *page) issuedToken() string {
	p.t.Helper()
	var answer string
	p.run(`return document.querySelector("li.answer.token-server pre").textContent`, &answer)
	_, after, _ := strings.Cut(answer, `"access_token": "`)
	token, _, _ := strings.Cut(after, `"`)
	if len(token) < 32 {
		p.t.Fatalf("answer to the login: got %q, want one with a token", answer)
	}
	return token
}

func (p *page) wantTokenShownOnce(token string) {
	p.t.Helper()
	if n := strings.Count(p.html(), token); n != 1 {
		p.t.Errorf("the full token is on the page %d times, want it in one answer only", n)
	}
}

// wantNoTrace checks what the page leaves behind: nothing in any store of the browser, and
// nothing on the console.
func (p *page) wantNoTrace() {
	p.t.Helper()
	var kept string
	p.run(`return Promise.all([indexedDB.databases(), caches.keys()]).then(([dbs, caches]) =>
		[...dbs.map((db) => db.name), ...caches,
			...Object.keys(localStorage), ...Object.keys(sessionStorage),
			document.cookie, location.href.replace(location.origin + "/", ""),
			window.name].join(""))`, &kept)
	if kept != "" {
		p.t.Errorf("the page left behind %q, want nothing", kept)
	}
	p.wantQuietConsole()
}
