// page_test.go drives the page in a real Chromium: it types, clicks and reads what
// a learner would see. It speaks the W3C WebDriver protocol to chromedriver, which
// is HTTP and JSON, and knows nothing of the server but its command line.

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestThePageLogsInOpensTheProtectedResourceAndLogsOut(t *testing.T) {
	b := openPage(t)
	b.click("[data-get='/protected']", "GET /protected: 401 Unauthorized. Not authenticated")
	b.logIn("user1", "password1", "POST /token: 200 OK. a token for 900 seconds")
	token := b.issuedToken()
	if !strings.HasPrefix(b.text("#life"), "1") { // 15:00 or 14:59
		t.Errorf("countdown after the login: got %q, want 15 minutes", b.text("#life"))
	}

	b.click("[data-get='/protected']", "200 OK. Success to authentication, user1!")
	b.click("[data-get='/users/me']", `"username":"user1"`)
	b.click("[data-get='/users/me/items']", `"owner":"user1"`)
	b.click("[data-get='/is_logged_in']", `{"is_logged_in":true}`)

	b.click("#logout", "The token is revoked: the next request will be refused.")
	b.click("[data-get='/protected']", "401 Unauthorized. Invalid authentication credentials")
	b.click("[data-get='/is_logged_in']", `{"is_logged_in":false}`)

	page := b.html()
	if n := strings.Count(page, token); n != 1 {
		t.Errorf("the full token is on the page %d times, want it in one answer only", n)
	}
	if n := strings.Count(page, "Bearer "+token[:6]+"…"); n != 6 {
		t.Errorf("the shortened token: got %d requests that show it, want 6", n)
	}
	if !strings.Contains(page, "token="+token[:6]+"…") {
		t.Error("the revocation does not show the shortened token")
	}
	b.forgetsEverything("/protected 401", "/protected 401")
}

func TestThePageDrawsEveryRequestAndEveryAnswer(t *testing.T) {
	b := openPage(t)
	b.logIn("user1", "password1", "200 OK")
	b.click("[data-get='/protected']", "200 OK")
	b.logIn("user1", "wrong", "401 Unauthorized. Incorrect username or password")

	var drawn []string
	b.run(`return [...document.querySelectorAll("summary")].map((s) => s.textContent)`, &drawn)
	want := []string{
		"to the token server: POST /token",
		"answer of the token server: 200 OKa token for 900 seconds",
		"to the protected resource: GET /protected",
		"answer of the protected resource: 200 OKSuccess to authentication, user1!",
		"to the token server: POST /token",
		"refusal of the token server: 401 UnauthorizedIncorrect username or password",
	}
	if !slices.Equal(drawn, want) {
		t.Errorf("arrows: got %q, want %q", drawn, want)
	}
	for arrow, contents := range map[string][]string{
		"li:nth-child(1)": {
			"POST /token\nContent-Type: application/x-www-form-urlencoded\n\n",
			"username=user1&password=••••",
		},
		"li:nth-child(3)": {"GET /protected\nAuthorization: Bearer "},
		"li:nth-child(4)": {
			"200 OK\n", "content-type: application/json\n", "cache-control: no-store\n",
			"\n\n{\"message\":\"Success to authentication, user1!\"}",
		},
		"li:nth-child(6)": {"401 Unauthorized\n", "www-authenticate: Bearer realm=", `"detail":`},
	} {
		b.press(arrow + " summary")
		opened := b.text(arrow + " pre") // "" while it cannot be seen
		for _, want := range contents {
			if !strings.Contains(opened, want) {
				t.Errorf("arrow %s opened: got %q, want %q in it", arrow, opened, want)
			}
		}
	}
	if strings.Contains(b.html(), "password=wrong") {
		t.Error("the page shows a password that was typed")
	}
	b.forgetsEverything("/token 401")
}

func TestThePageSaysInWordsWhatWasRefused(t *testing.T) {
	b := openPage(t)
	b.logIn("user1", "", "400 Bad Request. Send username and password")
	b.logIn("nobody", "password1", "401 Unauthorized. Incorrect username or password")
	b.logIn("user3", "password3", "200 OK. a token for 900 seconds")
	b.click("[data-get='/protected']", "403 Forbidden. Inactive user")
	b.forgetsEverything("/token 400", "/token 401", "/protected 403")
}

