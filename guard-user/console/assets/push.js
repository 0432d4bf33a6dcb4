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

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(go(event.notification.data));
});
