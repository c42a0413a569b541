// @ts-check
// Turns notifications on and off in a page, and keeps what the browser is subscribed with and what the service has
// stored of it the same. The service worker's half is push-sw.js; types for users are in push-client.d.ts.
//
//   const push = new PushClient({ service: "https://push.example.com", token: async () => "<JWT>" });
//   button.onclick = () => push.subscribe({ topics: ["blog"] }); // the only call that asks for permission

export const VERSION = "1.0.0";

const NAME = "push-notification-service"; // of the database, of the lock, and of messages between page and worker
const REQUEST_MS = 15_000;
const TOKEN_MS = 15_000;
const TURN_MS = 60_000;
const WORKER_MS = 10_000;
const PUSH_SERVICE_MS = 30_000;
const PUBLIC_KEY = /^B[\w-]{86}$/; // an uncompressed point, 65 bytes, base64url without padding
const FIRST_IOS_WITH_PUSH = [16, 4];

/**
 * @typedef {import("./push-client.js").PushClient} PushClientApi
 * @typedef {import("./push-client.js").PushError} PushErrorApi
 * @typedef {import("./push-client.js").PushStatus} PushStatus
 * @typedef {import("./push-client.js").PushOptions} PushOptions
 * @typedef {ServiceWorkerRegistration} Registration
 * @typedef {{topics?: string[]}} Wish what the person asked for just now
 *
 * What page and worker remember of a worker's scope. `wanted`: the person turned notifications on, and not off
 * since; an `id` that is not wanted is still to be deleted at the service. `userId`: whose topics these are, null
 * for whoever is there. Keys are base64url without padding.
 * @typedef {{
 *   service: string, allowedOrigins: string[], wanted: boolean, topics: string[], id: string | null,
 *   endpoint: string | null, auth: string | null, applicationServerKey: string | null,
 *   enabled: boolean, userId: string | null,
 * }} State
 *
 * What the service answers about a subscription.
 * @typedef {{
 *   id: string, auth: string, topics: string[], enabled: boolean, user_id: string | null, gone_at: string | null,
 * }} Stored
 */

/** @implements {PushErrorApi} */
export class PushError extends Error {
  /**
   * @param {PushErrorApi["code"]} code
   * @param {string} message
   * @param {Partial<Pick<PushErrorApi, "status" | "problem" | "retryAfter" | "cause">>} [more]
   */
  constructor(code, message, { status, problem, retryAfter, cause } = {}) {
    super(message, { cause });
    this.name = "PushError";
    this.code = code;
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** @implements {PushClientApi} */
export class PushClient extends EventTarget {
  #options;
  #service;
  /** @type {Promise<Registration> | undefined} */
  #registering;
  /** @type {Promise<void> | undefined} */
  #visiting;
  /** @type {NotificationPermission | undefined} */
  #permission; // at the last visit
  /** @type {PushError | undefined} */
  #trouble;
  #patientUntil = 0; // milliseconds since 1970: the service asked not to be called before
  /** @type {PushStatus["repaired"]} */
  #repaired;
  /** @type {State | undefined} */
  #unkept; // what the browser could not keep
  #announced = "";

  /** @param {PushOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#service = new URL(options.service, globalThis.location?.href).href.replace(/\/+$/, "");
    globalThis.navigator?.serviceWorker?.addEventListener("message", ({ data }) => this.#hear(data));
    globalThis.addEventListener?.("online", () => this.#comeBack());
  }

  /** @returns {Promise<PushStatus>} how things are, after putting right what came apart since the last visit */
  async status() {
    await this.#visit();
    return this.#describe();
  }

  /**
   * Turn notifications on. Call it from a click, and await nothing before: this asks for permission.
   * @param {Wish} [wish] topics left out, those of before stay
   * @returns {Promise<PushStatus>}
   */
  async subscribe(wish = {}) {
    seeThatItCan();
    // Nothing is awaited before: Safari and Firefox ask only within the click.
    const permission = await Notification.requestPermission();
    if (permission === "denied") {
      throw new PushError("permission-denied", BLOCKED);
    }
    if (permission !== "granted") {
      throw new PushError("permission-dismissed", "The browser's question was not answered.");
    }
    await this.#alone(async (registration) => {
      const known = await this.#load(registration);
      // What was turned off is not taken up again: it may be that of somebody who has logged out.
      const saved = known && (known.wanted ? known : { ...known, ...NOT_STORED });
      const topics = wish.topics ?? saved?.topics ?? [];
      const changes = { wanted: true, topics, ...(wish.topics && { userId: null }) };
      await this.#agree(registration, await this.#save(registration, saved, changes), wish);
    });
    return this.#done();
  }

