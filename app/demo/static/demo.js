// The demo page: subscribes this browser at the service, lists the pushes that its service worker got.

const SCOPE = "/demo"; // without the slash, so that /demo and /demo/ are both inside
const SESSION = "push-demo-session"; // localStorage: {token, id} of the subscription last registered here

const element = (id) => document.getElementById(id);
const topicBoxes = [...element("topics").querySelectorAll("input")];

let registration;
let session = JSON.parse(localStorage.getItem(SESSION) ?? "null");

class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? document.title ?? `The service answered ${status}.`);
    this.status = status;
  }
}

/** Call the service. Returns the JSON answer, null when there is none; throws a Problem (RFC 9457) on refusal. */
async function call(method, path, { token, body } = {}) {
  const headers = { Accept: "application/json" };
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  if (body) {
    headers["Content-Type"] = "application/json";
  }
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) {
    throw new Problem(response.status, isJson(response) ? JSON.parse(text) : {});
  }
  return text ? JSON.parse(text) : null;
}

function isJson(response) {
  return /^application\/(problem\+)?json\b/.test(response.headers.get("Content-Type") ?? "");
}

const subscriptionPath = () => `/subscriptions/${session.id}/`;
const tickedTopics = () => topicBoxes.filter((box) => box.checked).map((box) => box.value);

async function start() {
  const obstacle = findObstacle();
  if (obstacle) {
    return show("unavailable", obstacle);
  }
  await navigator.serviceWorker.register("/demo/service-worker.js", { scope: SCOPE });
  registration = await navigator.serviceWorker.ready;
  await listShownNotifications();
  if (Notification.permission === "granted" && (await registration.pushManager.getSubscription())) {
    await resume();
  } else {
    showOff();
  }
}

function findObstacle() {
  if (!window.isSecureContext) {
    return "Push needs https, or http on localhost.";
  }
  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) {
    return "This browser has no web push. On iPhone and iPad, add the page to the home screen first.";
  }
  return null;
}

/** After a reload: take up the subscription that is there, registering it again where the service forgot it. */
async function resume() {
  const { public_key: publicKey } = await call("GET", "/vapid/public-key");
  const subscription = await subscribeBrowser(publicKey);
  const known = session && (await findRegistered());
  if (known && subscription.endpoint === session.endpoint) {
    const topics = new Set(known.topics);
    topicBoxes.forEach((box) => (box.checked = topics.has(box.value)));
    showOn();
  } else {
    await register(subscription, publicKey);
  }
}

async function findRegistered() {
  try {
    return await call("GET", subscriptionPath(), session);
  } catch (error) {
    if (error instanceof Problem && [401, 403, 404].includes(error.status)) {
      return null;
    }
    throw error;
  }
}

async function subscribe() {
  if ((await Notification.requestPermission()) !== "granted") {
    return showOff();
  }
  const { public_key: publicKey } = await call("GET", "/vapid/public-key");
  await register(await subscribeBrowser(publicKey), publicKey);
}

/** The browser's subscription under this key. One under another makes way for it: so they move over after a rotation. */
async function subscribeBrowser(publicKey) {
  const existing = await registration.pushManager.getSubscription();
  if (existing && base64url(existing.options.applicationServerKey) === publicKey) {
    return existing;
  }
  await existing?.unsubscribe();
  return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: publicKey });
}

async function register(subscription, publicKey) {
  const { token } = await call("POST", "/demo/token");
  const body = { ...subscription.toJSON(), topics: tickedTopics(), application_server_key: publicKey };
  const { id } = await call("POST", "/subscriptions/", { token, body });
  remember({ token, id, endpoint: subscription.endpoint });
  showOn();
}

async function unsubscribe() {
  const subscription = await registration.pushManager.getSubscription();
  try {
    await call("DELETE", subscriptionPath(), session);
  } catch (error) {
    // Already gone there, or the token is too old: what counts is that the browser stops.
    if (!(error instanceof Problem && [401, 404].includes(error.status))) {
      throw error;
    }
  }
  await subscription?.unsubscribe();
  remember(null);
  showOff();
}

async function saveTopics() {
  if (session) {
    await call("PUT", subscriptionPath(), { token: session.token, body: { topics: tickedTopics() } });
  }
  showExamples();
}

