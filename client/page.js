// page.js is a client like any other: it exchanges a password for a token, sends the token, and
// draws each request and each answer. It holds the token in one variable. It never touches
// storage, cookies or the address bar, where a token would outlive the page or leak. It never
// writes HTML: what comes from the server is set as text.

const FORM = "application/x-www-form-urlencoded";
const element = (id) => document.getElementById(id);
const tell = (id, text) => { element(id).textContent = text; };
const short = (secret) => (secret ? secret.slice(0, 6) + "…" : "");
const pretty = (json) => JSON.stringify(json, null, 2);
const clock = (s) => Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0");

let token = ""; // the only copy, so a reload forgets it
let owner = ""; // the user who logged in for it
let expires = 0; // when, in milliseconds of this computer's clock; 0 without a valid token
let retry = 0; // when the server will take the next login, likewise
let turn = Promise.resolve(); // one exchange at a time, so arrows never cross
const issued = []; // tokens that were drawn in full once, and are shortened from then on

// What happens on a click. Enter in a field clicks "Log in", too.
const steps = { login: logIn, register, logout: logOut, forget: () => hold("", "", 0) };
for (const button of document.querySelectorAll("button")) {
  const { get: path, attack: name } = button.dataset;
  const step = path ? () => get(path, token) : name ? () => attack(name) : steps[button.id];
  button.addEventListener("click", (event) => {
    event.preventDefault(); // no form submission
    turn = turn.then(step, step);
  });
}
element("username").addEventListener("input", ({ target }) => {
  if (/^user[123]$/.test(target.value)) element("password").value = "password" + target.value[4];
});
setInterval(countDown, 250); // milliseconds: often enough that no second is skipped
const typed = () =>
  ({ username: element("username").value, password: element("password").value });
const requestToken = (user) => post("/token", FORM, new URLSearchParams(user),
  "username, password", new URLSearchParams({ ...user, password: "" }) + "••••");

async function logIn() {
  const user = typed();
  const { ok, json } = await requestToken(user);
  // Not expires_at: the server's clock may be off from ours, but runs as fast. The answer took
  // time to get here, so what we call expired, the server does, too.
  if (ok) hold(json.access_token, user.username, Date.now() + json.expires_in * 1000);
}

function register() {
  return post("/register", "application/json", JSON.stringify(typed()), "username, password",
    JSON.stringify({ ...typed(), password: "••••" }));
}

function revoke(secret) {
  return post("/revoke", FORM, new URLSearchParams({ token: secret }), "token " + short(secret));
}

// logOut revokes the token but keeps it, so you can see it refused.
async function logOut() {
  const { ok } = await revoke(token);
  if (ok && expires) end("revoked", "has been revoked");
  else if (ok) tell("outcome", "It was revoked already, or had expired: 200 (RFC 7009).");
}