func TestThePageRegistersAUserWhoThenLogsIn(t *testing.T) {
	b := openPage(t)
	const password = `correct horse & "battery"+ünïcode`
	b.typeIn("#username", "alice@example.com")
	b.typeIn("#password", password)
	b.click("#register", "POST /register: 201 Created.")
	b.click("#register", "409 Conflict. already registered")
	b.click("#login", "200 OK. a token for 900 seconds")
	b.click("[data-get='/protected']", "Success to authentication, alice@example.com!")
	if page := b.html(); strings.Contains(page, "horse") {
		t.Error("the page shows the password that was typed")
	}
	b.forgetsEverything("/register 409")
}

func TestThePageForgetsTheToken(t *testing.T) {
	b := openPage(t)
	b.logIn("user2", "password2", "200 OK")
	b.press("#forget")
	if got, want := b.text("#held"), "None: requests go out without one."; got != want {
		t.Errorf("after forgetting: got %q, want %q", got, want)
	}
	if got := b.text("#life"); got != "" {
		t.Errorf("countdown after forgetting: got %q, want none", got)
	}
	b.click("[data-get='/protected']", "401 Unauthorized. Not authenticated")
	b.forgetsEverything("/protected 401")
}

func TestThePageCountsTheTokensLifeDownToItsEnd(t *testing.T) {
	b := openPage(t, "-ttl", "2s")
	b.run(`window.seen = { life: [], outcome: [] };
		for (const id in seen) new MutationObserver((changes) => {
			if (seen[id].at(-1) !== changes[0].target.textContent)
				seen[id].push(changes[0].target.textContent);
		}).observe(document.getElementById(id), { childList: true })`, nil)
	b.logIn("user1", "password1", "") // with any outcome, since it may be late
	b.waitFor("expired on the countdown", func() bool { return b.text("#life") == "expired" })

	var seen struct{ Life, Outcome []string }
	b.run(`return seen`, &seen)
	if got, want := seen.Life[0], "0:02"; got != want {
		t.Errorf("countdown at its start: got %q, want %q", got, want)
	}
	announced := []string{ // and not each second, which would be read out each time
		"POST /token: 200 OK. a token for 2 seconds",
		"The token is expired: the next request will be refused.",
	}
	if !slices.Equal(seen.Outcome, announced) {
		t.Errorf("announced: got %q, want %q", seen.Outcome, announced)
	}
	if got, want := b.text("li.note"), "the token is expired"; got != want {
		t.Errorf("last note in the diagram: got %q, want %q", got, want)
	}
	b.click("[data-get='/protected']", "401 Unauthorized. Invalid authentication credentials")
	b.forgetsEverything("/protected 401")
}

func TestThePageShowsWhatASignedTokenTellsEverybody(t *testing.T) {
	b := openPage(t, "-token", "hs256")
	b.logIn("user1", "password1", "POST /token: 200 OK. a token for 900 seconds")
	token := b.issuedToken()
	claims := b.text("li.answer pre:last-child")
	for _, want := range []string{
		`"alg": "HS256"`, `"typ": "at+jwt"`, `"sub": "user1"`, `"exp": 1`,
	} {
		if !strings.Contains(claims, want) {
			t.Errorf("claims: got %q, want %s in them", claims, want)
		}
	}
	const sentence = "only the issuer could make it"
	if got := b.text("li.answer p"); !strings.Contains(got, sentence) {
		t.Errorf("what the page says of a signed token: got %q, want %q in it", got, sentence)
	}
	b.click("#logout", "POST /revoke: 400 Bad Request. ")
	if !strings.Contains(b.text("#outcome"), "until it expires") {
		t.Errorf("refused revocation: got %q, want the reason in it", b.text("#outcome"))
	}
	b.click("[data-get='/protected']", "Success to authentication, user1!") // it stays good
	if n := strings.Count(b.html(), token); n != 1 {
		t.Errorf("the full token is on the page %d times, want it in one answer only", n)
	}
	b.forgetsEverything("/revoke 400")
}

func TestThePageSaysWhenTheServerDoesNotAnswer(t *testing.T) {
	b := startBrowser(t)
	url, stop := startServer(t)
	b.open(url)
	b.logIn("user1", "password1", "200 OK")
	stop()
	const want = "GET /protected: no answer. The server does not answer."
	b.click("[data-get='/protected']", want)
	b.forgetsEverything("/protected net::ERR_CONNECTION_REFUSED")
}