  /**
   * Turn notifications off, also when somebody logs out. Works offline: the service is told at the next visit.
   * @returns {Promise<PushStatus>}
   */
  async unsubscribe() {
    seeThatItCan();
    const changes = { topics: [], userId: null };
    await this.#attempt(() => this.#alone((registration) => this.#leave(registration, changes)));
    return this.#describe();
  }

  /**
   * @param {string[]} topics replace those of before
   * @returns {Promise<PushStatus>}
   */
  async setTopics(topics) {
    seeThatItCan();
    await this.#visit();
    await this.#alone(async (registration) => {
      const saved = await this.#load(registration);
      if (!saved?.wanted || !saved.id || !saved.auth) {
        throw this.#trouble ?? new PushError("off", "Notifications are off in this browser: turn them on first.");
      }
      try {
        const stored = await this.#call("PUT", pathOf(saved.id), { auth: saved.auth, body: { topics } });
        await this.#save(registration, saved, { topics: stored.topics, enabled: stored.enabled });
      } catch (error) {
        if (!isStatus(error, 404)) {
          throw error;
        }
        await this.#agree(registration, saved, { topics });
      }
    });
    return this.#done();
  }

  /**
   * Reconcile, once a page load for all who call; again only if it failed, and not before the service wants it, or
   * if the permission has changed.
   */
  async #visit() {
    if (findObstacle() || Date.now() < this.#patientUntil) {
      return;
    }
    if (this.#permission !== Notification.permission) {
      this.#permission = Notification.permission;
      this.#visiting = undefined;
    }
    this.#visiting ??= this.#attempt(() => this.#alone((registration) => this.#reconcile(registration)));
    await this.#visiting;
  }

  /** @param {() => Promise<unknown>} task what may fail without anything being lost: the status tells why */
  async #attempt(task) {
    try {
      await task();
      this.#trouble = undefined;
    } catch (error) {
      this.#trouble = asPushError(error);
      this.#patientUntil = Date.now() + 1000 * (this.#trouble.retryAfter ?? 0);
      this.#visiting = undefined;
    }
  }

  #done() {
    this.#trouble = undefined;
    this.#permission = Notification.permission;
    this.#visiting = Promise.resolve();
    return this.#describe();
  }

  /** @returns {Promise<PushStatus>} */
  async #describe() {
    const status = await this.#current();
    const text = JSON.stringify(status);
    if (text !== this.#announced) {
      this.#announced = text;
      this.dispatchEvent(new CustomEvent("change", { detail: status }));
    }
    return status;
  }

  /** @returns {Promise<PushStatus>} */
  async #current() {
    const obstacle = findObstacle();
    if (obstacle) {
      return { state: "unsupported", ...obstacle, permission: "default", topics: [], id: null };
    }
    const permission = Notification.permission;
    const registration = await this.#registering?.catch(() => undefined);
    const saved = registration && (await this.#load(registration));
    const topics = saved?.topics ?? [];
    if (permission === "denied") {
      return { state: "blocked", explanation: BLOCKED, permission, topics, id: null };
    }
    const isStored = Boolean(saved?.wanted && saved.id && permission === "granted");
    /** @type {PushStatus} */
    const status = {
      state: isStored && saved?.enabled ? "on" : "off",
      permission,
      topics,
      id: (isStored && saved?.id) || null,
    };
    if (this.#repaired) {
      status.repaired = this.#repaired;
    }
    if (this.#trouble) {
      return { ...status, reason: this.#trouble.code, explanation: this.#trouble.message };
    }
    if (isStored && !saved?.enabled) {
      return { ...status, reason: "disabled", explanation: "Notifications were switched off at the service." };
    }
    return status;
  }

  /** @param {Registration} registration */
  async #reconcile(registration) {
    registration.active?.postMessage({ source: NAME, kind: "flush" });
    const saved = await this.#load(registration);
    const browser = await registration.pushManager.getSubscription();
    if (!saved && !browser) {
      return; // never turned on: nothing is asked of anybody
    }
    if (saved?.wanted === false || Notification.permission !== "granted") {
      await this.#leave(registration);
    } else {
      await this.#agree(registration, saved ?? (await this.#save(registration, saved, { wanted: true })));
    }
  }

  /**
   * End the subscription: in the browser first, which is what counts, then at the service, also where the browser
   * could not. That it is not wanted is written down before, so that the next visit goes on with what is left.
   * @param {Registration} registration
   * @param {Partial<State>} [changes]
   */
  async #leave(registration, changes = {}) {
    const saved = await this.#save(registration, await this.#load(registration), { ...changes, wanted: false });
    const browser = await registration.pushManager.getSubscription();
    const failure = await browser?.unsubscribe().then(() => null, asPushError);
    if (saved.id) {
      try {
        await this.#call("DELETE", pathOf(saved.id), { auth: saved.auth });
      } catch (error) {
        if (!isStatus(error, 404)) {
          throw error;
        }
      }
    }
    if (failure) {
      throw failure;
    }
    await this.#save(registration, saved, NOT_STORED);
  }

  /**
   * See that the browser is subscribed under the service's key, and that the service has stored exactly that.
   *
   * Whatever moment the page is closed in, the next visit finds what is left to do: the secret of before stays in
   * the state until the service has the new one, and replacing is safe to repeat.
   * @param {Registration} registration
   * @param {State} saved
   * @param {Wish} [wish]
   */
  async #agree(registration, saved, wish) {
    for (const isLast of [false, true]) {
      const key = await this.#publicKey();
      let browser = await registration.pushManager.getSubscription();
      let madeWith = browser && (keyOf(browser) ?? saved.applicationServerKey);
      if (browser && saved.id && madeWith !== key) {
        this.#note("key-changed", saved);
        await browser.unsubscribe();
        browser = null;
      }
      if (!browser) {
        this.#note("vanished", saved);
        browser = await subscribeBrowser(registration, key);
        madeWith = key;
      }
      try {
        const stored = await this.#tell(saved, browser, madeWith ?? key, wish);
        saved = await this.#save(registration, saved, stateOf(stored, browser, madeWith ?? key));
        if (isLast || (!stored.gone_at && madeWith === key)) {
          return;
        }
        // Its push service ended it. Or nothing was remembered of it but the service: now it can be replaced.
        this.#note(stored.gone_at ? "gone" : "key-changed", saved);
      } catch (error) {
        // Stored for somebody else with other keys, or made with a key that is retired: another one helps.
        if (isLast || !(isStatus(error, 409) || isUnknownKey(error))) {
          throw error;
        }
      }
      await browser.unsubscribe();
    }
  }

  /**
   * Have the service store what the browser has, and return what it stores then.
   * @param {State} saved
   * @param {PushSubscription} browser
   * @param {string} key
   * @param {Wish} [wish]
   * @returns {Promise<Stored>}
   */
  async #tell(saved, browser, key, wish) {
    const auth = authOf(browser);
    const topics = wish?.topics && { topics: wish.topics };
    const offer = { ...browser.toJSON(), application_server_key: key, ...topics };
    try {
      if (saved.id && saved.auth && (saved.endpoint !== browser.endpoint || saved.auth !== auth)) {
        this.#note("endpoint-changed", saved);
        return await this.#replace(saved.id, { ...offer, old_auth: saved.auth, ...(wish && { enabled: true }) });
      }
      if (saved.id) {
        const stored = await this.#call("GET", pathOf(saved.id), { auth });
        if (stored.auth === auth && (stored.gone_at || !wish)) {
          return stored;
        }
      }
    } catch (error) {
      if (!isStatus(error, 404)) {
        throw error;
      }
    }
    const stored = await this.#call("POST", "/subscriptions/", { body: offer });
    // Another person at this computer starts without topics; who was nobody by name and logged in keeps them.
    const isSamePerson = saved.userId === null || saved.userId === stored.user_id;
    if (!wish) {
      this.#note(isSamePerson ? "forgotten" : "handed-over", saved);
    }
    if (isSamePerson && stored.id !== saved.id && saved.topics.length > 0 && !wish?.topics) {
      return this.#call("PUT", pathOf(stored.id), { auth, body: { topics: saved.topics } });
    }
    return stored;
  }

  /**
   * The old secret is the proof, so that nobody who is logged out at the moment loses a subscription to a new key.
   * A token is sent all the same where there is one: with it requests are counted by person, not by address.
   * @param {string} id
   * @param {object} body
   * @returns {Promise<Stored>}
   */
  async #replace(id, body) {
    const path = `/subscriptions/${id}/replace`;
    try {
      return await this.#call("POST", path, { body });
    } catch (error) {
      if (!(error instanceof PushError) || error.code !== "token") {
        throw error;
      }
    }
    return this.#call("POST", path, { body, isPublic: true });
  }

  /** @returns {Promise<string>} what to subscribe with; nobody may lose a subscription for anything else */
  async #publicKey() {
    const { tenant } = this.#options;
    const query = tenant ? `?tenant=${encodeURIComponent(tenant)}` : "";
    const key = (await this.#call("GET", `/vapid/public-key${query}`, { isPublic: true }))?.public_key;
    if (!PUBLIC_KEY.test(key)) {
      throw new PushError("service", "What answered at the push service's address is not the push service.");
    }
    return key;
  }

  /** @param {NonNullable<PushStatus["repaired"]>} repair @param {State} saved */
  #note(repair, saved) {
    if (saved.id || repair === "forgotten") {
      this.#repaired ??= repair;
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{body?: object, auth?: string | null, isPublic?: boolean}} [more]
   * @param {boolean} [refresh] whether the token before was refused
   * @returns {Promise<any>} the JSON answer, null when there is none
   */
  async #call(method, path, more = {}, refresh = false) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (!more.isPublic) {
      headers.Authorization = `Bearer ${await this.#bearer(refresh)}`;
    }
    if (more.auth) {
      headers["X-Subscription-Auth"] = more.auth;
    }
    if (more.body) {
      headers["Content-Type"] = "application/json";
    }
    const body = more.body && JSON.stringify(more.body);
    const signal = AbortSignal.timeout(REQUEST_MS);
    let response, text;
    try {
      response = await fetch(this.#service + path, { method, headers, body, signal, cache: "no-store" });
      text = await response.text();
    } catch (cause) {
      throw new PushError("offline", "The push service of this site could not be reached.", { cause });
    }
    if (response.status === 401 && !more.isPublic && !refresh) {
      return this.#call(method, path, more, true);
    }
    const answer = parse(text);
    if (!response.ok || (text && !answer)) {
      throw refusal(response, answer);
    }
    return answer;
  }

  /** @param {boolean} refresh */
  async #bearer(refresh) {
    let token;
    try {
      const late = new PushError("token", "The site did not give a token in time.");
      token = await within(TOKEN_MS, Promise.resolve(this.#options.token({ refresh })), late);
    } catch (cause) {
      throw new PushError("token", "The site gave no token.", { cause });
    }
    if (!token || typeof token !== "string") {
      throw new PushError("token", "The site gave no token: nobody is logged in.");
    }
    return token;
  }

  /**
   * Run a task while no other tab of the site runs one.
   * @template T
   * @param {(registration: Registration) => Promise<T>} task
   */
  async #alone(task) {
    this.#registering ??= register(this.#options);
    this.#registering.catch(() => (this.#registering = undefined));
    const registration = await this.#registering;
    const turn = () => task(registration);
    const signal = AbortSignal.timeout(TURN_MS); // of the waiting, as the browser may have frozen a tab in its turn
    const { locks } = navigator;
    try {
      return await (locks ? locks.request(`${NAME} ${registration.scope}`, { signal }, turn) : turn());
    } catch (error) {
      throw asPushError(error);
    }
  }

  /** @param {Registration} registration @returns {Promise<State | undefined>} */
  async #load({ scope }) {
    try {
      return this.#unkept ?? (await inStore("readonly", (store) => store.get(scope)));
    } catch {
      return undefined;
    }
  }

  /**
   * @param {Registration} registration
   * @param {State | undefined} saved
   * @param {Partial<State>} changes
   */
  async #save({ scope }, saved, changes) {
    const allowedOrigins = this.#options.allowedOrigins ?? saved?.allowedOrigins ?? [];
    const state = { ...NOTHING, ...saved, service: this.#service, allowedOrigins, ...changes };
    try {
      await inStore("readwrite", (store) => store.put(state, scope));
      this.#unkept = undefined;
    } catch {
      this.#unkept = state; // the service finds the subscription by its endpoint at the next visit
    }
    return state;
  }

  /** @param {any} message from a service worker, perhaps the site's own */
  #hear(message) {
    if (message?.source === NAME && ["received", "clicked", "closed"].includes(message.kind)) {
      const { kind, notification, action } = message;
      this.dispatchEvent(new CustomEvent(kind, { detail: { notification, action } }));
    }
  }

  async #comeBack() {
    const registration = await this.#registering?.catch(() => undefined);
    registration?.active?.postMessage({ source: NAME, kind: "flush" });
    if (this.#trouble) {
      await this.status();
    }
  }
}

