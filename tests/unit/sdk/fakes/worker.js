// A service worker's global scope with push-sw.js in it, a screen, open pages and a push notification service.

import { readFileSync } from "node:fs";
import { FakeIndexedDB } from "./indexed_db.js";

const SOURCE = readFileSync(new URL("../../../../app/sdk/web/push-sw.js", import.meta.url), "utf8");
const NAME = "push-notification-service";

export const SITE = "https://www.example.com";
export const SCOPE = `${SITE}/app/`;
export const STATE = {
  service: "https://push.example.com",
  id: "4f2d",
  endpoint: "https://push.example.net/old",
  auth: "b2xk",
  applicationServerKey: "a2V5",
  topics: ["blog"],
  allowedOrigins: ["https://blog.example.com"],
};

export class FakeWorker {
  /** What is on the screen, newest last: a notification takes the place of one with the same tag. */
  screen = [];
  /** Each call of showNotification, refused ones, too. */
  shown = [];
  opened = [];
  badges = [];
  syncs = [];
  pages = [];
  requests = [];
  subscription = subscriptionOf("old");
  /** What the service answers: a status, or a function of the request that returns one, rejects or hangs. */
  answer = 200;
  /** Options that showNotification refuses. */
  refused = [];
  #listeners = {};

  constructor({ options, state = STATE, database = new FakeIndexedDB(), maxActions = 2, declares = {} } = {}) {
    this.database = database;
    if (state) {
      database?.seed(NAME, "state", SCOPE, state);
    }
    const fake = this;
    const fetch = async (url, request) => {
      this.requests.push({ url, ...request, json: JSON.parse(request.body) });
      const status = typeof this.answer === "function" ? await this.answer(url) : this.answer;
      return { status, ok: status >= 200 && status < 300 };
    };
    this.self = {
      addEventListener: (type, listener) => (this.#listeners[type] ??= []).push(listener),
      pushNotificationService: options,
      Notification: { maxActions },
      navigator: { setAppBadge: async (count) => void this.badges.push(count) },
      clients: {
        matchAll: async ({ type, includeUncontrolled }) => (type === "window" && includeUncontrolled ? this.pages : []),
        openWindow: async (url) => void this.opened.push(url),
      },
      registration: {
        scope: SCOPE,
        showNotification: async (title, options) => this.#show(title, options),
        getNotifications: async ({ tag } = {}) => this.screen.filter((shown) => !tag || shown.tag === tag),
        pushManager: {
          getSubscription: async () => this.subscription,
          subscribe: async (options) => (this.subscription = subscriptionOf("new", options.applicationServerKey)),
        },
        sync: { register: async (tag) => void this.syncs.push(tag) },
      },
      ...declares,
    };
    this.import = () =>
      new Function("self", "indexedDB", "fetch", "location", SOURCE)(
        fake.self,
        database ?? undefined,
        fetch,
        new URL("/service-worker.js", SITE),
      );
    this.import();
  }

  #show(title, options) {
    this.shown.push({ title, ...options });
    if (this.refused.some((name) => name in options)) {
      throw new TypeError("This browser does not take that.");
    }
    const notification = { title, ...options, close: () => (this.screen = this.screen.filter((n) => n !== notification)) };
    this.screen = [...this.screen.filter(({ tag }) => tag !== options.tag), notification];
  }

  /** Fire an event; resolve, when all that it was told to wait for is done, to whether that was anything. */
  async fire(type, event = {}) {
    const awaited = [];
    for (const listener of this.#listeners[type] ?? []) {
      listener({ ...event, waitUntil: (promise) => awaited.push(promise) });
    }
    await Promise.all(awaited);
    return awaited.length > 0;
  }

  push(payload) {
    return this.pushText(JSON.stringify(payload));
  }

  pushText(text) {
    return this.fire("push", { data: { json: () => JSON.parse(text), text: () => text } });
  }

  click(notification = this.screen.at(-1), action = "") {
    return this.fire("notificationclick", { notification, action });
  }

  close(notification = this.screen.at(-1)) {
    notification.close();
    return this.fire("notificationclose", { notification });
  }

  flush() {
    return this.fire("message", { data: { source: NAME, kind: "flush" } });
  }

  openPage(url, { focus = async () => {} } = {}) {
    const page = { url, messages: [], isFocused: false, postMessage: (message) => page.messages.push(message) };
    page.focus = async () => {
      await focus();
      page.isFocused = true;
    };
    this.pages.push(page);
    return page;
  }

  get receipts() {
    return this.requests.filter(({ url }) => url.endsWith("/receipts/")).flatMap(({ json }) => json.receipts);
  }

  get outbox() {
    return this.database.all(NAME, "outbox");
  }

  get state() {
    return this.database.get(NAME, "state", SCOPE);
  }
}

export function subscriptionOf(name, applicationServerKey = "a2V5") {
  const endpoint = `https://push.example.net/${name}`;
  const keys = { p256dh: `p256dh-${name}`, auth: Buffer.from(name).toString("base64url") };
  const key = Buffer.from(applicationServerKey, "base64url");
  const buffer = key.buffer.slice(key.byteOffset, key.byteOffset + key.byteLength);
  return { endpoint, options: { applicationServerKey: buffer }, toJSON: () => ({ endpoint, expirationTime: null, keys }) };
}
