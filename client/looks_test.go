// looks_test.go tests that everybody can use the page: on any screen, in light and dark, by
// keyboard, and by screen reader.

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each text must differ from what is behind it as WCAG 2.2 (1.4.3) asks.
func TestThePagesTextsStandOut(t *testing.T) {
	const measure = `
		const canvas = document.createElement("canvas").getContext("2d");
		const probe = document.body.appendChild(document.createElement("i"));
		probe.style.backgroundColor = "Canvas";
		const paper = getComputedStyle(probe).backgroundColor;
		probe.remove();
		const paint = (...colors) => { // one over the other
			canvas.clearRect(0, 0, 1, 1);
			for (const color of colors) {
				canvas.fillStyle = color;
				canvas.fillRect(0, 0, 1, 1);
			}
			return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
		};
		const luminance = (rgb) => rgb.map((c) => c / 255)
			.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
			.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
		const visible = (e) =>
			e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) &&
			e.getClientRects().length > 0 && getComputedStyle(e).clipPath === "none";
		const measured = [];
		const compare = (element, text, pseudo) => {
			const style = getComputedStyle(element, pseudo);
			const layers = pseudo ? [style.backgroundColor] : [];
			let striped = false;
			const opaque = () => layers.some((color) => {
				const [one, other] = [paint("white", color), paint("black", color)];
				return one.every((c, i) => c === other[i]);
			});
			for (let e = element; e && !opaque(); e = e.parentElement) {
				layers.unshift(getComputedStyle(e).backgroundColor);
				striped ||= !opaque() && getComputedStyle(e).backgroundImage !== "none";
			}
			const behind = [paper, ...layers];
			const [low, high] = [luminance(paint(...behind)),
				luminance(paint(...behind, style.color))].sort((a, b) => a - b);
			measured.push({ text, striped, ratio: (high + 0.05) / (low + 0.05) });
		};
		for (const details of document.querySelectorAll("details")) details.open = true;
		document.getElementById("wait").textContent = "Retry in 9 s.";
		for (const e of document.querySelectorAll("body, body *")) {
			if (!visible(e)) continue;
			const own = [...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE)
				.map((n) => n.data).join("").trim() || (e.matches("input") ? e.value : "");
			if (own) compare(e, own);
			for (const pseudo of ["::before", "::after"]) {
				const { content } = getComputedStyle(e, pseudo);
				if (content.length > 2 && !["none", "normal"].includes(content)) {
					compare(e, content, pseudo);
				}
			}
		}
		return measured`
	p := openPage(t)
	lowest := 21.0
	check := func(what string, atLeast int) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			p.prefer("prefers-color-scheme", scheme)
			var measured []struct {
				Text    string
				Striped bool
				Ratio   float64
			}
			p.run(measure, &measured)
			if len(measured) < atLeast {
				t.Errorf("%s, %s: measured %d texts, want %d", what, scheme, len(measured), atLeast)
			}
			for _, m := range measured {
				if lowest = min(lowest, m.Ratio); m.Ratio < 4.5 || m.Striped {
					t.Errorf("%s, %s: %q has a contrast of %.2f, on a pattern: %t; want 4.5, false",
						what, scheme, m.Text, m.Ratio, m.Striped)
				}
			}
		}
	}
	check("before the first request", 30)
	p.logIn("user1", "password1", "200 OK")
	p.attack("made-up", "(Test")
	check("logged in", 45)
	p.click("#logout", "revoked")
	check("logged out", 50)
	t.Logf("the lowest contrast is %.2f", lowest)
}