const BLOCKED =
  "Notifications are blocked here. Allow them for this site in the browser's settings; private windows have none.";

const NOT_STORED = { id: null, endpoint: null, auth: null, applicationServerKey: null, enabled: true };

/** @type {State} */
const NOTHING = { service: "", wanted: false, topics: [], userId: null, allowedOrigins: [], ...NOT_STORED };

/** @param {string} id */
const pathOf = (id) => `/subscriptions/${id}/`;

/** @param {unknown} error @param {number} status */
const isStatus = (error, status) => error instanceof PushError && error.status === status;

/** @param {unknown} error */
function isUnknownKey(error) {
  const problem = error instanceof PushError ? /** @type {{type?: string}} */ (error.problem) : undefined;
  return problem?.type === "/problems/unknown-application-server-key";
}

/** @param {PushSubscription} browser */
const authOf = (browser) => browser.toJSON().keys?.auth ?? "";

/** @param {PushSubscription} browser @returns {string | null} its key, base64url without padding */
function keyOf(browser) {
  const key = browser.options?.applicationServerKey;
  const binary = String.fromCharCode(...new Uint8Array(key ?? []));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "") || null;
}

/** @param {Stored} stored @param {PushSubscription} browser @param {string} applicationServerKey */
function stateOf({ id, topics, enabled, user_id: userId }, browser, applicationServerKey) {
  return { id, topics, enabled, userId, endpoint: browser.endpoint, auth: authOf(browser), applicationServerKey };
}

