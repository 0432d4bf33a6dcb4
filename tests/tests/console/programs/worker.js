// The console's worker, in a browser whose push service gives it another subscription. Standard input says what is known of the one
// before, and what the console answers; prints what the worker has sent to it, shown and kept.
const vm = require("node:vm");
const { known, answer, event } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));

const heard = {};
const done = { sent: [], shown: [], subscribed: [], kept: known };
const subscription = (endpoint) => ({ endpoint, toJSON: () => ({ endpoint, expirationTime: null, keys: { p256dh: "p", auth: "a" } }) });
const self = {
  location: { origin: "https://guard.example" },
  addEventListener: (name, told) => (heard[name] = told),
  registration: {
    showNotification: async (title, shown) => done.shown.push({ title, ...shown }),
    pushManager: {
      subscribe: async (options) => {
        done.subscribed.push(options);
        return subscription("https://push.example/next");
      },
    },
  },
};
const cache = {
  match: async () => done.kept && { json: async () => done.kept },
  put: async (_, response) => (done.kept = JSON.parse(response.text)),
};
const world = {
  self, URL, String,
  caches: { open: async () => cache },
  Response: class { constructor(text) { this.text = text; } },
  fetch: async (place, { method, headers, body }) => {
    done.sent.push({ place, method, headers, body: JSON.parse(body) });
    return { ok: answer === 200, status: answer };
  },
};
vm.runInNewContext(require("node:fs").readFileSync(process.argv[2], "utf8"), world);
const newSubscription = event.next ? subscription(event.next) : null;
const oldSubscription = event.old ? { endpoint: event.old, options: { applicationServerKey: "old" } } : null;
heard.pushsubscriptionchange({
  oldSubscription, newSubscription,
  waitUntil: (work) => work.then(() => console.log(JSON.stringify(done))),
});
