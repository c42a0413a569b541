// A service worker with push-sw.js in it, as a browser runs it: a screen, open pages, the push manager, IndexedDB,
// and a push notification service that answers what a test wants.

import { readFileSync } from "node:fs";
import { FakeIndexedDB } from "./indexed-db.js";

const SCRIPT = readFileSync(new URL("../../../../app/sdk/web/push-sw.js", import.meta.url), "utf8");
const NAME = "push-notification-service";

export const SITE = "https://www.example.com";
export const SCOPE = `${SITE}/app/`;
export const TOKEN = "t".repeat(80);
export const STATE = {
  service: "https://push.example.com",
  wanted: true,
  id: "4f2d",
  endpoint: "https://push.example.net/old",
  auth: "b2xk",
  applicationServerKey: "a2V5",
  topics: ["blog"],
  allowedOrigins: ["https://blog.example.com"],
};

export class FakeWorker {
  screen = []; // oldest first; a notification takes the place of the one with its tag
  shown = []; // each call of showNotification, refused ones, too
  refused = []; // options that showNotification does not take
  pages = [];
  opened = [];
  badges = [];
  syncs = [];
  requests = [];
  answer = 200; // of the service: a status, or a function of the URL that returns one or fails
  answersPages = false; // as a proxy does that does not find the service
  subscription = subscriptionOf("old");
  turn = Promise.resolve(); // of those who want the lock
  now = Date.parse("2026-11-23T07:00:00Z");
  timers = [];
  #listeners = {};

  /**
   * @param {{options?: object, state?: object | null, database?: FakeIndexedDB, browser?: object}} [given]
   *   state: what push-client.js stored; browser: members of the global scope that differ
   */
  static async start({ options, state = STATE, database = new FakeIndexedDB(), browser = {} } = {}) {
    const worker = new FakeWorker();
    worker.database = database;
    if (state) {
      await worker.store(state);
    }
    worker.self = { ...worker.#scope(), pushNotificationService: options, ...browser };
    worker.import();
    return worker;
  }

  import() {
    const globals = {
      self: this.self,
      indexedDB: this.database,
      location: new URL("/service-worker.js", SITE),
      fetch: (url, request) => this.#fetch(url, request),
      setTimeout: (done) => this.timers.push(done),
      Date: { now: () => this.now, parse: Date.parse },
    };
    new Function(...Object.keys(globals), SCRIPT)(...Object.values(globals));
  }

  #scope() {
    return {
      addEventListener: (type, listener) => (this.#listeners[type] ??= []).push(listener),
      Notification: { maxActions: 2 },
      navigator: {
        setAppBadge: async (count) => void this.badges.push(count),
        locks: { request: (_name, _options, task) => (this.turn = this.turn.catch(() => {}).then(task)) },
      },
      clients: {
        matchAll: async ({ type, includeUncontrolled }) =>
          type === "window" && includeUncontrolled ? this.pages : [],
        openWindow: async (url) => {
          this.opened.push(url);
          return null;
        },
      },
      registration: {
        scope: SCOPE,
        showNotification: async (title, options) => this.#show(title, options),
        getNotifications: async ({ tag } = {}) => this.screen.filter((shown) => !tag || shown.tag === tag),
        pushManager: {
          getSubscription: async () => this.subscription,
          subscribe: async ({ applicationServerKey, userVisibleOnly }) =>
            (this.subscription = userVisibleOnly ? subscriptionOf("new", applicationServerKey) : null),
        },
        sync: { register: async (tag) => void this.syncs.push(tag) },
      },
    };
  }

  async #fetch(url, request) {
    this.requests.push({ url, ...request, json: JSON.parse(request.body) });
    const status = typeof this.answer === "function" ? await this.answer(url) : this.answer;
    const headers = new Headers({ "Content-Type": this.answersPages ? "text/html" : "application/json" });
    return { status, headers, ok: status >= 200 && status < 300 };
  }

  #show(title, options) {
    this.shown.push({ title, ...options });
    if (this.refused.some((name) => name in options)) {
      throw new TypeError("This browser does not take that.");
    }
    const notification = { title, ...structuredClone(options) };
    notification.close = () => (this.screen = this.screen.filter((other) => other !== notification));
    this.screen = [...this.screen.filter(({ tag }) => tag !== options.tag), notification];
  }

  /** Fire an event. Resolves once all that it was told to wait for is done, to whether that was anything. */
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

  click(action = "", notification = this.screen.at(-1)) {
    return this.fire("notificationclick", { notification, action });
  }

  /** The person waves a notification away. */
  dismiss(notification = this.screen.at(-1)) {
    notification.close();
    return this.fire("notificationclose", { notification });
  }

  /** What push-client.js asks at each visit, and when the browser is online again. */
  visit() {
    return this.fire("message", { data: { source: NAME, kind: "flush" } });
  }

  openPage(url, focus = async () => {}) {
    const page = { url, messages: [], isFocused: false, postMessage: (message) => page.messages.push(message) };
    page.focus = async () => {
      await focus();
      page.isFocused = true;
    };
    this.pages.push(page);
    return page;
  }

  /** Keep a state as push-client.js does. */
  store(state) {
    return this.#write("state", (states) => states.put(state, SCOPE));
  }

  /** Keep receipts as the worker does that could not send them: token-1, token-2, ... */
  keepReceipts(count, receipt = {}) {
    const kept = { service: STATE.service, event: "displayed", at: this.now, ...receipt };
    return this.#write("outbox", (outbox) => {
      for (let number = 1; number <= count; number += 1) {
        outbox.add({ ...kept, token: `token-${number}` });
      }
    });
  }

  #write(store, work) {
    return new Promise((resolve) => {
      const opening = this.database.open(NAME, 1);
      opening.onerror = resolve;
      opening.onupgradeneeded = () => {
        opening.result.createObjectStore("state");
        opening.result.createObjectStore("outbox", { keyPath: "number", autoIncrement: true });
      };
      opening.onsuccess = () => {
        const transaction = opening.result.transaction(store, "readwrite");
        work(transaction.objectStore(store));
        transaction.oncomplete = resolve;
      };
    });
  }

  /** What was reported, in the order of the requests. */
  get receipts() {
    return this.requests.filter(({ url }) => url.endsWith("/receipts/")).flatMap(({ json }) => json.receipts);
  }

  get events() {
    return this.receipts.map(({ event }) => event);
  }

  get outbox() {
    return Object.values(this.database.content("outbox"));
  }

  get state() {
    return this.database.content("state")[SCOPE];
  }
}

/** A subscription as PushManager gives it, known by its name. */
export function subscriptionOf(name, applicationServerKey = STATE.applicationServerKey) {
  const json = {
    endpoint: `https://push.example.net/${name}`,
    expirationTime: null,
    keys: { p256dh: `p256dh-${name}`, auth: Buffer.from(name).toString("base64url") },
  };
  const key = Uint8Array.from(Buffer.from(applicationServerKey, "base64url")).buffer;
  return { endpoint: json.endpoint, options: { applicationServerKey: key }, toJSON: () => json };
}