/** @param {string} text @returns {any} null for what is no JSON */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {Response} response @param {any} problem */
function refusal({ status, headers }, problem) {
  const words = problem?.detail ?? problem?.title ?? `The push service of this site answered ${status}.`;
  const seconds = Number(headers.get("Retry-After") ?? NaN);
  const retryAfter = Number.isFinite(seconds) ? seconds : undefined;
  return new PushError(status === 401 ? "token" : "service", words, { status, problem, retryAfter });
}

/** @param {unknown} error */
function asPushError(error) {
  const words = error instanceof Error ? error.message : String(error);
  return error instanceof PushError ? error : new PushError("browser", words, { cause: error });
}

function seeThatItCan() {
  const obstacle = findObstacle();
  if (obstacle) {
    throw new PushError("unsupported", obstacle.explanation);
  }
}

/**
 * Say why this browser can have no push at all, and what a person can do about it.
 * @returns {{reason: NonNullable<PushStatus["reason"]>, explanation: string} | undefined}
 */
function findObstacle() {
  if (!globalThis.isSecureContext) {
    return { reason: "insecure", explanation: "Notifications need https, or http on localhost." };
  }
  if ("serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis) {
    return undefined;
  }
  const { userAgent, maxTouchPoints } = navigator;
  // iPads say that they are Macs, but no Mac has a touch screen.
  if (!/iPhone|iPad|iPod/.test(userAgent) && !(/Macintosh/.test(userAgent) && maxTouchPoints > 1)) {
    return { reason: "no-push", explanation: "This browser, or this kind of window, has no push notifications." };
  }
  const version = /(?: OS |Version\/)(\d+)[._](\d+)/.exec(userAgent);
  const { standalone } = /** @type {{standalone?: boolean}} */ (navigator); // Apple's own
  const isInstalled = standalone || matchMedia("(display-mode: standalone)").matches;
  if (isInstalled || (version && isBefore(version.slice(1).map(Number), FIRST_IOS_WITH_PUSH))) {
    return { reason: "ios-too-old", explanation: "Notifications need iOS or iPadOS 16.4 or later." };
  }
  return {
    reason: "ios-not-installed",
    explanation:
      "On iPhone and iPad, notifications are for apps on the Home Screen. Tap Share, then “Add to Home Screen”," +
      " and open the site from there.",
  };
}

