// Keys on what is asked, as `guard watch` has them. They count while the focus is there, and nowhere else (WCAG 2.1.4), and none says
// yes: one leads to the button that the passkey follows.

const find = (what) => document.querySelector(what);
const asking = find("#asking");
const help = find("#keyboard");

// Where whoever uses keys goes on, if the next page is that one.
const goOn = (place, what) => sessionStorage.setItem("keys", JSON.stringify([place, what]));

const [place, what] = JSON.parse(sessionStorage.getItem("keys") ?? "[]");
sessionStorage.removeItem("keys");
if (place === location.pathname) find(what)?.focus();

// A press that was meant for the page before says nothing.
let mayPress = false;
setTimeout(() => { mayPress = true; }, 300);

const to = (li) => li?.querySelector("a").focus();
const next = (li) => to(li.nextElementSibling);
const before = (li) => to(li.previousElementSibling);

function open(li, what) {
  const link = li.querySelector("a");
  goOn(link.pathname, what);
  link.click();
}

// As a press of the button: what is asked is on the page by then.
function no() {
  if (!mayPress) return;
  mayPress = false;
  goOn("/", "#questions a");
  find("form.no").requestSubmit();
}

function explain() {
  help.open = !help.open;
  if (help.open) help.scrollIntoView({ block: "nearest" });
}

// A button that cannot be pressed takes no focus: what has to be in view before comes there.
function lead() {
  const yes = find("button.yes");
  if (yes?.disabled) find("ul.beware")?.scrollIntoView({ block: "nearest" });
  yes?.focus();
}

const inList = new Map([
  ["j", next], ["ArrowDown", next], ["k", before], ["ArrowUp", before], ["?", explain],
  ["Enter", (li) => open(li, "#asking")], ["n", (li) => open(li, "form.no button")],
]);
const inQuestion = new Map([["y", lead], ["n", no], ["?", explain]]);

function listen(box, keys) {
  box?.addEventListener("keydown", (event) => {
    const isTyped = event.target.matches("select, input:not([type=radio])");
    const isOther = isTyped || event.ctrlKey || event.altKey || event.metaKey;
    const work = isOther ? undefined : keys.get(event.key);
    if (!work) return;
    event.preventDefault();
    // One that is held down goes through the list; it opens and says nothing, or it would go through all questions.
    if (event.repeat && work !== next && work !== before) return;
    work(event.target.closest("li"));
  });
}

listen(find("#questions"), inList);
listen(asking, inQuestion);
if (help) help.hidden = false;

// A question that asks something else now is loaded again: the focus stays with it, and on no button.
addEventListener("pagehide", () => {
  const isThere = asking?.contains(document.activeElement) && sessionStorage.getItem("keys") === null;
  if (isThere) goOn(location.pathname, "#asking");
});
