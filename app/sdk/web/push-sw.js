// @ts-check
// The service worker's half of the SDK. A site's own service worker takes it in with one line:
//
//   importScripts("https://push.example.com/sdk/1.0.0/push-sw.js");
//
// It shows each push, follows clicks, keeps the subscription alive and reports what happened (receipts). What it
// has to know, push-client.js left in IndexedDB; a site may say it itself, before that line:
//
//   self.pushNotificationService = { service: "https://push.example.com", fallbackUrl: "/news", title: "My site" };

/**
 * @typedef {object} Options What a site may set. Each rules over what push-client.js stored.
 * @property {string} [service] base URL of the push notification service; without one nothing is reported
 * @property {string[]} [allowedOrigins] where clicks may lead besides the site's own origin
 * @property {string} [fallbackUrl] where a click leads that may not go where it should; "/" if left out
 * @property {string} [title] shown, like the body, for a push that cannot be read
 * @property {string} [body]
 * @property {string} [icon] for a push that brings none
 *
 * @typedef {{action: string, title: string, icon?: string, url?: string}} Action
 * @typedef {object} Push What came, flat. Each member has its type, whatever was sent; pictures' URLs are absolute.
 * @property {string} title
 * @property {string} tag
 * @property {Action[]} actions
 * @property {string} [id]
 * @property {string} [body]
 * @property {string} [type]
 * @property {string} [icon]
 * @property {string} [image]
 * @property {string} [badge]
 * @property {string} [url] as sent
 * @property {unknown} [data] the sender's own, as sent
 * @property {string} [created_at]
 * @property {string} [scheduled_at]
 * @property {number} [app_badge]
 * @property {string} [receipt] the right to report on this delivery
 *
 * @typedef {{service: string, token: string, event: string, action?: string, at: number}} Receipt
 * @typedef {Receipt & {number: number}} KeptReceipt
 */

