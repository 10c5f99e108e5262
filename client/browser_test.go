// browser_test.go opens pages in a real Chromium, types, clicks and reads what a learner would
// see. It speaks the W3C WebDriver protocol to chromedriver, which is HTTP and JSON. It tests
// nothing itself.

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// driverClient sends WebDriver commands. None of them takes long, so a browser that hangs
// fails one test and does not stop the others.
var driverClient = &http.Client{Timeout: 10 * time.Second}

// startBrowser starts the one Chromium of all tests, with the first test that needs it, and
// returns the URL that takes commands for it. TestMain calls stopBrowser.
var (
	startBrowser = sync.OnceValues(func() (session string, err error) {
		driver, err := exec.LookPath("chromedriver")
		if err != nil {
			return "", err
		}
		chromium, err := exec.LookPath("chromium")
		if err != nil {
			return "", err
		}
		profile, err := os.MkdirTemp("", "page")
		if err != nil {
			return "", err
		}
		cmd := exec.Command(driver, "--port=0")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return "", err
		}
		if err := cmd.Start(); err != nil {
			return "", err
		}
		stopBrowser = func() {
			for _, server := range signing {
				server.cmd.Process.Kill()
				server.wait()
			}
			if session != "" {
				command("DELETE", session, nil, nil) // closes Chromium
			}
			cmd.Process.Kill()
			cmd.Wait()
			for range 50 { // Chromium may still write something while it ends
				if os.RemoveAll(profile) == nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
		started := regexp.MustCompile(`started successfully on port (\d+)`)
		var port []string
		for lines := bufio.NewScanner(stdout); port == nil; {
			if !lines.Scan() {
				return "", errors.New("chromedriver ended without saying on which port it listens")
			}
			port = started.FindStringSubmatch(lines.Text())
		}
		go io.Copy(io.Discard, stdout) // a full pipe would make it wait
		base := "http://127.0.0.1:" + port[1] + "/session"
		var answer struct{ SessionID string }
		err = command("POST", base, map[string]any{"capabilities": map[string]any{
			"alwaysMatch": map[string]any{
				"goog:loggingPrefs": map[string]string{"browser": "ALL"},
				"goog:chromeOptions": map[string]any{"binary": chromium, "args": []string{
					"--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run",
					"--disable-background-networking", "--disable-component-update",
					"--disable-sync", "--window-size=1280,900", "--hide-scrollbars",
					"--force-prefers-reduced-motion", // an arrow that still moves takes no click
					"--user-data-dir=" + profile,
					// Chromium's sandbox refuses to run as root, which containers of CI do. It
					// would protect from evil pages, and this window opens only our own.
					"--no-sandbox",
				}},
			},
		}}, &answer)
		if err != nil {
			return "", err
		}
		return base + "/" + answer.SessionID, nil
	})
	stopBrowser = func() {}
)

// command sends one WebDriver command. Its answer comes wrapped in {"value": …}.
func command(method, url string, parameters, into any) error {
	body := io.Reader(nil)
	if method == "POST" {
		text, err := json.Marshal(parameters)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	response, err := driverClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %v %.500s", response.Status, err, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, &struct{ Value any }{into})
}

// A page is loaded in the browser's only tab. Its methods end the test if something goes wrong.
type page struct {
	t       *testing.T
	session string // takes WebDriver commands
	url     string // of the page's server
}

// openPage opens the page of a server: of the shared one, if there are no flags.
func openPage(t *testing.T, flags ...string) *page {
	t.Helper()
	needBrowser(t) // first, since it skips the test where there is none
	if flags == nil {
		return openURL(t, sharedProgram(t).url)
	}
	server := startProgram(t, flags...)
	// A clean stop would take 5 seconds, while Chromium holds connections that it has not used.
	t.Cleanup(func() { server.cmd.Process.Kill() })
	return openURL(t, server.url)
}

// openSigned opens the page of a server with signed tokens, one for all tests.
func openSigned(t *testing.T, kind string) *page {
	t.Helper()
	needBrowser(t)
	server := signing[kind]
	if server == nil {
		var err error
		server, err = startProcess(binary(t, "tokenserver"), nil,
			"-addr", "127.0.0.1:0", "-token", kind)
		if err != nil {
			t.Fatal(err)
		}
		signing[kind] = server
	}
	return openURL(t, server.url)
}

// signing holds the servers of openSigned. The tests of the page do not run in parallel.
var signing = make(map[string]*process)

func needBrowser(t *testing.T) (session string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the page is tested in Chromium on Linux and macOS only")
	}
	session, err := startBrowser()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skipf("the page is tested in Chromium, through chromedriver: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func openURL(t *testing.T, url string) *page {
	t.Helper()
	p := &page{t: t, session: needBrowser(t), url: url}
	p.console() // what another page said last
	p.call("POST", "/url", map[string]string{"url": url}, nil)
	return p
}

func (p *page) call(method, path string, parameters, into any) {
	p.t.Helper()
	if err := command(method, p.session+path, parameters, into); err != nil {
		p.t.Fatalf("WebDriver %s %s %v: %v", method, path, parameters, err)
	}
}

// chromium sends a command of the Chrome DevTools Protocol.
func (p *page) chromium(method string, parameters map[string]any) {
	p.t.Helper()
	if parameters == nil {
		parameters = map[string]any{}
	}
	p.call("POST", "/goog/cdp/execute", map[string]any{"cmd": method, "params": parameters}, nil)
}

func (p *page) size(width, height int) {
	p.t.Helper()
	p.chromium("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
	})
	p.t.Cleanup(func() { p.chromium("Emulation.clearDeviceMetricsOverride", nil) })
}

// prefer sets what a user has set in the system, such as prefers-color-scheme to dark.
func (p *page) prefer(feature, value string) {
	p.t.Helper()
	p.chromium("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": feature, "value": value}},
	})
	p.t.Cleanup(func() {
		p.chromium("Emulation.setEmulatedMedia", map[string]any{"features": []any{}})
	})
}