// The token, as far as a client can tell.
function hold(secret, username, until) {
  if (token && !secret) tell("outcome", "This page has dropped the token. The server has not.");
  [token, owner, expires] = [secret, username, until];
  const kind = token.includes(".") ? "signed with " + part(0).alg : "opaque";
  const buttons = document.querySelectorAll("[data-for]");
  for (const button of buttons) button.hidden = !kind.includes(button.dataset.for);
  element("logout").disabled = element("forget").disabled = !token;
  tell("life", "");
  tell("held", `${token ? `${owner}'s token ${short(token)}` : "No token"} is sent with each GET.`);
  countDown();
}

function countDown() {
  const wait = Math.ceil((retry - Date.now()) / 1000); // seconds
  tell("wait", retry === 0 ? "" : wait > 0 ? `Retry in ${wait} s.` : "You can try again now.");
  if (!expires) return;
  const left = Math.ceil((expires - Date.now()) / 1000);
  tell("life", clock(left) + " left");
  if (left <= 0) end("expired", "has expired");
}

function end(state, words) {
  expires = 0;
  tell("life", state);
  tell("held", `${short(token)} is still sent, so you can see it refused.`);
  tell("outcome", `The token ${words}: try GET /protected now.`);
  note("the token " + words, "note");
}

// The attacks. Another site's form is not among them: this page's own policy forbids it.
const madeUp = "M4deUp".padEnd(32, "0");
const attacks = {
  "no-token": [() => get("/protected"), "TestTheGuardRefuses", "The guard wants a token."],
  "made-up": [() => get("/protected", madeUp), "TestTheGuardRefuses", "It was never issued."],
  revoked: [sendRevokedToken, "TestARevokedTokenIsRefusedAtOnce",
    "The server forgot the token before it answered the revocation."],
  url: [() => get("/protected?access_token=" + (token || madeUp)), "TestATokenInTheURLIsIgnored",
    "URLs end up in logs and histories, so the server looks for tokens in the header only."],
  guess: [guess, "TestAfter10FailuresTheEleventhAttemptWaits",
    "After ten failures, a name is blocked for a minute, whether or not it exists."],
  payload: [() => get("/protected", forge(part(0), token.split(".")[2]), ", another sub"),
    "TestATokenWithAnyLetterChangedIsRefused", "The signature does not fit the new payload."],
  none: [() => get("/protected", forge({ alg: "none", typ: "at+jwt" }), ", alg: none"),
    "TestTheHeaderIsCheckedNeverObeyed", "A token may not choose how it is checked."],
  "public-key": [signWithPublicKey, "TestThePublicKeyIsRefusedAsAnHS256Secret",
    "The server checks RS256 only, so its public key never serves as a secret."],
};

async function attack(name) {
  const [run, test, lesson] = attacks[name];
  const { ok, status } = await run();
  if (!status) return; // the server does not answer
  const text = ok ? "THE ATTACK SUCCEEDED: this server is not safe." : `${lesson} (${test})`;
  note(text, ok ? "note" : "lesson");
  tell("outcome", text);
}

async function sendRevokedToken() { // not yours, which stays valid
  const { ok, json } = await requestToken(typed());
  if (!ok || !(await revoke(json.access_token)).ok) return {};
  return get("/protected", json.access_token);
}

async function guess() { // a new name each time, so nobody's own logins are blocked
  const username = "nobody" + Date.now().toString(36);
  for (let i = 1; i <= 10; i++) await requestToken({ username, password: "password" + i });
  return requestToken({ username, password: "password11" });
}

function forge(header, signature = "") {
  const payload = { ...part(1), sub: part(1).sub === "user2" ? "user1" : "user2" };
  return [encode(header), encode(payload), signature].join(".");
}

async function signWithPublicKey() {
  const { json } = await get("/.well-known/jwks.json");
  const rsa = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("jwk", json.keys[0], rsa, true, ["verify"]);
  const der = new Uint8Array(await crypto.subtle.exportKey("spki", key)).toBase64();
  const pem = ["-----BEGIN PUBLIC KEY-----", ...der.match(/.{1,64}/g), // as in a server's file
    "-----END PUBLIC KEY-----", ""].join("\n");
  const mac = { name: "HMAC", hash: "SHA-256" };
  const secret = await crypto.subtle.importKey("raw", bytes(pem), mac, false, ["sign"]);
  const forged = forge({ alg: "HS256", typ: "at+jwt", kid: json.keys[0].kid });
  const signature = await crypto.subtle.sign("HMAC", secret, bytes(forged.slice(0, -1)));
  return get("/protected", forged + new Uint8Array(signature).toBase64(url), ", HS256");
}

// The parts of a signed token are JSON in UTF-8, written in base64url (RFC 7515 §2).
const url = { alphabet: "base64url", omitPadding: true };
const bytes = (text) => new TextEncoder().encode(text);
const encode = (object) => bytes(JSON.stringify(object)).toBase64(url);
const part = (i, secret = token) =>
  JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(secret.split(".")[i], url)));

