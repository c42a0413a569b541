// A browser with push, as push-client.js meets it: permission, a service worker, PushManager, locks, IndexedDB.
// What it keeps outlives the pages that are opened in it.

import { FakeIndexedDB } from "./indexed-db.js";

export const SITE = "https://blog.example.com";
export const SCOPE = `${SITE}/`;

export class FakeBrowser {
  permission = "default";
  answer = "granted"; // what the person says when asked
  questions = 0;
  subscription = null;
  subscribed = 0; // how often at its push service
  subscribeErrors = []; // thrown by the next calls of PushManager.subscribe
  indexedDB = new FakeIndexedDB();
  posted = []; // messages to the worker
  timers = new Set(); // what waits for its time, which comes when a test says so
  onStep = async () => {}; // awaited before and after each step that changes something

  constructor() {
    const browser = this;
    this.registration = {
      scope: SCOPE,
      active: { postMessage: (message) => this.posted.push(message) },
      pushManager: {
        getSubscription: async () => browser.subscription,
        subscribe: (options) => browser.#subscribe(options),
      },
    };
    this.indexedDB.onPut = () => this.onStep();
  }

  /** What the SDK remembers. */
  get state() {
    return this.indexedDB.content("state")[SCOPE];
  }

  /** Let the time pass that anything waits for. */
  letTimePass() {
    for (const run of this.timers) {
      run();
    }
  }

  goOnline() {
    this.window.dispatchEvent(new Event("online"));
  }

  /** The browser renews its subscription by itself, with the key of before. */
  renewByItself() {
    this.subscription = this.#make(this.subscription.options.applicationServerKey);
  }

  /** The same endpoint, with other keys. */
  renewKeys() {
    const { endpoint, options } = this.subscription;
    this.subscription = this.#make(options.applicationServerKey, endpoint);
  }

  /** The globals of a page that was just opened. Locks of pages before are free. */
  open(fetch) {
    const browser = this;
    const held = new Map();
    const locks = {
      request: (name, _options, task) => {
        const turn = (held.get(name) ?? Promise.resolve()).then(task);
        held.set(name, turn.catch(() => {}));
        return turn;
      },
    };
    this.container = Object.assign(new EventTarget(), {
      ready: Promise.resolve(this.registration),
      register: async (worker, options) => {
        browser.registered = [worker, options];
        return browser.registration;
      },
    });
    this.window = new EventTarget();
    const globals = {
      setTimeout: (run) => {
        this.timers.add(run);
        return run;
      },
      clearTimeout: (run) => this.timers.delete(run),
      addEventListener: this.window.addEventListener.bind(this.window),
      isSecureContext: true,
      location: new URL(SITE),
      indexedDB: this.indexedDB,
      PushManager: class {},
      Notification: {
        get permission() {
          return browser.permission;
        },
        requestPermission: async () => {
          browser.questions += 1;
          if (browser.permission === "default") {
            browser.permission = browser.answer;
          }
          return browser.permission;
        },
      },
      navigator: { userAgent: "Firefox", maxTouchPoints: 0, serviceWorker: this.container, locks },
      matchMedia: () => ({ matches: false }),
      fetch,
    };
    for (const [name, value] of Object.entries(globals)) {
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
  }

  async #subscribe({ applicationServerKey, userVisibleOnly }) {
    await this.onStep();
    if (!userVisibleOnly) {
      throw new DOMException("Chromium wants every push to be shown.", "NotAllowedError");
    }
    const error = this.subscribeErrors.shift();
    if (error) {
      throw error;
    }
    const key = new Uint8Array(Buffer.from(applicationServerKey, "base64url")).buffer;
    if (this.subscription && base64url(this.subscription.options.applicationServerKey) !== applicationServerKey) {
      throw new DOMException("There is one with another key.", "InvalidStateError");
    }
    this.subscription ??= this.#make(key);
    await this.onStep();
    return this.subscription;
  }

  #make(applicationServerKey, known) {
    const number = ++this.subscribed;
    const endpoint = known ?? `https://push.mozilla.example/${number}`;
    const keys = { p256dh: `p256dh-${number}`, auth: `auth-${number}` };
    const subscription = {
      endpoint,
      options: { applicationServerKey },
      toJSON: () => ({ endpoint, expirationTime: null, keys }),
      unsubscribe: async () => {
        await this.onStep();
        if (this.subscription === subscription) {
          this.subscription = null;
        }
        await this.onStep();
        return true;
      },
    };
    return subscription;
  }
}

const base64url = (buffer) => Buffer.from(buffer).toString("base64url");
