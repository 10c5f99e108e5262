// page.js is a client like any other: it trades a password for a token, shows the token, and
// draws each request and each answer. It holds the token in one variable. It never touches
// storage, cookies or the URL, where a token would outlive the page or leak, and it never
// writes HTML: whatever comes from the server is set as text.

const FORM = "application/x-www-form-urlencoded";
const element = (id) => document.getElementById(id);
const tell = (id, text) => { element(id).textContent = text; };
const short = (secret) => (secret ? secret.slice(0, 6) + "…" : "");

let token = ""; // the only copy, so that a reload forgets it
let expires = 0; // when, in milliseconds of this computer's clock; 0 without a live token
let turn = Promise.resolve(); // one exchange at a time, so that arrows never cross

// What happens on a click.

onClick(element("login"), logIn); // Enter in a field clicks it, too
onClick(element("register"), register);
onClick(element("logout"), logOut);
onClick(element("forget"), forget);
for (const button of document.querySelectorAll("[data-get]")) {
  onClick(button, () => call("GET", button.dataset.get));
}
setInterval(countDown, 250); // milliseconds: often enough that no second is skipped

function onClick(button, step) {
  button.addEventListener("click", (event) => {
    event.preventDefault(); // a form would leave the page
    turn = turn.then(step, step);
  });
}

async function logIn() {
  const user = { username: element("username").value, password: element("password").value };
  const shown = new URLSearchParams({ ...user, password: "" }) + "••••";
  const { ok, json } = await call("POST", "/token", FORM, new URLSearchParams(user), shown);
  if (!ok) return;
  token = json.access_token;
  // Not expires_at: the server's clock may differ from ours, but it goes as fast. And we start
  // late by the answer's way to us, so whatever we call expired, the server refuses.
  expires = Date.now() + json.expires_in * 1000;
  tell("held", short(token) + " goes out with every request.");
  countDown();
}

function register() {
  const user = { username: element("username").value, password: element("password").value };
  const shown = JSON.stringify({ ...user, password: "••••" });
  return call("POST", "/register", "application/json", JSON.stringify(user), shown);
}

// logOut kills the token but does not drop it, so that everyone can see it refused.
async function logOut() {
  const { ok } = await call("POST", "/revoke", FORM, new URLSearchParams({ token }));
  if (ok) end("revoked");
}

function forget() {
  token = "";
  expires = 0;
  tell("life", "");
  tell("held", "None: requests go out without one.");
  tell("outcome", "This page has forgotten the token, which kills no copy of it.");
}

// The token, as far as a client can tell.

function countDown() {
  if (!expires) return;
  const left = Math.ceil((expires - Date.now()) / 1000); // seconds
  tell("life", Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0"));
  if (left <= 0) end("expired");
}

function end(how) {
  expires = 0;
  tell("life", how);
  tell("held", short(token) + " still goes out, so that you see it refused.");
  tell("outcome", `The token is ${how}: the next request will be refused.`);
  add(element("exchange"), "li", "the token is " + how, "note");
}

// explain says what anyone can read in a token. It checks no signature and nothing depends on
// it: to a client a token is just a string.
function explain(arrow, issued) {
  arrow.open = true;
  const [header, claims, signature] = issued.split(".");
  add(arrow, "p", signature
    ? "This token is signed: anyone who sees it can read what follows, but only the issuer could " +
      "make it. It stands on no list, so it cannot be revoked, only forgotten."
    : "This token is opaque: random characters, which say nothing.");
  if (!signature) return;
  add(arrow, "pre", `header ${decode(header)}\nclaims ${decode(claims)}`);
}

function decode(part) {
  const binary = atob(part.replaceAll("-", "+").replaceAll("_", "/")); // base64url
  const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
  return JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), null, 2);
}

// call sends one request. It and its answer are drawn; in place of the body, what is shown.
async function call(method, path, type, body, shown = body ?? "") {
  const role = method === "POST" ? "token server" : "protected resource";
  const headers = type ? { "Content-Type": type } : {};
  if (method === "GET" && token) headers.Authorization = "Bearer " + token;
  const start = method + " " + path;
  draw("request", role, start, "", Object.entries(headers), shown);
  const { ok, status, fields, text } = await send(path, { method, headers, body });
  const json = text.startsWith("{") ? JSON.parse(text) : {}; // a 404 or 405 is plain text
  const issued = json.access_token && `a token for ${json.expires_in} seconds`;
  const words = issued ?? json.detail ?? json.message ?? text;
  const arrow = draw(ok ? "answer" : "refusal", role, status, words, fields, text);
  if (issued) explain(arrow, json.access_token);
  // Into view, but without scrolling the buttons away where they stand above the diagram.
  if (matchMedia("(min-width: 60rem)").matches) arrow.scrollIntoView({ block: "nearest" });
  tell("outcome", `${start}: ${status}. ${words}`);
  return { ok, json };
}

async function send(path, request) {
  const signal = AbortSignal.timeout(20_000); // milliseconds; the server gives up after 15 s
  try {
    const answer = await fetch(path, { ...request, signal, credentials: "omit" });
    const status = answer.status + " " + answer.statusText;
    return { ok: answer.ok, status, fields: [...answer.headers], text: await answer.text() };
  } catch {
    return { ok: false, status: "no answer", fields: [], text: "The server does not answer." };
  }
}

// draw adds an arrow, which page.css makes of a list item. A token that is in use is drawn
// shortened: the full one is seen only in the answer that issues it.
function draw(kind, role, label, words, fields, body) {
  const item = add(element("exchange"), "li", "", kind + " " + role.replace(" ", "-"));
  const arrow = add(item, "details");
  const summary = add(arrow, "summary");
  add(summary, "span", kind === "request" ? `to the ${role}: ` : `${kind} of the ${role}: `);
  add(summary, "b", label);
  add(summary, "small", words);
  const lines = fields.map(([name, value]) => name + ": " + value);
  const message = [label, ...lines, "", body].join("\n").trim();
  add(arrow, "pre", message.replaceAll(token, short(token)));
  return arrow;
}

function add(parent, tag, text = "", className = "") {
  const child = document.createElement(tag);
  child.textContent = text;
  child.className = className;
  return parent.appendChild(child);
}