func TestThePageMovesNothingForWhoPrefersThat(t *testing.T) {
	p := openPage(t)
	moves := func(preference string) (moving []string) {
		p.prefer("prefers-reduced-motion", preference)
		p.get("/protected", "401")
		p.run(`return [...document.querySelectorAll("*")].filter((e) => {
			const { animationName, transitionDuration, scrollBehavior } = getComputedStyle(e);
			return animationName !== "none" || transitionDuration !== "0s" ||
				scrollBehavior !== "auto";
		}).map((e) => e.tagName).concat(document.getAnimations().map(String))`, &moving)
		return moving
	}
	if got := moves("reduce"); len(got) > 0 {
		t.Errorf("what moves although the user prefers no motion: got %q, want nothing", got)
	}
	if got := moves("no-preference"); !slices.Contains(got, "SUMMARY") {
		t.Errorf("what moves otherwise: got %q, want the arrows", got)
	}
}

func TestThePageNeverScrollsSideways(t *testing.T) {
	p := openSigned(t, "rs256")
	p.logIn("user1", "password1", "200 OK")
	p.get("/users/me", "200 OK")
	p.get("/users/me/items", "200 OK")
	p.attack("url", "(Test")
	p.attack("public-key", "(Test")
	p.click("#logout", "400 Bad Request")
	p.run(`for (const arrow of document.querySelectorAll("details")) arrow.open = true`, nil)
	for _, width := range []int{320, 360, 703, 704, 800, 895, 896, 1280, 1920} {
		p.size(width, 740)
		var wide []string
		p.run(`return [...document.querySelectorAll("html, #controls, form, section, button, pre")]
			.filter((e) => e.checkVisibility() && (e.scrollWidth > e.clientWidth + 1 ||
				e.getBoundingClientRect().right > innerWidth))
			.map((e) => e.outerHTML.slice(0, 80) + ": " + e.scrollWidth)`, &wide)
		if len(wide) > 0 {
			t.Errorf("wider than a window of %d px: got %q, want nothing", width, wide)
		}
	}
}

// The story of a talk, which fits on a projector.
func TestThePageShowsFourRoundTripsAtOnce(t *testing.T) {
	p := openPage(t)
	p.size(1280, 720)
	p.story()
	var hidden []string
	p.run(`const roles = document.getElementById("roles").getBoundingClientRect();
		return [...document.querySelectorAll("h1, h2, #controls *, #roles, #exchange > li")]
			.filter((e) => e.checkVisibility()).filter((e) => {
				const { top, bottom } = e.getBoundingClientRect();
				return top < (e.matches("li") ? roles.bottom - 1 : 0) || bottom > innerHeight;
			}).map((e) => e.outerHTML.slice(0, 80))`, &hidden)
	if len(hidden) > 0 || p.count("#exchange > li") != 9 {
		t.Errorf("out of sight at 1280 × 720: got %q, want nothing of 9 lines", hidden)
	}
}

// story is what the picture in the README tells.
func (p *page) story() {
	p.t.Helper()
	p.click("#login", "200 OK")
	p.get("/protected", "200 OK")
	p.click("#logout", "revoked")
	p.get("/protected", "401 Unauthorized")
}

func TestThePageScrollsToTheNewestArrow(t *testing.T) {
	for _, size := range [][2]int{{800, 600}, {360, 640}, {1280, 400}} {
		p := openPage(t)
		p.size(size[0], size[1])
		look := func(after string) {
			t.Helper()
			var newest string
			p.run(`const newest = document.querySelector("li:last-child");
				const { x, y, width, height } = (newest.querySelector("summary") ?? newest)
					.getBoundingClientRect();
				const there = y >= 0 && y + height <= innerHeight + 1 &&
					document.elementFromPoint(x + width / 2, y + height / 2);
				return newest.contains(there || null) ? "" : y + " to " + (y + height) + " px, " +
					(there ? "behind " + there.outerHTML.slice(0, 60) : "outside")`, &newest)
			if newest != "" {
				t.Errorf("newest arrow at %v after %s: got it at %s, want it in sight",
					size, after, newest)
			}
		}
		p.click("#login", "200 OK")
		look("Log in")
		p.get("/protected", "200 OK")
		look("GET /protected")
		p.click("#logout", "revoked")
		look("Log out")
		p.attack("made-up", "(Test")
		look("an attack")
	}
}