function remember(newSession) {
  session = newSession;
  if (session) {
    localStorage.setItem(SESSION, JSON.stringify(session));
  } else {
    localStorage.removeItem(SESSION);
  }
}

function base64url(buffer) {
  const binary = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function showOn() {
  show("on", "On. This browser gets pushes, also when the page is closed.");
}

function showOff() {
  if (Notification.permission === "denied") {
    show("unavailable", "Notifications are blocked. Allow them for this site in the browser’s settings.");
  } else {
    show("off", Notification.permission === "granted" ? "Off." : "Off. The browser will ask for your permission.");
  }
}

/** @param {"on" | "off" | "unavailable" | "failed" | "busy"} state */
function show(state, text) {
  element("status").dataset.state = state;
  element("status").textContent = text;
  element("subscribe").hidden = !(state === "off" || (state === "failed" && !session));
  element("unsubscribe").hidden = !(state === "on" || (state === "failed" && session));
  showExamples();
}

function showExamples() {
  const toBrowser = session && { title: "Hello", body: "It works.", subscription_ids: [session.id] };
  const topics = tickedTopics();
  const toTopics = topics.length > 0 && { title: "News for you", body: "For all who ticked it.", topics };
  showExample("to-browser", toBrowser, "Turn notifications on first.");
  showExample("to-topics", toTopics, "Tick a topic first.");
}

function showExample(id, notification, otherwise) {
  element(id).textContent = notification ? curl(notification) : otherwise;
  document.querySelector(`[data-copies="${id}"]`).hidden = !notification;
}

function curl(notification) {
  const payload = JSON.stringify({ ...notification, url: location.pathname });
  return [
    `curl ${location.origin}/notifications/send/ \\`,
    `  -H "X-API-Key: $(cat .data/api-key)" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${payload}'`,
  ].join("\n");
}

async function copy(button) {
  await navigator.clipboard.writeText(element(button.dataset.copies).textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

/** Pushes that came while no demo page was open and are still on the screen. */
async function listShownNotifications() {
  const shown = await registration.getNotifications();
  shown.forEach(({ data }) => listPush(data));
}

function listPush(push) {
  const item = element("push").content.cloneNode(true);
  const part = (name) => item.querySelector(`[data-part="${name}"]`);
  const receivedAt = new Date();
  part("title").textContent = push.title;
  part("body").textContent = push.body ?? "";
  part("time").textContent = receivedAt.toLocaleTimeString();
  part("time").dateTime = receivedAt.toISOString();
  part("facts").textContent = describe(push);
  part("payload").textContent = push.unreadable ?? JSON.stringify(push, null, 2);
  item.querySelector("li").dataset.tag = push.tag ?? push.id ?? "";
  element("pushes").prepend(item);
  element("nothing").hidden = true;
}

function describe({ type, tag, url, actions }) {
  const buttons = actions?.map(({ title }) => title).join(", ");
  const facts = { type, tag, opens: url, buttons };
  return Object.entries(facts)
    .filter(([, value]) => value)
    .map(([name, value]) => `${name}: ${value}`)
    .join(" · ");
}

function noteClick(push, action) {
  const tag = push.tag ?? push.id ?? "";
  const item = [...element("pushes").children].find((child) => child.dataset.tag === tag);
  item?.querySelector('[data-part="time"]').prepend(action ? `clicked “${action}” · ` : "clicked · ");
}

/** Run one of the page's tasks, telling the person instead of the console when it fails. */
async function attempt(task) {
  const buttons = [...document.querySelectorAll("#subscribe, #unsubscribe")];
  buttons.forEach((button) => (button.disabled = true));
  try {
    await task();
  } catch (error) {
    show("failed", `That did not work. ${error.message}`);
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

navigator.serviceWorker?.addEventListener("message", ({ data: { kind, push, action } }) => {
  if (kind === "push") {
    listPush(push);
  } else {
    noteClick(push, action);
  }
});
element("subscribe").addEventListener("click", () => attempt(subscribe));
element("unsubscribe").addEventListener("click", () => attempt(unsubscribe));
element("topics").addEventListener("change", () => attempt(saveTopics));
for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => copy(button));
}
attempt(start);
