// A site's own service worker as our documentation has it, and what lets a test look into it.

const site = self;
site.complaints = [];
for (const kind of ["error", "unhandledrejection"]) {
  site.addEventListener(kind, (event) => site.complaints.push(String(event.reason ?? event.message)));
}

site.badges = [];
const { setAppBadge } = WorkerNavigator.prototype;
WorkerNavigator.prototype.setAppBadge = function (...numbers) {
  site.badges.push(...numbers);
  return setAppBadge.apply(this, numbers);
};

site.focused = [];
const { focus } = WindowClient.prototype;
WindowClient.prototype.focus = async function () {
  const client = await focus.call(this);
  site.focused.push(client.url);
  return client;
};

const settings = new URL(site.location).searchParams;
importScripts(`${settings.get("service")}/sdk/push-sw.js`);

site.addEventListener("install", () => site.skipWaiting());
site.addEventListener("activate", (event) => event.waitUntil(site.clients.claim()));