/** @param {number[]} version @param {number[]} other */
function isBefore([major, minor], [otherMajor, otherMinor]) {
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}

/** @param {PushOptions} options @returns {Promise<Registration>} with an active worker */
async function register({ worker, scope }) {
  const { serviceWorker } = navigator;
  const words = worker
    ? "The site's service worker does not start."
    : "This page has no service worker. Say which: new PushClient({ worker: \"/service-worker.js\", … }).";
  try {
    const registered = worker ? serviceWorker.register(worker, { scope }).then(activated) : serviceWorker.ready;
    return await within(WORKER_MS, registered, new PushError("worker", words));
  } catch (cause) {
    throw cause instanceof PushError ? cause : new PushError("worker", `${words} ${cause}`, { cause });
  }
}

/** @param {Registration} registration @returns {Promise<Registration>} */
function activated(registration) {
  const worker = registration.installing ?? registration.waiting;
  return new Promise((resolve, reject) => {
    if (registration.active || !worker) {
      resolve(registration);
    }
    worker?.addEventListener("statechange", () => {
      if (worker.state === "activated") {
        resolve(registration);
      } else if (worker.state === "redundant") {
        reject(new Error("Its installation failed."));
      }
    });
  });
}

/** @param {Registration} registration @param {string} key @returns {Promise<PushSubscription>} */
async function subscribeBrowser({ pushManager }, key) {
  const late = new PushError("push-service", "The browser's push service does not answer. Try again later.");
  const options = { userVisibleOnly: true, applicationServerKey: key };
  try {
    return await within(PUSH_SERVICE_MS, pushManager.subscribe(options), late);
  } catch (error) {
    if (!(error instanceof DOMException) || error.name !== "InvalidStateError") {
      throw explained(error);
    }
  }
  // There is a subscription with another key after all: another tab was faster.
  await (await pushManager.getSubscription())?.unsubscribe();
  return within(PUSH_SERVICE_MS, pushManager.subscribe(options), late).catch((error) => {
    throw explained(error);
  });
}