// The server of this test is a liar: what it says is markup, and its clock is wrong. Its
// page has no Content-Security-Policy: that text is set as text is all the protection.
func TestThePageShowsAnswersAsTextWhateverTheySay(t *testing.T) {
	const markup = `<img src=x onerror="window.attacked = true">ありがとう`
	part := func(claims map[string]string) string {
		text, _ := json.Marshal(claims)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	token := part(map[string]string{"alg": markup}) + "." +
		part(map[string]string{"sub": markup}) + ".signature"
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(".")))
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{
			"access_token": token, "expires_in": 600, "expires_at": "2001-01-01T00:00:00Z",
		})
	})
	mux.HandleFunc("GET /protected", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Markup", "<img src=x onerror='window.attacked = true'>")
		json.NewEncoder(w).Encode(map[string]any{"message": markup})
	})
	b := startBrowser(t)
	liar := httptest.NewServer(mux)
	t.Cleanup(liar.Close)
	b.open(liar.URL)
	b.logIn("user1", "password1", "a token for 600 seconds")
	if got := b.text("#life"); got != "10:00" && !strings.HasPrefix(got, "9:") {
		t.Errorf("countdown: got %q, want 10 minutes, whatever the server's clock says", got)
	}
	if got := b.text("li.answer pre:last-child"); strings.Count(got, "ありがとう") != 2 {
		t.Errorf("claims: got %q, want them decoded as UTF-8", got)
	}
	b.click("[data-get='/protected']", markup)
	var attacked bool
	b.run(`return Boolean(window.attacked || document.querySelector("img"))`, &attacked)
	if attacked {
		t.Error("the page took an answer for markup")
	}
	b.forgetsEverything()
}

func TestThePageComesWithAPolicyThatForbidsWhateverItDoesNotNeed(t *testing.T) {
	b := openPage(t)
	for _, path := range []string{"", "page.js", "page.css"} {
		response, err := http.Get(b.address + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		policy := response.Header.Get("Content-Security-Policy")
		if path == "" && policy != "default-src 'none'; script-src 'self'; style-src 'self'; "+
			"connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "+
			"frame-ancestors 'none'" {
			t.Errorf("Content-Security-Policy: got %q", policy)
		}
		for name := range response.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("/%s: got header %s, want no other site to read anything", path, name)
			}
		}
	}
	var ran bool
	b.run(`document.body.insertAdjacentHTML("beforeend",
			"<b onclick='window.attacked = true' style='color: red'></b>");
		document.body.lastChild.click();
		return Boolean(window.attacked || document.body.lastChild.style.color)`, &ran)
	if ran {
		t.Error("inline code or style: got it in force, want it blocked")
	}
}

func TestThePageCanBeUsedByKeyboardAndScreenReader(t *testing.T) {
	const enter = "\uE007" // WebDriver's code for the key
	b := openPage(t)
	b.typeIn("#username", "user1")
	b.typeIn("#password", "password1"+enter)
	b.waitFor("a login by the Enter key", func() bool {
		return strings.HasPrefix(b.text("#outcome"), "POST /token: 200 OK.")
	})
	b.keys("li:first-child summary", enter)
	if b.text("li:first-child pre") == "" {
		t.Error("the Enter key does not open an arrow")
	}

	var named []string
	for _, control := range b.findAll("input, button, summary") {
		var name string
		b.call("GET", "/element/"+control+"/computedlabel", nil, &name)
		named = append(named, name)
	}
	want := []string{
		"Username", "Password", "Log in", "Register", "GET /protected", "GET /users/me",
		"GET /users/me/items", "GET /is_logged_in", "Log out", "Forget the token",
		"to the token server: POST /token",
		"answer of the token server: 200 OK a token for 900 seconds",
	}
	if !slices.Equal(named, want) {
		t.Errorf("accessible names: got %q, want %q", named, want)
	}
	for css, want := range map[string]string{
		"main": "main", "form": "form", "#diagram": "region",
		"#outcome": "status", "#life": "timer",
	} {
		var role string
		if b.call("GET", "/element/"+b.find(css)+"/computedrole", nil, &role); role != want {
			t.Errorf("role of %s: got %q, want %q", css, role, want)
		}
	}
	var language string
	if b.run(`return document.documentElement.lang`, &language); language != "en" {
		t.Errorf("language: got %q, want %q", language, "en")
	}
	b.forgetsEverything()
}