// run runs JavaScript in the page and reads what it returns.
func (p *page) run(script string, into any) {
	p.t.Helper()
	p.call("POST", "/execute/sync", map[string]any{"script": script, "args": []any{}}, into)
}

// find returns the handle of the first element that a CSS selector selects.
func (p *page) find(css string) string {
	p.t.Helper()
	var element map[string]string // with one handle, under a constant key
	p.call("POST", "/element", map[string]string{"using": "css selector", "value": css}, &element)
	for _, handle := range element {
		return handle
	}
	p.t.Fatalf("element %s: got none", css)
	return ""
}

// text returns what can be seen of an element's text.
func (p *page) text(css string) (text string) {
	p.t.Helper()
	p.call("GET", "/element/"+p.find(css)+"/text", nil, &text)
	return text
}

// texts returns the whole text of each element, whether it can be seen or not.
func (p *page) texts(css string) (texts []string) {
	p.t.Helper()
	p.run(fmt.Sprintf(`return [...document.querySelectorAll(%q)].map((e) => e.textContent)`, css),
		&texts)
	return texts
}

func (p *page) count(css string) (n int) {
	p.t.Helper()
	p.run(fmt.Sprintf(`return document.querySelectorAll(%q).length`, css), &n)
	return n
}

func (p *page) html() (html string) {
	p.t.Helper()
	p.run(`return document.documentElement.outerHTML.replaceAll("&amp;", "&")`, &html)
	return html
}

func (p *page) typeIn(css, text string) {
	p.t.Helper()
	field := p.find(css)
	p.call("POST", "/element/"+field+"/clear", struct{}{}, nil)
	p.call("POST", "/element/"+field+"/value", map[string]string{"text": text}, nil)
}

// keys presses keys wherever the focus is.
func (p *page) keys(keys string) {
	p.t.Helper()
	var actions []map[string]string
	for _, key := range keys {
		actions = append(actions, map[string]string{"type": "keyDown", "value": string(key)},
			map[string]string{"type": "keyUp", "value": string(key)})
	}
	p.call("POST", "/actions", map[string]any{"actions": []map[string]any{
		{"type": "key", "id": "keyboard", "actions": actions},
	}}, nil)
}

// press clicks in the middle of an element, and scrolls there only if it has to. WebDriver's own
// click takes ten times as long.
func (p *page) press(css string) {
	p.t.Helper()
	var there string
	p.run(fmt.Sprintf(`const target = document.querySelector(%q);
		if (!target || target.disabled) return "nothing that takes a click";
		const hit = () => {
			const { x, y, width, height } = target.getBoundingClientRect();
			return document.elementFromPoint(x + width / 2, y + height / 2);
		};
		if (!target.contains(hit())) target.scrollIntoView({ block: "center" });
		if (!target.contains(hit())) return hit()?.outerHTML ?? "nothing";
		hit().click();
		return ""`, css), &there)
	if there != "" {
		p.t.Fatalf("a click on %s: got %s there", css, there)
	}
}

// click presses a button that sends requests, and waits until the page announces the outcome
// below arrows that are complete: each request has its answer.
func (p *page) click(css, outcome string) {
	p.t.Helper()
	arrows := p.count("details")
	p.press(css)
	var seen struct {
		Arrows, Requests int
		Outcome          string
	}
	p.waitFor(fmt.Sprintf("%q after pressing %s", outcome, css), func() (any, bool) {
		p.run(`return {
			arrows: document.querySelectorAll("details").length,
			requests: document.querySelectorAll("li.request").length,
			outcome: document.getElementById("outcome").textContent,
		}`, &seen)
		return seen, seen.Arrows >= arrows+2 && seen.Arrows == 2*seen.Requests &&
			strings.Contains(seen.Outcome, outcome)
	})
}

func (p *page) get(path, outcome string) {
	p.t.Helper()
	p.click(fmt.Sprintf("[data-get='%s']", path), outcome)
}

func (p *page) logIn(username, password, outcome string) {
	p.t.Helper()
	if username != "user1" || password != "password1" { // which the page begins with
		p.typeIn("#username", username)
		p.typeIn("#password", password)
	}
	p.click("#login", outcome)
}

// waitFor looks again and again, until a deadline. What it saw last is in its complaint.
func (p *page) waitFor(what string, look func() (seen any, happened bool)) {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		seen, happened := look()
		if happened {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("after 10 seconds: got %+v, want %s", seen, what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

func (p *page) waitForText(css string, pattern *regexp.Regexp) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf("%s in %s", pattern, css), func() (any, bool) {
		text := p.text(css)
		return text, pattern.MatchString(text)
	})
}

// console returns the lines that are new on the browser's console. A violation of the
// Content-Security-Policy would be there, too.
func (p *page) console() (lines []string) {
	p.t.Helper()
	var entries []struct{ Message string }
	p.call("POST", "/se/log", map[string]string{"type": "browser"}, &entries)
	for _, entry := range entries {
		lines = append(lines, entry.Message)
	}
	return lines
}

// wantQuietConsole allows only Chromium's own line for each refused request.
func (p *page) wantQuietConsole() {
	p.t.Helper()
	allowed := regexp.MustCompile(`^http://\S+ - Failed to load resource: ` +
		`(the server responded with a status of 4\d\d \([A-Za-z ]+\)|net::ERR_CONNECTION_REFUSED)$`)
	for _, line := range p.console() {
		if !allowed.MatchString(line) {
			p.t.Errorf("console: got %q, want only lines for refused requests", line)
		}
	}
}