/** @param {unknown} cause of pushManager.subscribe() failing */
function explained(cause) {
  const name = cause instanceof DOMException ? cause.name : "";
  if (cause instanceof PushError) {
    return cause;
  }
  if (name === "NotAllowedError") {
    return new PushError("permission-denied", BLOCKED, { cause });
  }
  if (name === "AbortError") {
    const words =
      "The browser could not reach its push service. It is offline, or push is switched off in its settings" +
      " (Brave: “Use Google services for push messaging”).";
    return new PushError("push-service", words, { cause });
  }
  return new PushError("push-service", `The browser could not subscribe: ${cause}`, { cause });
}

/**
 * @template T
 * @param {number} milliseconds
 * @param {Promise<T>} promise
 * @param {PushError} otherwise thrown when the promise takes longer
 * @returns {Promise<T>}
 */
function within(milliseconds, promise, otherwise) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  /** @type {Promise<never>} */
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(otherwise), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** @returns {Promise<IDBDatabase>} the one that push-sw.js opens, too, with the same upgrade */
function openDatabase() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("state");
    request.result.createObjectStore("outbox", { keyPath: "number", autoIncrement: true });
  };
  return answer(request);
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} work
 * @returns {Promise<T>} its result, once it is kept
 */
async function inStore(mode, work) {
  const database = await openDatabase();
  try {
    const transaction = database.transaction("state", mode);
    const request = work(transaction.objectStore("state"));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    return request.result;
  } finally {
    database.close();
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
