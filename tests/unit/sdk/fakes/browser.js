// A browser with push, as push-client.js meets it: permission, a service worker, PushManager, locks, IndexedDB. What it
// keeps outlives the pages that are opened in it.

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

  /** The browser renews its subscription by itself, with the key of before. */
  renewByItself() {
    this.subscription = this.#make(this.subscription.options.applicationServerKey);
  }

  /** The globals of a page that was just opened. Locks of pages before are free. */
  open(fetch) {
    const browser = this;
    const held = new Map();
    const locks = {
      request: (name, task) => {
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
    const globals = {
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

  async #subscribe({ applicationServerKey }) {
    await this.onStep();
    const error = this.subscribeErrors.shift();
    if (error) {
      throw error;
    }
    const key = Uint8Array.from(atob(plain(applicationServerKey)), (character) => character.charCodeAt(0)).buffer;
    if (this.subscription && base64url(this.subscription.options.applicationServerKey) !== applicationServerKey) {
      throw new DOMException("There is one with another key.", "InvalidStateError");
    }
    this.subscription ??= this.#make(key);
    await this.onStep();
    return this.subscription;
  }

  #make(applicationServerKey) {
    const number = ++this.subscribed;
    const endpoint = `https://push.mozilla.example/${number}`;
    const subscription = {
      endpoint,
      options: { applicationServerKey },
      toJSON: () => ({ endpoint, expirationTime: null, keys: { p256dh: `p256dh-${number}`, auth: `auth-${number}` } }),
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

const plain = (text) => text.replaceAll("-", "+").replaceAll("_", "/");

const base64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