// Sending and drawing.
function get(path, secret, how = "") {
  const headers = secret ? { Authorization: "Bearer " + secret } : {};
  return call("GET", path, headers, null, secret ? "Bearer " + short(secret) + how : "no token");
}

function post(path, type, body, carried, shown = body) {
  return call("POST", path, { "Content-Type": type }, body, carried, shown);
}

// call sends a request, and draws it and its answer. In the drawing, shown stands for the body.
async function call(method, path, headers, body, carried, shown = "") {
  const role = method === "POST" ? "token server" : "protected resource";
  const start = method + " " + path;
  for (const arrow of document.querySelectorAll("details[open]")) arrow.open = false;
  draw("request", role, start, carried, Object.entries(headers), shown);
  const { ok, status, label, fields, text } = await send(path, { method, headers, body });
  const json = /^[{[]/.test(text) ? JSON.parse(text) : null; // a 404 or 405 is plain text
  const { access_token: secret, expires_in: life, keys, detail, message } = json ?? {};
  const words = secret ? `token ${short(secret)} for ${clock(life)}`
    : Array.isArray(keys) ? "the public key" : detail ?? message ?? text;
  const whole = json ? pretty(json) : text;
  const arrow = draw(ok ? "answer" : "refusal", role, label, words, fields, whole);
  if (secret) explain(arrow, secret);
  show(arrow);
  retry = status === 429 ? Date.now() + 1000 * Object.fromEntries(fields)["Retry-After"] : 0;
  tell("outcome", brief(`${start} → ${label}: ${words}`));
  if (json?.is_logged_in === false && expires) note("Disabled users count as logged out.");
  return { ok, status, json };
}

async function send(path, request) {
  const signal = AbortSignal.timeout(20_000); // milliseconds; the server gives up after 15 s
  try {
    const answer = await fetch(path, { ...request, signal, credentials: "omit" });
    const capital = (name) => name.replace(/\b[a-z]/g, (letter) => letter.toUpperCase());
    const fields = [...answer.headers].map(([name, value]) => [capital(name), value]);
    const { ok, status, statusText } = answer;
    return { ok, status, label: status + " " + statusText, fields, text: await answer.text() };
  } catch {
    return { ok: false, label: "no answer", fields: [], text: "The server does not answer." };
  }
}

// explain shows what anyone can read in a token. Nothing depends on it: it checks no signature.
function explain(arrow, secret) {
  issued.push(secret);
  arrow.open = true;
  const text = secret.includes(".")
    ? "A signed token: anyone can read it, only the issuer can make it. It is on no list, so no " +
      `server can revoke it.\nheader ${pretty(part(0, secret))}\nclaims ${pretty(part(1, secret))}`
    : "An opaque token: random characters that mean something only to the server.";
  arrow.insertBefore(add(arrow, "p", text), arrow.querySelector("pre"));
}

// draw adds an arrow. A token is drawn in full only in the answer that issues it.
function draw(kind, role, label, words, fields, body) {
  const item = add(element("exchange"), "li", "", kind + " " + role.replace(" ", "-"));
  const arrow = add(item, "details");
  const summary = add(arrow, "summary");
  add(summary, "span", kind === "request" ? `to the ${role}: ` : `${kind} of the ${role}: `);
  add(summary, "b", brief(label));
  add(summary, "small", brief(words));
  const lines = fields.map(([name, value]) => name + ": " + value);
  add(arrow, "pre", brief([label, ...lines, "", body].join("\n").trim()));
  return arrow;
}

const brief = (text) => issued.reduce((all, one) => all.replaceAll(one, short(one)), text);
const show = (drawn) => drawn.scrollIntoView({ block: "nearest" });
const note = (text, kind = "lesson") => show(add(element("exchange"), "li", text, kind));

function add(parent, tag, text = "", className = "") {
  const child = document.createElement(tag);
  child.textContent = text;
  child.className = className;
  return parent.appendChild(child);
}