func TestThePageCanBeUsedByKeyboard(t *testing.T) {
	const tab, enter = "\uE004", "\uE007" // WebDriver's codes
	p := openPage(t)
	var order []string
	want := []string{
		"username", "password", "Log in", "Register", "GET /protected", "GET /users/me",
		"/users/me/items", "GET /is_logged_in", "No token", "A made-up token",
		"A revoked token", "Token in the URL", "Guess a password",
	}
	for range want {
		p.keys(tab)
		var focused struct {
			Name    string
			Outline bool
		}
		p.run(`const focused = document.activeElement;
			return { name: focused.textContent || focused.id,
				outline: getComputedStyle(focused).outlineStyle === "solid" }`, &focused)
		order = append(order, focused.Name)
		if !focused.Outline {
			t.Errorf("%s has the focus: got no outline, want one", focused.Name)
		}
	}
	if !slices.Equal(order, want) {
		t.Errorf("tab order: got %q, want %q", order, want)
	}
	p.typeIn("#password", "password1"+enter)
	p.waitFor("a login by the Enter key", func() (any, bool) {
		outcome := p.text("#outcome")
		return outcome, strings.HasPrefix(outcome, "POST /token → 200 OK")
	})
	p.run(`document.querySelector("li:first-child summary").focus()`, nil)
	p.keys(enter)
	if p.text("li:first-child pre") == "" {
		t.Error("the Enter key does not open an arrow")
	}
	p.wantNoTrace()
}

func TestThePageHasNamesForScreenReaders(t *testing.T) {
	p := openPage(t)
	p.logIn("user1", "password1", "200 OK")
	p.attack("made-up", "(Test")
	p.waitForText("#life", regexp.MustCompile(` left$`)) // hidden while it is empty
	for css, want := range map[string]string{
		"#username":                "combobox: Username",
		"#password":                "textbox: Password",
		"#login":                   "button: Log in",
		"[data-get='/protected']":  "button: GET /protected",
		"#logout":                  "button: Log out (revoke)",
		"main":                     "main: ",
		"form":                     "form: 1. Send the password once",
		"form + section":           "region: 2. Send the token",
		"form ~ section ~ section": "region: 3. Try to break in",
		"#diagram":                 "region: What went over the wire",
		"#exchange":                "list: ",
		"#outcome":                 "status: ",
		"#life":                    "timer: ",
	} {
		var role, name string
		element := "/element/" + p.find(css)
		p.call("GET", element+"/computedrole", nil, &role)
		p.call("GET", element+"/computedlabel", nil, &name)
		if got := role + ": " + name; got != want {
			t.Errorf("%s to a screen reader: got %q, want %q", css, got, want)
		}
	}
	want := []string{
		"to the token server: POST /token username, password",
		"answer of the token server: 200 OK token abc123… for 15:00",
		"to the protected resource: GET /protected Bearer abc123…",
		"refusal of the protected resource: 401 Unauthorized Invalid authentication credentials",
	}
	var arrows []string
	for i := range p.count("summary") {
		var name string
		arrow := p.find(fmt.Sprintf("li:nth-child(%d) summary", i+1))
		p.call("GET", "/element/"+arrow+"/computedlabel", nil, &name)
		arrows = append(arrows, name)
	}
	if got := maskPage(arrows); !slices.Equal(got, want) {
		t.Errorf("arrows to a screen reader: got %q, want %q", got, want)
	}
	var unnamed []string
	p.run(`return [...document.querySelectorAll("input")].filter((e) => e.labels.length !== 1)
		.concat([...document.querySelectorAll("#wait:not([role=timer]), html:not([lang=en])")])
		.map((e) => e.outerHTML)`, &unnamed)
	if len(unnamed) > 0 {
		t.Errorf("without a label, a role or a language: got %q, want nothing", unnamed)
	}
}
