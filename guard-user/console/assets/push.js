// Shows what the console tells: a request's number, and its page. It is encrypted to this browser, and says no yes.

// A page of the console's, whatever was told.
function place(link) {
  const here = self.location.origin;
  try {
    const url = new URL(link ?? "/", here);
    return url.origin === here ? url.href : `${here}/`;
  } catch {
    return `${here}/`;
  }
}

function told(data) {
  try {
    return data.json();
  } catch {
    return {};
  }
}

async function go(link) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const open = pages.find((page) => page.url === link);
  return open ? open.focus() : self.clients.openWindow(link);
}

self.addEventListener("push", (event) => {
  const { title, text, link } = told(event.data);
  const to = place(link);
  const shown = { body: String(text ?? "A session asks"), data: to, tag: to };
  event.waitUntil(self.registration.showNotification(String(title ?? "guard"), shown));
});

// What the page has had told of this browser, for when the push service gives it another place.
async function kept(now) {
  const cache = await caches.open("guard");
  if (now) return cache.put("/device", new Response(JSON.stringify(now)));
  return (await cache.match("/device"))?.json();
}

// The browser has another subscription, or none any more. The console takes it for the one that it knows, and for no other.
async function changed({ oldSubscription, newSubscription }) {
  const known = await kept();
  const replaces = known?.endpoint ?? oldSubscription?.endpoint;
  const key = known?.key ?? oldSubscription?.options.applicationServerKey;
  if (!replaces) return;
  const subscribe = () => self.registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  try {
    const told = newSubscription ?? (await subscribe());
    const body = JSON.stringify({ ...told.toJSON(), replaces });
    const answer = await fetch("/devices", { method: "POST", headers: { "content-type": "application/json" }, body });
    if (!answer.ok) throw new Error(String(answer.status));
    await kept({ endpoint: told.endpoint, key: known?.key });
  } catch {
    const shown = { body: "This browser is told no more. Press to log in, and have it told again.", data: place("/approvers"), tag: "changed" };
    await self.registration.showNotification("guard", shown);
  }
}

self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(changed(event)));

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(go(event.notification.data));
});