(() => {
  const VERSION = "1.0.0";
  const NAME = "push-notification-service"; // of our database, lock, messages and background sync
  const MARK = "pushNotificationService"; // in a notification's data: it is ours
  const TOKEN = /^[\w-]{80}$/; // of a receipt
  const MAX_KEPT_RECEIPTS = 500;
  const MAX_RECEIPT_AGE_MS = 30 * 24 * 3600 * 1000;
  const RECEIPTS_PER_REQUEST = 100;
  const REQUEST_TIMEOUT_MS = 10_000;
  const SCREEN_PATIENCE_MS = 500;
  const DECLARATIVE_EVENT_MS = 2_000;

  const worker = /** @type {any} */ (self); // TypeScript's library knows few of the push events' members
  if (worker[MARK]?.version) {
    return; // taken in twice: a click opens one window
  }
  /** @type {Options} */
  const options = (worker[MARK] = Object.assign(worker[MARK] ?? {}, { version: VERSION, flush }));
  /** By tag, the id of the push that a person can still dismiss, null once it was clicked. */
  const dismissible = new Map();
  /** @type {Set<Promise<unknown>>} */
  const showing = new Set();
  /** @type {Set<Promise<unknown>>} */
  const looking = new Set();
  let sending = Promise.resolve(true);
  /** @type {Promise<boolean> | undefined} */
  let sendingNext;

  worker.addEventListener("push", (/** @type {any} */ event) => {
    event.waitUntil(event.notification ? receiveDeclarative(event) : receive(event.data));
  });
  worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
    const push = pushOf(event.notification);
    if (push) {
      event.waitUntil(click(event.notification, push, event.action));
    }
  });
  worker.addEventListener("notificationclose", (/** @type {any} */ event) => {
    const push = pushOf(event.notification);
    // Some browsers also call it closed when it was clicked, or another took its place.
    const isDismissed = push && (!dismissible.has(push.tag) || dismissible.get(push.tag) === push.id);
    if (isDismissed) {
      event.waitUntil(allOf(tellPages("closed", push), countOnBadge(push), report(push, "closed")));
    }
  });
  worker.addEventListener("pushsubscriptionchange", (/** @type {any} */ event) => {
    event.waitUntil(allOf(renew(event)));
  });
  worker.addEventListener("message", (/** @type {any} */ event) => {
    if (event.data?.source === NAME && event.data.kind === "flush") {
      event.waitUntil(allOf(flush(), repair()));
    }
  });
  worker.addEventListener("sync", (/** @type {any} */ event) => {
    if (event.tag === NAME) {
      event.waitUntil(flush().then((isEmpty) => isEmpty || Promise.reject(new Error("Receipts are left."))));
    }
  });

  // Showing

  /** @param {any} message PushMessageData, null for a push without a body */
  async function receive(message) {
    const push = read(message);
    if (await show(push)) {
      await allOf(tellPages("received", push), countOnBadge(push), report(push, "displayed"), repair());
    }
  }

  /**
   * A browser that reads declarative messages itself (Safari 18.4) puts the notification into the event and shows
   * it when the handler is done: showNotification would only replace it, by less. Nothing is shown when the handler
   * takes ten seconds, so this one ends early, whatever hangs.
   * Source: WebKit, ServiceWorkerRegistration::showNotification and "Meet Declarative Web Push".
   *
   * @param {any} event
   */
  async function receiveDeclarative({ notification, appBadge }) {
    const push = pushOf(notification, appBadge);
    if (push) {
      dismissible.set(push.tag, push.id);
      const work = allOf(tellPages("received", push), countOnBadge(push, 1), report(push, "displayed"), repair());
      await Promise.race([work, new Promise((resolve) => setTimeout(resolve, DECLARATIVE_EVENT_MS))]);
    }
  }

  /** Return whether it was shown. @param {Push} push */
  async function show(push) {
    const { id, title, body, icon, image, badge, tag, actions } = push;
    dismissible.set(tag, id);
    const before = await onScreen({ tag });
    const data = { ...asObject(push.data), [MARK]: push };
    const full = present({
      ...{ body, icon, image, badge, tag, data },
      actions: actions.slice(0, worker.Notification?.maxActions).map(({ url, ...action }) => action),
      timestamp: Date.parse(push.scheduled_at ?? push.created_at ?? "") || undefined,
      // A message that the service repeats, as it cannot know whether it arrived, must not alert twice.
      renotify: !before.some((notification) => pushOf(notification)?.id === id),
    });
    const plain = present({ body, tag, data });
    const bare = { ...plain, data: { [MARK]: { ...push, data: undefined } } }; // data may be too deep to be stored
    // Browsers end a subscription whose pushes show nothing: an option they do not take must not be the reason.
    for (const attempt of [full, plain, bare]) {
      try {
        await apart(showing, looking, () => worker.registration.showNotification(title, attempt));
        return true;
      } catch {
        continue;
      }
    }
    return false;
  }

  /** @param {{tag?: string}} [filter] @returns {Promise<any[]>} */
  async function onScreen(filter) {
    try {
      return await apart(looking, showing, () => worker.registration.getNotifications(filter));
    } catch {
      return [];
    }
  }

  /**
   * Do a task while none of the others runs, but do not wait for long: a picture may be slow to come.
   *
   * Who asks Chromium what is on screen makes it forget what is just being shown: it stays on the desktop, and a
   * click on it leads nowhere. (Seen on Linux, when messages come together, as they do after a night offline.)
   *
   * @template T
   * @param {Set<Promise<unknown>>} alike the tasks that may run at the same time
   * @param {Set<Promise<unknown>>} others
   * @param {() => Promise<T>} task
   */
  async function apart(alike, others, task) {
    const patientUntil = Date.now() + SCREEN_PATIENCE_MS;
    while (others.size > 0 && Date.now() < patientUntil) {
      const pause = new Promise((resolve) => setTimeout(resolve, SCREEN_PATIENCE_MS));
      await Promise.race([...others, pause]).catch(() => {});
    }
    const running = task();
    alike.add(running);
    try {
      return await running;
    } finally {
      alike.delete(running);
    }
  }

  // Reading

  /** @param {any} message @returns {Push} */
  function read(message) {
    try {
      const payload = message.json();
      const isDeclarative = payload?.web_push === 8030;
      return normalise(isDeclarative ? flatten(asObject(payload.notification), payload.app_badge) : payload);
    } catch {
      return normalise(null);
    }
  }

  /**
   * The flat form of a declarative notification, or of the Notification that a browser made of one.
   *
   * @param {any} notification
   * @param {unknown} [appBadge]
   */
  function flatten({ title, body, tag, icon, image, badge, navigate, actions, data }, appBadge) {
    const { url = navigate, ...rest } = asObject(data); // the url as it was sent, before it was made absolute
    return {
      ...{ ...rest, title, body, tag, icon, image, badge, url, app_badge: appBadge },
      actions: asList(actions).map((action) => ({ ...asObject(action), url: asObject(action).navigate })),
    };
  }

  /**
   * Take what has the right type. A push without a title is unreadable: it says only that something came.
   *
   * @param {unknown} payload
   * @returns {Push}
   */
  function normalise(payload) {
    const raw = asObject(payload);
    const title = asText(raw.title);
    const substitute = title ? undefined : (asText(options.body) ?? `There is news on ${location.host}.`);
    return /** @type {Push} */ (
      present({
        id: asText(raw.id),
        title: title ?? asText(options.title) ?? "New notification",
        body: asText(raw.body) ?? substitute,
        type: asText(raw.type),
        tag: asText(raw.tag) ?? asText(raw.id) ?? NAME, // so that a repeated message replaces the first
        icon: webUrl(raw.icon) ?? webUrl(options.icon),
        image: webUrl(raw.image),
        badge: webUrl(raw.badge),
        url: asText(raw.url),
        actions: asList(raw.actions).flatMap((value) => {
          const { action, title, icon, url } = asObject(value);
          const isComplete = asText(action) && asText(title);
          return isComplete ? present({ action, title, icon: webUrl(icon), url: asText(url) }) : [];
        }),
        data: raw.data,
        created_at: asText(raw.created_at),
        scheduled_at: asText(raw.scheduled_at),
        app_badge: Number.isSafeInteger(raw.app_badge) && raw.app_badge >= 0 ? raw.app_badge : undefined,
        receipt: asText(raw.receipt),
      })
    );
  }

  /**
   * Return what a notification shows; null for one of somebody else.
   *
   * @param {any} notification shown by this script, or by the browser itself as it was declarative
   * @param {unknown} [appBadge]
   * @returns {?Push}
   */
  function pushOf(notification, appBadge) {
    const data = asObject(notification.data);
    return data[MARK] ?? (TOKEN.test(data.receipt) ? normalise(flatten(notification, appBadge)) : null);
  }

  // Clicks

  /** @param {any} notification @param {Push} push @param {string} [action] empty for a click beside the buttons */
  async function click(notification, push, action) {
    dismissible.set(push.tag, null);
    notification.close();
    // The window first: a click gives the right to open one for a moment only.
    const window = follow(push, action);
    await allOf(window, tellPages("clicked", push, action), countOnBadge(push), report(push, "clicked", action));
  }

  /**
   * Focus the tab that shows the URL, or open one: nobody's other tab is taken away.
   *
   * @param {Push} push
   * @param {string} [action]
   */
  async function follow(push, action) {
    const wanted = push.actions.find((button) => button.action === action)?.url ?? push.url;
    const target = (await allowedUrl(wanted)) ?? webUrl(options.fallbackUrl) ?? `${location.origin}/`;
    const pages = await openPages();
    const isAtTarget = (/** @type {any} */ { url }) => url.split("#")[0] === target.split("#")[0];
    const open = pages.find(({ url }) => url === target) ?? pages.find(isAtTarget);
    const isFocused = open && (await open.focus().then(() => true, () => false));
    if (!isFocused) {
      await worker.clients.openWindow(target);
    }
  }

  /** Return a URL made absolute; undefined when clicks may not lead there. @param {string} [url] */
  async function allowedUrl(url) {
    const target = webUrl(url);
    const isAllowed = (/** @type {unknown} */ origin) => originOf(origin) === originOf(target);
    if (!target || isAllowed(location.origin)) {
      return target;
    }
    const { allowedOrigins } = await readState();
    return asList(allowedOrigins).some(isAllowed) ? target : undefined;
  }

  /** @returns {Promise<any[]>} */
  function openPages() {
    return worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  }

  /** @param {"received" | "clicked" | "closed"} kind @param {Push} push @param {string} [action] */
  async function tellPages(kind, { receipt, ...notification }, action) {
    for (const page of await openPages()) {
      page.postMessage({ source: NAME, kind, notification, action: action || undefined });
    }
  }

  /**
   * Put the push's own number on the app's icon, or that of the notifications on screen. The browser's answer is
   * not waited for: within a declarative push event Safari never gives one.
   * Source: WebKit, WorkerNavigator::setAppBadge.
   *
   * @param {Push} push
   * @param {number} [coming] how many are about to be shown
   */
  async function countOnBadge(push, coming = 0) {
    if (worker.navigator.setAppBadge) {
      const count = push.app_badge ?? (await onScreen()).length + coming;
      worker.navigator.setAppBadge(count).catch(() => {}); // 0 clears it
    }
  }

  // Receipts

  /**
   * Keep what happened until the service has it, and send all that is kept.
   *
   * @param {Push} push
   * @param {"displayed" | "clicked" | "closed"} event
   * @param {string} [action]
   */
  async function report(push, event, action) {
    const { service } = await readState();
    if (!service || !push.receipt) {
      return;
    }
    /** @type {Receipt} */
    const receipt = { service, token: push.receipt, event, action: action || undefined, at: Date.now() };
    try {
      await inStore("outbox", "readwrite", (outbox) => outbox.add(receipt));
    } catch {
      await send(service, [receipt]); // without IndexedDB, as in some private windows, it is now or never
      return;
    }
    await flush();
  }

  /**
   * Send what is kept, once what is being sent now is through: one request serves all who come meanwhile.
   * Resolves to whether nothing is left; never rejects.
   */
  function flush() {
    sendingNext ??= sending.then(() => {
      sendingNext = undefined;
      sending = sendKept().catch(() => false);
      return sending;
    });
    return sendingNext;
  }

  async function sendKept() {
    /** @type {KeptReceipt[]} */
    const kept = await inStore("outbox", "readonly", (outbox) => outbox.getAll());
    const recent = kept.filter(({ at }) => at > Date.now() - MAX_RECEIPT_AGE_MS).slice(-MAX_KEPT_RECEIPTS);
    await drop(kept.filter((receipt) => !recent.includes(receipt)));
    const batches = inBatches(recent);
    for (const batch of batches) {
      if (await send(batch[0].service, batch)) {
        await drop(batch);
        batches.delete(batch);
      }
    }
    if (batches.size > 0) {
      // Where there is background sync, the browser calls us once it is online; else the next push or visit does.
      await worker.registration.sync?.register(NAME);
    }
    return batches.size === 0;
  }

  /** @param {KeptReceipt[]} receipts @returns {Set<KeptReceipt[]>} each for one request to one service */
  function inBatches(receipts) {
    const batches = new Set();
    for (const service of new Set(receipts.map((receipt) => receipt.service))) {
      const all = receipts.filter((receipt) => receipt.service === service);
      while (all.length > 0) {
        batches.add(all.splice(0, RECEIPTS_PER_REQUEST));
      }
    }
    return batches;
  }

  /**
   * Return whether the service is done with them: it has them, or never will.
   *
   * @param {string} service
   * @param {Receipt[]} kept
   */
  async function send(service, kept) {
    const now = Date.now();
    const receipts = kept.map(({ token, event, action, at }) => {
      // How long ago, not when: the browser's clock may be wrong.
      return { token, event, action, seconds_ago: Math.max(0, (now - at) / 1000) };
    });
    try {
      // As text/plain, browsers need not ask for leave first (CORS); kept alive, it outlives this worker.
      const more = { headers: { "Content-Type": "text/plain" }, keepalive: true };
      const { ok, status } = await post(service, "receipts/", { receipts }, more);
      return ok || (status >= 400 && status < 500 && ![408, 425, 429].includes(status));
    } catch {
      return false;
    }
  }

  /** @param {KeptReceipt[]} receipts */
  async function drop(receipts) {
    if (receipts.length > 0) {
      await inStore("outbox", "readwrite", (outbox) => receipts.map(({ number }) => outbox.delete(number))[0]);
    }
  }

  // The subscription

  /** @param {any} event a PushSubscriptionChangeEvent; browsers leave out one of its subscriptions, or both */
  function renew({ newSubscription, oldSubscription }) {
    return alone(async () => {
      const { id, wanted, applicationServerKey } = await readState();
      const { pushManager } = worker.registration;
      if (id && wanted !== false && !newSubscription && !(await pushManager.getSubscription())) {
        const key = oldSubscription?.options?.applicationServerKey ?? applicationServerKey;
        await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
      }
      await replace();
    });
  }

  /** Tell the service of a subscription that has changed, where that failed before. */
  function repair() {
    return alone(replace);
  }

  /** When this fails, the state stays as it is, so that the next push, message or visit tries again. */
  async function replace() {
    const { service, id, wanted, ...state } = await readState();
    const subscription = await worker.registration.pushManager.getSubscription();
    const isRegistered = service && id && state.auth && wanted !== false;
    if (!isRegistered || !subscription || subscription.endpoint === state.endpoint) {
      return;
    }
    const renewed = subscription.toJSON();
    const key = subscription.options?.applicationServerKey;
    const applicationServerKey = key ? base64url(key) : state.applicationServerKey;
    const body = { ...renewed, old_auth: state.auth, application_server_key: applicationServerKey };
    const { ok } = await post(service, `subscriptions/${id}/replace`, body);
    if (ok) {
      const { endpoint, keys } = renewed;
      await changeState(state.auth, { endpoint, auth: keys.auth, applicationServerKey });
    }
  }

  /** Run a task while no page changes the subscription. @param {() => Promise<void>} task */
  async function alone(task) {
    const { locks } = worker.navigator;
    const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS); // of the waiting
    await (locks ? locks.request(`${NAME} ${worker.registration.scope}`, { signal }, task) : task());
  }

  /** @param {string} service @param {string} path @param {object} body @param {RequestInit} [more] */
  async function post(service, path, body, more) {
    const response = await fetch(`${service.replace(/\/+$/, "")}/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      credentials: "omit",
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      ...more,
    });
    if (/\bhtml\b/.test(response.headers.get("Content-Type") ?? "")) {
      throw new Error("A page answered, so it was something between us and the service.");
    }
    return response;
  }

  // What page and worker share, in IndexedDB

  /** @returns {Promise<Record<string, any>>} what push-client.js stored, and the site's options over it */
  async function readState() {
    const { service, allowedOrigins } = options;
    const reading = inStore("state", "readonly", (states) => states.get(worker.registration.scope));
    return { ...(await reading.catch(() => null)), ...present({ service, allowedOrigins }) };
  }

  /** Change the state, unless the page did meanwhile. @param {string} auth that it had @param {object} change */
  async function changeState(auth, change) {
    await inStore("state", "readwrite", (states) => {
      const reading = states.get(worker.registration.scope);
      reading.onsuccess = () => {
        if (reading.result?.auth === auth) {
          states.put({ ...reading.result, ...change }, worker.registration.scope);
        }
      };
      return reading;
    });
  }

  /**
   * Run a transaction on one store. Resolves to the result of the request that `work` returns.
   *
   * @param {"state" | "outbox"} name
   * @param {IDBTransactionMode} mode
   * @param {(store: IDBObjectStore) => IDBRequest} work
   * @returns {Promise<any>}
   */
  async function inStore(name, mode, work) {
    const database = await openDatabase();
    try {
      return await new Promise((resolve, reject) => {
        const transaction = database.transaction(name, mode);
        const request = work(transaction.objectStore(name));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = () => reject(transaction.error);
      });
    } finally {
      database.close();
    }
  }

  /** @returns {Promise<IDBDatabase>} */
  function openDatabase() {
    return new Promise((resolve, reject) => {
      const opening = indexedDB.open(NAME, 1);
      opening.onupgradeneeded = () => {
        opening.result.createObjectStore("state");
        opening.result.createObjectStore("outbox", { keyPath: "number", autoIncrement: true });
      };
      opening.onsuccess = () => resolve(opening.result);
      opening.onerror = () => reject(opening.error);
    });
  }

  // Values

  /** Wait for all; one that fails costs nothing but itself. @param {Promise<unknown>[]} tasks */
  function allOf(...tasks) {
    return Promise.allSettled(tasks);
  }

  /** @param {unknown} value @returns {string | undefined} undefined unless it is text that says something */
  function asText(value) {
    return typeof value === "string" && value.trim() ? value : undefined;
  }

  /** @param {unknown} value @returns {Record<string, any>} empty unless it is an object */
  function asObject(value) {
    return typeof value === "object" && value !== null ? value : {};
  }

  /** @param {unknown} value @returns {any[]} empty unless it is a list */
  function asList(value) {
    return Array.isArray(value) ? value : [];
  }

  /** Leave out what is null: a browser would read it as the URL "null". @param {Record<string, any>} object */
  function present(object) {
    return Object.fromEntries(Object.entries(object).filter(([, value]) => value != null));
  }

  /** Return a URL made absolute; undefined unless it is http or https. @param {unknown} value */
  function webUrl(value) {
    try {
      const { protocol, href } = new URL(asText(value) ?? "none:", location.origin);
      return ["http:", "https:"].includes(protocol) ? href : undefined;
    } catch {
      return undefined;
    }
  }

  /** @param {unknown} value */
  function originOf(value) {
    const url = webUrl(value);
    return url && new URL(url).origin;
  }

  /** @param {ArrayBuffer} key */
  function base64url(key) {
    const text = btoa(String.fromCharCode(...new Uint8Array(key)));
    return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }
})();