func TestThePageNeverScrollsSidewaysFrom360PixelsOn(t *testing.T) {
	b := openPage(t, "-token", "hs256")
	b.logIn("user1", "password1", "200 OK")
	b.click("[data-get='/users/me']", "200 OK")
	b.click("[data-get='/users/me/items']", "200 OK")
	b.click("#logout", "400 Bad Request")
	b.run(`for (const arrow of document.querySelectorAll("details")) arrow.open = true`, nil)
	for _, width := range []int{360, 412, 768, 959, 960, 1280} {
		b.call("POST", "/goog/cdp/execute", map[string]any{
			"cmd": "Emulation.setDeviceMetricsOverride",
			"params": map[string]any{
				"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": false,
			},
		}, nil)
		var sizes [2]int
		b.run(`return [innerWidth, document.documentElement.scrollWidth]`, &sizes)
		if sizes[0] != width || sizes[1] > width {
			t.Errorf("window and page: got %d and %d px, want %d and no more",
				sizes[0], sizes[1], width)
		}
	}
}

// openPage opens the page of a server of its own in a browser of its own.
func openPage(t *testing.T, flags ...string) *browser {
	t.Helper()
	b := startBrowser(t) // first, since it skips the test where there is none
	url, _ := startServer(t, flags...)
	b.open(url)
	return b
}

// startServer builds and runs the server as a user would.
func startServer(t *testing.T, flags ...string) (url string, stop func()) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tokenserver")
	if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("building the server: %v\n%s", err, out)
	}
	const greeting = `^listening on (http://127\.0\.0\.1:\d+) `
	flags = append(flags, "-addr", "127.0.0.1:0")
	return start(t, exec.Command(binary, flags...), greeting)
}

// start runs a program until the end of the test, or until stopped. It returns what
// the first group of the pattern matched in the first line of output that matches.
func start(t *testing.T, command *exec.Cmd, pattern string) (matched string, stop func()) {
	t.Helper()
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		command.Process.Kill() // fails if the test has stopped it already
		command.Wait()
	}
	t.Cleanup(stop)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if match := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); match != nil {
			go io.Copy(io.Discard, output) // a full pipe would make it wait
			return match[1], stop
		}
	}
	stop()
	t.Fatalf("%s ended without saying %s: %s", command.Path, pattern, &complaints)
	return "", nil
}

// program finds a program that the tests need.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	why := "the page is tested in a real browser, which needs " + strings.Join(names, " or ")
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// A browser is one window of Chromium without a screen. Its methods end the test if
// something goes wrong.
type browser struct {
	t       *testing.T
	session string // the URL that takes WebDriver commands for this window
	address string // of the page's server
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	driver := program(t, "chromedriver")
	chromium := program(t, "chromium", "chromium-browser", "google-chrome")
	port, _ := start(t, exec.Command(driver, "--port=0"), `started successfully on port (\d+)`)
	b := &browser{t: t, session: "http://127.0.0.1:" + port}
	var session struct{ SessionID string }
	b.call("POST", "/session", map[string]any{"capabilities": map[string]any{
		"alwaysMatch": map[string]any{
			"goog:loggingPrefs": map[string]string{"browser": "ALL"},
			"goog:chromeOptions": map[string]any{"binary": chromium, "args": []string{
				"--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run",
				"--disable-background-networking", "--disable-component-update", "--disable-sync",
				"--user-data-dir=" + t.TempDir(),
				// Chromium's sandbox refuses to run as root, which containers of CI do. It
				// would protect from evil pages, and this window opens only our own.
				"--no-sandbox",
			}},
		},
	}}, &session)
	b.session += "/session/" + session.SessionID
	t.Cleanup(func() { b.call("DELETE", "", nil, nil) }) // closes Chromium
	return b
}

