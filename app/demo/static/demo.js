// @ts-check
// The demo page, as a site would write its own: PushClient turns notifications on and off, the page shows how
// things are. What only the demo does, sending to oneself and following what becomes of it, is in two other files.

import { PushClient } from "/sdk/push-client.js";

import { showReceived, watch } from "./happened.js";
import { getToken, send } from "./service.js";

const SEND_LATER_MS = 10_000;
const here = (/** @type {string} */ path) => new URL(path, location.href).href;
const ACTIONS = [
  { action: "read", title: "Read", url: here("/demo?read") },
  { action: "later", title: "Later" }, // without a URL of its own: where the notification leads
];

const push = new PushClient({
  service: location.origin,
  token: getToken,
  worker: "/demo/service-worker.js",
  scope: "/demo", // without the slash, so that /demo and /demo/ are both inside
});

/** @type {import("/sdk/push-client.js").PushStatus | undefined} */
let status;

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const toggles = [element("subscribe"), element("unsubscribe")];
const form = /** @type {HTMLFormElement} */ (element("send"));
const topicBoxes = [...element("topics").querySelectorAll("input")];
const tickedTopics = () => topicBoxes.filter((box) => box.checked).map((box) => box.value);

async function start() {
  show(await push.status());
  if (status?.topics.length || status?.state === "on") {
    tickTopics();
  }
  void watch();
}

async function subscribe() {
  show(await push.subscribe({ topics: tickedTopics() }));
}

async function unsubscribe() {
  show(await push.unsubscribe());
}

async function saveTopics() {
  showExamples();
  if (status?.state !== "on") {
    return;
  }
  try {
    show(await push.setTopics(tickedTopics()));
  } catch (error) {
    tickTopics(); // as they are still
    throw error;
  }
}

function tickTopics() {
  topicBoxes.forEach((box) => (box.checked = status?.topics.includes(box.value) ?? false));
  showExamples();
}

const WORDS = {
  on: "On, also when this page is closed.",
  off: "Off. The browser will ask for your permission.",
  blocked: "Notifications are blocked. Allow them for this site in the browser’s settings.",
  unsupported: "This browser has no web push.",
};

/** @param {import("/sdk/push-client.js").PushStatus} found */
function show(found) {
  if (found.state !== status?.state) {
    element("sent").textContent = found.state === "on" ? "To this browser only." : "Turn notifications on first.";
  }
  status = found;
  element("send-now").ariaDisabled = String(found.state !== "on");
  const isGranted = found.state === "off" && found.permission === "granted";
  say(found.state, found.explanation ?? (isGranted ? "Off." : WORDS[found.state]));
  showExamples();
}

/** @param {string} state one of WORDS, "busy" or "failed" @param {string} words */
function say(state, words) {
  element("status").dataset.state = state;
  if (element("status").textContent !== words) {
    element("status").textContent = words; // said twice, it would be read out twice
  }
  const hadFocus = toggles.some((button) => button === document.activeElement);
  element("subscribe").hidden = (status?.state ?? "off") !== "off";
  element("unsubscribe").hidden = status?.state !== "on";
  if (hadFocus) {
    toggles.find((button) => !button.hidden)?.focus(); // who uses the keyboard goes on where they were
  }
}

function showExamples() {
  const toBrowser = status?.id && { title: "Hello", body: "It works.", subscription_ids: [status.id] };
  const topics = tickedTopics();
  const toTopics = topics.length > 0 && { title: "News for you", body: "For all who ticked it.", topics };
  showExample("to-browser", toBrowser, "Turn notifications on first.");
  showExample("to-topics", toTopics, "Tick a topic first.");
}

/** @param {string} id @param {object | string | false | null | undefined} notification @param {string} otherwise */
function showExample(id, notification, otherwise) {
  element(id).textContent = notification ? curl(notification) : otherwise;
  /** @type {HTMLElement} */ (document.querySelector(`[data-copies="${id}"]`)).hidden = !notification;
}

/** @param {object | string} notification */
function curl(notification) {
  const payload = JSON.stringify({ .../** @type {object} */ (notification), url: location.pathname });
  return [
    `curl ${location.origin}/notifications/send/ \\`,
    `  -H "X-API-Key: $(cat .data/api-key)" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${payload}'`,
  ].join("\n");
}

/** @param {HTMLElement} button */
async function copy(button) {
  await navigator.clipboard.writeText(element(button.dataset.copies ?? "").textContent ?? "");
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

async function sendToOneself() {
  if (status?.state !== "on") {
    return; // the words beside the button say so
  }
  try {
    const { targeted, warnings } = await send(contentOf(new FormData(form)));
    const outcome = targeted === null ? "Waits for its time." : "Accepted.";
    element("sent").textContent = [outcome, ...warnings.map(({ detail }) => detail)].join(" ");
  } catch (error) {
    element("sent").textContent = `Not sent. ${/** @type {Error} */ (error).message}`;
  }
  void watch();
}

/** @param {FormData} given */
function contentOf(given) {
  const url = String(given.get("url") ?? "").trim();
  return {
    title: given.get("title"),
    body: given.get("body"),
    type: "demo",
    icon: here("/demo/icon.png"),
    ...(url && { url: here(url) }),
    ...(given.has("image") && { image: here("/demo/picture.png") }),
    ...(given.has("actions") && { actions: ACTIONS }),
    ...(given.has("later") && { scheduled_at: new Date(Date.now() + SEND_LATER_MS).toISOString() }),
  };
}

let running = 0;

/**
 * Run one of the page's tasks, telling the person instead of the console when it fails.
 * @param {() => Promise<void>} task
 */
async function attempt(task) {
  const main = /** @type {HTMLElement} */ (document.querySelector("main"));
  running += 1;
  main.ariaBusy = "true";
  try {
    await task();
  } catch (error) {
    say("failed", `That did not work. ${/** @type {Error} */ (error).message}`);
  } finally {
    running -= 1;
    main.ariaBusy = String(running > 0);
  }
}

push.addEventListener("received", ({ detail }) => showReceived(detail.notification));
push.addEventListener("clicked", () => watch());
push.addEventListener("closed", () => watch());
push.addEventListener("change", ({ detail }) => show(detail));

element("subscribe").addEventListener("click", () => attempt(subscribe));
element("unsubscribe").addEventListener("click", () => attempt(unsubscribe));
element("topics").addEventListener("change", () => attempt(saveTopics));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void attempt(sendToOneself);
});
for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-copies]"))) {
  button.addEventListener("click", () => copy(button));
}
void attempt(start);
