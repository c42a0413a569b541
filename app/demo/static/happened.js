// @ts-check
// "What happened": an entry for each notification, whose steps fill as the service learns of them. While something
// may still happen, the service is asked once a second.

import { hasToken, listNotifications } from "./service.js";

const LOOK_EVERY_MS = 1000;
const PATIENCE_MS = 3 * 60_000; // after the last news

/**
 * @typedef {object} Told What GET /demo/notifications tells of one; times are ISO 8601, null before it happened.
 * @property {string} id
 * @property {string} title
 * @property {string} body
 * @property {string | null} accepted_at
 * @property {string | null} scheduled_at
 * @property {"pending" | "sent" | "delivered" | "failed" | "expired" | null} status
 * @property {string | null} reason
 * @property {number | null} response_code
 * @property {string | null} sent_at
 * @property {string | null} displayed_at
 * @property {string | null} clicked_at
 * @property {string | null} action
 * @property {string | null} closed_at
 *
 * @typedef {{done: boolean, name: string, time?: string | null, text?: string, isBad?: boolean}} Step
 */

const list = /** @type {HTMLOListElement} */ (document.getElementById("pushes"));
const template = /** @type {HTMLTemplateElement} */ (document.getElementById("push"));
const watching = /** @type {HTMLElement} */ (document.getElementById("watching"));
const news = /** @type {HTMLElement} */ (document.getElementById("news"));

let watchUntil = 0;
let isWatching = false;
let isFirstLook = true;

/** Look now, and once a second from now on, until there was no news for a while. */
export async function watch() {
  watchUntil = Date.now() + PATIENCE_MS;
  if (!hasToken()) {
    return;
  }
  if (isWatching) {
    await look();
    return;
  }
  isWatching = true;
  while (Date.now() < watchUntil) {
    await look();
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  isWatching = false;
  tellWhetherWatching("Nothing new for three minutes: this page looks again when something comes.");
}

async function look() {
  try {
    const { items } = await listNotifications();
    items.reverse().forEach(show); // the newest is put in last, at the top
    tellWhetherWatching();
    isFirstLook = false;
  } catch (error) {
    tellWhetherWatching(`${/** @type {Error} */ (error).message} Trying again …`);
  }
}

/** @param {string} [words] */
function tellWhetherWatching(words) {
  const text = words ?? (list.children.length ? "Each step appears here when it is reported." : "Nothing yet.");
  if (watching.textContent !== text) {
    watching.textContent = text;
  }
}

/**
 * List what the service worker just got, with its payload.
 * @param {{id?: string, title: string, body?: string}} push one that the service did not send has no id
 */
export function showReceived(push) {
  const id = push.id ?? crypto.randomUUID();
  const entry = find(id) ?? add(id, push.title, push.body ?? "");
  if (!push.id) {
    const unknown = { done: false, name: "Not from this service", text: "" };
    const untold = { done: false, name: "" }; // as the service knows nothing of it
    const displayed = { done: true, name: "Displayed", time: new Date().toISOString() };
    fill(entry, { accepted: unknown, sent: untold, displayed, answered: untold });
  }
  const payload = part(entry, "payload");
  payload.textContent = JSON.stringify(push, null, 2);
  /** @type {HTMLDetailsElement} */ (payload.closest("details")).hidden = false;
  void watch();
}

/** @param {Told} told */
function show(told) {
  fill(find(told.id) ?? add(told.id, told.title, told.body), stepsOf(told));
}

/** @param {string} id @returns {HTMLElement | undefined} */
function find(id) {
  return /** @type {HTMLElement[]} */ ([...list.children]).find((entry) => entry.dataset.id === id);
}

/** @param {string} id @param {string} title @param {string} body */
function add(id, title, body) {
  const entry = /** @type {HTMLElement} */ (template.content.cloneNode(true)).querySelector("li");
  if (!entry) {
    throw new Error("The page's template has no entry.");
  }
  entry.dataset.id = id;
  part(entry, "title").textContent = title;
  part(entry, "body").textContent = body;
  list.prepend(entry);
  tellWhetherWatching();
  return entry;
}

/** @param {Element} entry @param {string} name */
function part(entry, name) {
  return /** @type {HTMLElement} */ (entry.querySelector(`[data-part="${name}"]`));
}

/** @type {Record<string, Step>} */
const PENDING = {
  displayed: { done: false, name: "Displayed" },
  answered: { done: false, name: "Clicked" },
};

/** @param {Told} told @returns {Record<string, Step>} */
function stepsOf(told) {
  const { displayed_at: displayed, clicked_at: clicked, closed_at: closed, action } = told;
  return {
    accepted: { done: true, name: "Accepted", time: told.accepted_at },
    sent: sentStepOf(told),
    displayed: displayed ? { done: true, name: "Displayed", time: displayed } : PENDING.displayed,
    answered: clicked
      ? { done: true, name: action ? `Clicked “${action}”` : "Clicked", time: clicked }
      : closed
        ? { done: true, name: "Closed", time: closed }
        : PENDING.answered,
  };
}

/** @param {Told} told @returns {Step} */
function sentStepOf({ status, reason, response_code: code, sent_at: sent, scheduled_at: scheduled }) {
  const why = [code, reason].filter(Boolean).join(", ");
  if (status === "sent" || status === "delivered") {
    return { done: true, name: "Sent", time: sent };
  }
  if (status === "failed" || status === "expired") {
    return { done: true, isBad: true, name: status === "failed" ? "Failed" : "Expired", text: why };
  }
  if (status === "pending" && why) {
    return { done: false, name: "Waiting", text: why };
  }
  return { done: false, name: "Sent", text: scheduled ? `due ${clock(new Date(scheduled))}` : undefined };
}

/** @param {HTMLElement} entry @param {Record<string, Step>} steps */
function fill(entry, steps) {
  const start = Date.parse(steps.accepted.time ?? "");
  for (const [key, step] of Object.entries(steps)) {
    const line = /** @type {HTMLElement} */ (entry.querySelector(`[data-step="${key}"]`));
    const [name, time] = /** @type {[HTMLElement, HTMLTimeElement]} */ (/** @type {unknown} */ (line.children));
    const text = step.text ?? (step.time ? lapse(start, new Date(step.time)) : step.done ? "" : "not yet");
    const isNews = step.done && line.dataset.done !== "true";
    name.textContent = step.name;
    time.textContent = text;
    time.dateTime = step.time ?? "";
    time.title = step.time ? new Date(step.time).toLocaleString() : "";
    line.hidden = !step.name;
    line.dataset.done = String(step.done);
    line.dataset.bad = String(Boolean(step.isBad));
    if (isNews) {
      watchUntil = Date.now() + PATIENCE_MS;
      if (!isFirstLook) {
        news.textContent = `${part(entry, "title").textContent}: ${step.name} ${text}`;
      }
    }
  }
}

/** How long after the start it was; for the start itself, and what came much later, the time. */
function lapse(/** @type {number} */ start, /** @type {Date} */ at) {
  const seconds = (at.getTime() - start) / 1000;
  return seconds > 0 && seconds < 60 ? `+${seconds.toFixed(seconds < 10 ? 2 : 0)} s` : clock(at);
}

/** @param {Date} at */
function clock(at) {
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? at.toLocaleTimeString() : at.toLocaleString([], { dateStyle: "short", timeStyle: "short" });
}

document.addEventListener("visibilitychange", () => document.hidden || watch());
