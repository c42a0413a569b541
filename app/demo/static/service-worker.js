// Shows each push of the service, tells open demo pages about it, and opens its URL when clicked.
//
// A push is a flat JSON object with the specification's names: id, title, body, icon, image, badge, url, tag, type,
// actions, data, created_at. Whatever else arrives is shown all the same: browsers end a subscription whose pushes
// show nothing.

const PAGE = "/demo";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(receive(event.data)));
self.addEventListener("notificationclick", (event) => event.waitUntil(follow(event.notification, event.action)));

/** @param {PushMessageData | null} data null for a push without a body */
async function receive(data) {
  const push = parse(data) ?? {
    title: "New notification",
    body: "This push could not be read.",
    unreadable: data?.text() ?? "",
  };
  await show(push);
  await tellPages({ kind: "push", push });
}

function parse(data) {
  try {
    const push = data.json();
    return typeof push.title === "string" ? push : null;
  } catch {
    return null;
  }
}

async function show(push) {
  try {
    await self.registration.showNotification(push.title, optionsOf(push));
  } catch {
    // An option that this browser does not take must not cost the notification.
    await self.registration.showNotification(push.title, { body: String(push.body ?? ""), data: push });
  }
}

function optionsOf(push) {
  const options = {
    body: push.body,
    icon: webUrl(push.icon),
    image: webUrl(push.image),
    badge: webUrl(push.badge),
    tag: push.tag,
    actions: push.actions?.map(({ action, title, icon }) => present({ action, title, icon: webUrl(icon) })),
    timestamp: Date.parse(push.created_at) || undefined,
    data: push,
  };
  return present(options);
}

/** The object without its null and undefined members: a browser would read null as the URL "null". */
function present(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value != null));
}

/** The URL made absolute, or null unless it is http or https: no javascript: from a payload. */
function webUrl(url) {
  if (url == null) {
    return null;
  }
  try {
    const absolute = new URL(url, self.location.origin);
    return ["http:", "https:"].includes(absolute.protocol) ? absolute.href : null;
  } catch {
    return null;
  }
}

async function follow(notification, action) {
  notification.close();
  const push = notification.data ?? {};
  const target = webUrl(push.url ?? PAGE) ?? webUrl(PAGE);
  const pages = await openPages();
  await tellPages({ kind: "click", push, action });
  const open = pages.find((page) => page.url === target);
  await (open ? open.focus() : self.clients.openWindow(target));
}

async function tellPages(message) {
  for (const page of await openPages()) {
    page.postMessage(message);
  }
}

function openPages() {
  return self.clients.matchAll({ type: "window", includeUncontrolled: true });
}
