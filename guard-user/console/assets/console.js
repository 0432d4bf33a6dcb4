// The console's script. It shows what is asked as that changes, and has a passkey sign answers. Keys are in another, which signs nothing.
// Text of agents is only ever assigned to textContent.

const find = (what, from = document) => from.querySelector(what);
const page = document.body.dataset.page;
const title = document.title;

// Bytes and text.

const base64 = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const unbase64 = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const sha256 = async (domain, text) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${domain}\n${text}`));

// Times.

function relative(at) {
  const seconds = Math.round((at - Date.now()) / 1000);
  const size = Math.abs(seconds);
  const words =
    size < 60 ? `${size} s` : size < 3600 ? `${Math.floor(size / 60)} min`
    : size < 86400 ? `${Math.floor(size / 3600)} h` : `${Math.floor(size / 86400)} d`;
  return size === 0 ? "now" : seconds > 0 ? `in ${words}` : `${words} ago`;
}

function tick() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = Date.parse(time.dateTime);
    const words = relative(at);
    if (time.textContent !== words) time.textContent = words;
    time.title = new Date(at).toLocaleString();
  }
}

// What is asked.

const known = new Set([...document.querySelectorAll("#questions > li")].map((li) => li.dataset.id));

function fill(li, line) {
  li.dataset.id = line.id;
  find("a", li).href = line.link;
  for (const name of ["verb", "what", "to", "who"]) find(`.${name}`, li).textContent = line[name];
  const beware = find(".beware", li);
  beware.hidden = !line.beware;
  beware.textContent = line.beware ?? "";
  find(".asked time", li).dateTime = line.asked_at;
  const waits = find(".waits", li);
  waits.hidden = !line.waits_until;
  if (line.waits_until) find("time", waits).dateTime = line.waits_until;
}

function list(lines) {
  const all = find("#questions");
  const there = new Map([...all.children].map((li) => [li.dataset.id, li]));
  for (const line of lines) {
    const li = there.get(line.id) ?? find("#question").content.firstElementChild.cloneNode(true);
    fill(li, line);
    if (!there.delete(line.id)) all.append(li);
    if (!known.has(line.id)) {
      known.add(line.id);
      li.classList.add("new");
      find("#news").textContent = `${line.who} wants ${line.verb} ${line.what}`;
    }
  }
  for (const li of there.values()) li.remove();
  find("#none").hidden = lines.length > 0;
}

let isBusy = false;

// A question's own page is asked for again where it asks something else now, or is over. While a passkey is used, that waits.
let asked = null;
let isStale = false;

function look(asking, questions) {
  const line = questions.find((one) => one.id === asking.dataset.id);
  asked ??= asking.dataset.asks;
  if (!line || line.asks !== asked) stale();
}

function stale() {
  isStale = true;
  if (!isBusy) location.reload();
}

// What is signed changes by the machine's settings and its clock, too, of which no stream tells: it is asked for.
async function lookAgain() {
  const hash = find("#asking")?.dataset.hash;
  if (!hash || document.visibilityState !== "visible") return;
  const reply = await fetch(`${location.pathname}/hash`).catch(() => null);
  if (reply?.redirected) return location.reload();
  const said = reply?.ok ? await reply.json().catch(() => null) : null;
  if (said && said.hash !== hash) stale();
}

// The page of machines is asked for again where one of them is otherwise now.
let seen = null;

function show({ connected, questions, machines }) {
  live(connected);
  if (!connected) return;
  if (page === "machines" && seen !== null && seen !== machines) again();
  seen = machines;
  // What was posted is not posted again.
  if (page === "away") location.replace(/\/(no|close)$/.test(location.pathname) ? "/" : location.href);
  const waiting = find("#waiting");
  waiting.hidden = questions.length === 0;
  waiting.textContent = questions.length;
  document.title = questions.length ? `(${questions.length}) ${title}` : title;
  if (page === "questions") list(questions);
  const asking = find("#asking");
  if (asking) look(asking, questions);
  tick();
}

function live(isOn) {
  document.body.dataset.live = isOn ? "on" : "off";
  find("#live").textContent = isOn ? "" : "not connected";
  offerYes();
}

// A stream ends by itself every twenty seconds, and is asked for again while somebody looks at the page.
let source = null;
let lost = 0;

function follow() {
  clearTimeout(lost);
  source?.close();
  source = null;
  if (document.visibilityState !== "visible") return;
  source = new EventSource("/events");
  source.addEventListener("live", (event) => {
    clearTimeout(lost);
    lost = 0;
    show(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    const isOver = source?.readyState === EventSource.CLOSED;
    if (!lost) lost = setTimeout(() => { live(false); lost = 0; if (isOver) followAgain(); }, 3000);
  });
}

// Whoever is logged out by now gets to the page that logs in, and asks no more.
async function followAgain() {
  const reply = await fetch(location.href).catch(() => null);
  if (reply?.redirected) return location.reload();
  follow();
}

// Answers.

// What a yes opens, as `guard sign` has it.
function chosen(offer, offers) {
  const times = offers.filter((one) => one.startsWith("for=")).map((one) => Number(one.slice(4)));
  const usual = { bytes: null, connections: null, for: times[0] ?? 60, read_only: false, requests: null, scope: "one" };
  const [name, value] = offer.split(/=(.*)/s);
  switch (name) {
    case "for": return { ...usual, for: Number(value) };
    case "connections": return { ...usual, connections: Number(value) };
    case "requests": return { ...usual, requests: Number(value) };
    case "scope": return { ...usual, scope: value };
    case "path": return { ...usual, scope: "path" };
    case "read-only": return { ...usual, read_only: true };
    default: throw new Error("That is not offered.");
  }
}

// The answer's bytes: RFC 8785, with the keys in their order.
async function answer(form) {
  const text = form.dataset.question;
  const question = JSON.parse(text);
  const shown = [...document.querySelectorAll("#shows > li")].map((li) => li.textContent);
  if (JSON.stringify(shown) !== JSON.stringify(question.shows)) throw new Error("The page shows something else than is asked.");
  const what = chosen(form.elements.offer.value, question.offers);
  return JSON.stringify({
    by: form.elements.by.value,
    bytes: what.bytes,
    code: form.elements.code?.value.trim() ?? "",
    connections: what.connections,
    for: what.for,
    machine: question.machine,
    question: base64(await sha256("guard question v1", text)),
    read_only: what.read_only,
    requests: what.requests,
    scope: what.scope,
    v: 1,
    verdict: "yes",
  });
}

async function assertion(challenge, keys) {
  const got = await navigator.credentials.get({
    publicKey: {
      challenge,
      rpId: location.hostname,
      allowCredentials: keys.map((id) => ({ type: "public-key", id: unbase64(id) })),
      userVerification: "required",
      timeout: 60000,
    },
  });
  return {
    key: base64(got.rawId),
    signature: base64(got.response.signature),
    authenticator_data: base64(got.response.authenticatorData),
    client_data: base64(got.response.clientDataJSON),
  };
}

async function post(place, value) {
  const reply = await fetch(place, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(value),
  });
  const said = await reply.json().catch(() => ({ error: `The console answered ${reply.status}.` }));
  if (!reply.ok) throw new Error([said.error, said.fix].filter(Boolean).join("\n"));
  return said;
}

// What went wrong, in words: browsers say little of a passkey that was not used.
const words = (error) =>
  error.name === "NotAllowedError" ? "Nothing was signed: the passkey was not used."
  : error.name === "InvalidStateError" ? "This device has a passkey for it already."
  : error.message;

async function sign(form) {
  const said = find("#said");
  const yes = find("button.yes");
  isBusy = true;
  yes.disabled = true;
  said.textContent = "";
  try {
    const bytes = await answer(form);
    const keys = form.elements.by.selectedOptions[0].dataset.keys.split(" ");
    const signed = await assertion(await sha256("guard answer v1", bytes), keys);
    const taken = await post(form.action, { answer: bytes, ...signed });
    if (taken.answer === "part") {
      said.textContent = `${taken.approvals} of ${taken.wanted} have said yes: somebody else has to, too.`;
    } else {
      location.reload();
    }
  } catch (error) {
    said.textContent = words(error);
    await lookAgain();
    if (isStale) sessionStorage.setItem("said", "Nothing is open: it had changed since it was shown. Look again.");
  } finally {
    isBusy = false;
    offerYes();
    if (isStale) location.reload();
  }
}

// What the page before had no time to say.
const left = sessionStorage.getItem("said");
sessionStorage.removeItem("said");
if (left && find("#said")) find("#said").textContent = left;

// A press that was meant for something else, in the moment when the page appears, signs nothing.
let mayPress = false;
setTimeout(() => {
  mayPress = true;
  offerYes();
}, 300);

// A phone has the answer at hand wherever it is scrolled: no yes before the end of what to beware of was above that.
const bewares = find("ul.beware");
let isRead = !bewares;

// Beside the button, which screen readers are told it is described by.
function sayWhy(yes, words) {
  const why = find("#why");
  if (why.textContent === words) return;
  why.textContent = words;
  yes.title = words;
}

function offerYes() {
  const yes = find("button.yes");
  if (!yes) return;
  const box = yes.closest(".answer");
  const covered = box && getComputedStyle(box).position === "sticky" ? box.offsetHeight : 0;
  isRead ||= bewares.getBoundingClientRect().bottom <= window.innerHeight - covered + 1;
  sayWhy(yes, isRead ? "" : "Read all warnings first: scroll down.");
  yes.disabled = document.body.dataset.live === "off" || isBusy || !mayPress || !isRead;
}

for (const moved of ["scroll", "resize"]) window.addEventListener(moved, offerYes, { passive: true });

const people = find("#yes select");
const own = [...(people?.options ?? [])].find((one) => one.value === localStorage.getItem("by"));
if (own) own.selected = true;

find("#yes")?.addEventListener("submit", (event) => {
  event.preventDefault();
  sign(event.target);
});

// What a form asks for comes; the page is not loaded again before that.
find("form.no")?.addEventListener("submit", () => { isBusy = true; });

// Enrolling, logging in, and having a device told.

function button(box, work, lacks = !navigator.credentials && "passkeys") {
  const press = find("button", box);
  const said = find(".said", box);
  press.disabled = false;
  if (!window.isSecureContext || lacks) {
    press.disabled = true;
    said.textContent = `This browser has no ${lacks || "passkeys"} here: they take https, or localhost.`;
  }
  press.addEventListener("click", async () => {
    press.disabled = true;
    said.textContent = "";
    try {
      await work();
    } catch (error) {
      said.textContent = words(error);
      press.disabled = false;
    }
  });
}

async function enrol(box) {
  const made = await navigator.credentials.create({
    publicKey: {
      rp: { id: location.hostname, name: "guard" },
      user: { id: crypto.getRandomValues(new Uint8Array(16)), name: `guard on ${location.hostname}`, displayName: "guard" },
      challenge: crypto.getRandomValues(new Uint8Array(32)),
      pubKeyCredParams: [{ type: "public-key", alg: -7 }, { type: "public-key", alg: -8 }],
      authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
      attestation: "none",
    },
  });
  const id = base64(made.rawId);
  const key = base64(made.response.getPublicKey());
  if (box.dataset.invitation === undefined) {
    find("#accept").textContent = `sudo guard approver add NAME --answers-for USER --passkey ${id}:${key}`;
  } else {
    const presented = await post("/enrol", { invitation: box.dataset.invitation, id, public_key: key });
    find("#accept").textContent = `sudo guard approver accept ${presented.name} ${presented.fingerprint}`;
  }
  find("#presented").hidden = false;
  box.hidden = true;
}

// Browsers refuse a longer list; without one they offer what they have.
function mostOf(keys) {
  return keys.length > 64 ? [] : keys;
}

async function login(box) {
  const nonce = box.dataset.nonce;
  const signed = await assertion(await sha256("guard login v1", nonce), mostOf(box.dataset.keys.split(" ")));
  const { name } = await post("/login/passkey", { nonce, ...signed });
  localStorage.setItem("by", name);
  location.assign("/");
}

const enrolment = find("#enrol");
if (enrolment) button(enrolment, () => enrol(enrolment));
const entry = find("#login");
if (entry) button(entry, () => login(entry));

// A browser's own subscription, and its entry in the list of devices.
async function listed() {
  const worker = await navigator.serviceWorker.getRegistration("/");
  const told = await worker?.pushManager.getSubscription();
  if (!told) return;
  const id = base64(await sha256("guard console device", told.endpoint));
  const entry = [...document.querySelectorAll("#devices > li")].find((one) => one.dataset.id === id);
  // What was removed from the list is told no more.
  if (!entry) return told.unsubscribe();
  find(".own", entry).hidden = false;
  find("#device button").hidden = true;
}

// The one script that a page may start a worker with.
const trusted = globalThis.trustedTypes?.createPolicy("guard", { createScriptURL: () => "/push.js" });

async function tell(box) {
  if ((await Notification.requestPermission()) !== "granted") throw new Error("This browser lets the page show no notifications.");
  await navigator.serviceWorker.register(trusted ? trusted.createScriptURL("") : "/push.js");
  const worker = await navigator.serviceWorker.ready;
  const told = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: unbase64(box.dataset.key) });
  await post("/devices", told);
  // For the worker, where the browser gets another subscription.
  const known = { endpoint: told.endpoint, key: box.dataset.key };
  await (await caches.open("guard")).put("/device", new Response(JSON.stringify(known)));
  location.reload();
}

const device = find("#device");
if (device) {
  const lacks = !(navigator.serviceWorker && window.PushManager) && "notifications";
  button(device, () => tell(device), lacks);
  if (!lacks) listed().catch(() => {});
}

// The lists, which are short: the whole page again, unless somebody reads or works in it.
function again() {
  const isUsed = document.activeElement !== document.body || find("details[open]") || !getSelection().isCollapsed;
  if (document.visibilityState === "visible" && !isUsed) location.reload();
}

if (["sessions", "holes", "flows", "log", "machines"].includes(page)) setInterval(again, 10000);
if (find("[data-reading]")) setInterval(again, 5000);
setInterval(lookAgain, 5000);
setInterval(tick, 1000);
tick();
if (find("#live")) {
  document.addEventListener("visibilitychange", follow);
  // A page that comes back from the browser's memory is an old one.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  follow();
}