// call sends one WebDriver command. Its answer comes wrapped in {"value": …}.
func (b *browser) call(method, path string, command, into any) {
	b.t.Helper()
	body := io.Reader(nil)
	if method == "POST" {
		text, err := json.Marshal(command)
		if err != nil {
			b.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, b.session+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := (&http.Client{Timeout: time.Minute}).Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.t.Fatalf("WebDriver %s %s: %s %v %.300s", method, path, response.Status, err, answer)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer, &struct{ Value any }{into}); err != nil {
		b.t.Fatalf("WebDriver %s %s: %v: %.300s", method, path, err, answer)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.address = url
	b.call("POST", "/url", map[string]string{"url": url}, nil)
}

// run runs JavaScript in the page and reads what it returns.
func (b *browser) run(script string, into any) {
	b.t.Helper()
	b.call("POST", "/execute/sync", map[string]any{"script": script, "args": []any{}}, into)
}

// findAll returns the handles of all elements that a CSS selector selects.
func (b *browser) findAll(css string) (handles []string) {
	b.t.Helper()
	var elements []map[string]string // each with one handle, under a constant key
	b.call("POST", "/elements", map[string]string{"using": "css selector", "value": css}, &elements)
	for _, element := range elements {
		for _, handle := range element {
			handles = append(handles, handle)
		}
	}
	return handles
}

func (b *browser) find(css string) string {
	b.t.Helper()
	handles := b.findAll(css)
	if len(handles) == 0 {
		b.t.Fatalf("elements %s on the page: got none", css)
	}
	return handles[0]
}

// text returns what can be seen of an element's text.
func (b *browser) text(css string) (text string) {
	b.t.Helper()
	b.call("GET", "/element/"+b.find(css)+"/text", nil, &text)
	return text
}

func (b *browser) html() (html string) {
	b.t.Helper()
	b.run(`return document.documentElement.outerHTML.replaceAll("&amp;", "&")`, &html)
	return html
}

func (b *browser) keys(css, keys string) {
	b.t.Helper()
	b.call("POST", "/element/"+b.find(css)+"/value", map[string]string{"text": keys}, nil)
}

func (b *browser) typeIn(css, text string) {
	b.t.Helper()
	b.call("POST", "/element/"+b.find(css)+"/clear", struct{}{}, nil)
	b.keys(css, text)
}

// press clicks with the mouse, in the middle of the window: WebDriver by itself scrolls so
// little that the diagram's headings, which stick to the top, may cover the element.
func (b *browser) press(css string) {
	b.t.Helper()
	b.run(fmt.Sprintf(`document.querySelector(%q).scrollIntoView({ block: "center" })`, css), nil)
	b.call("POST", "/element/"+b.find(css)+"/click", struct{}{}, nil)
}

// click presses a button that sends a request, waits for the arrow of the answer, and
// for the outcome that the page announces.
func (b *browser) click(css, outcome string) {
	b.t.Helper()
	arrows := len(b.findAll("details"))
	b.press(css)
	b.waitFor(fmt.Sprintf("an answer, and %q as outcome of %s", outcome, css), func() bool {
		return len(b.findAll("details")) == arrows+2 &&
			strings.Contains(b.text("#outcome"), outcome)
	})
}

func (b *browser) logIn(username, password, outcome string) {
	b.t.Helper()
	b.typeIn("#username", username)
	b.typeIn("#password", password)
	b.click("#login", outcome)
}

func (b *browser) waitFor(what string, happened func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !happened(); {
		if time.Now().After(deadline) {
			b.t.Fatalf("outcome after 10 seconds: got %q, want %s", b.text("#outcome"), what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// issuedToken reads the token where the page shows it in full.
func (b *browser) issuedToken() string {
	b.t.Helper()
	_, body, _ := strings.Cut(b.text("li.answer.token-server pre"), "\n\n")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Token) < 32 {
		b.t.Fatalf("answer to the login: got %q, want one with a token", body)
	}
	return answer.Token
}

// forgetsEverything checks what the page leaves behind: nothing in any store of the
// browser, and nothing on the console but Chromium's own line for each refused request,
// given here as path and status. A violated Content-Security-Policy would be there too.
func (b *browser) forgetsEverything(refused ...string) {
	b.t.Helper()
	var kept string
	b.run(`return Promise.all([indexedDB.databases(), caches.keys()]).then(([dbs, caches]) =>
		[...dbs.map((db) => db.name), ...caches,
			...Object.keys(localStorage), ...Object.keys(sessionStorage),
			document.cookie, location.search, location.hash, window.name].join(""))`, &kept)
	if kept != "" {
		b.t.Errorf("the page left behind %q, want nothing", kept)
	}
	var console []struct{ Message string }
	b.call("POST", "/se/log", map[string]string{"type": "browser"}, &console)
	line := regexp.MustCompile(`^http://[^/]+(/\S+) - Failed to load resource: (?:` +
		`the server responded with a status of (\d+) \([A-Za-z ]+\)|` +
		`(net::ERR_CONNECTION_REFUSED))$`)
	var got []string
	for _, entry := range console {
		got = append(got, line.ReplaceAllString(entry.Message, "$1 $2$3"))
	}
	if !slices.Equal(got, refused) {
		b.t.Errorf("console: got %q, want %q", got, refused)
	}
}
