// What push-client.js makes of tokens that are refused, of a service, a browser or a worker that fails.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PushClient, PushError } from "../../../app/sdk/web/push-client.js";
import { BASE, KEY, NEXT_KEY } from "./fakes/service.js";
import { World } from "./fakes/world.js";

test("a token that was refused is asked for once more, as a fresh one", async () => {
  const world = new World();
  const asked = [];
  const token = ({ refresh }) => {
    asked.push(refresh);
    return refresh ? "alice" : "expired";
  };
  world.visit();
  const push = new PushClient({ service: BASE, token });

  const { state } = await push.subscribe();

  assert.deepEqual([state, asked], ["on", [false, true]]);
});

for (const [what, token, requests] of [
  ["refused twice", () => "expired", 2],
  ["not there", () => null, 0],
  ["no text", () => ({ access: "alice" }), 0],
  ["not to be had", () => Promise.reject(new Error("The site is down.")), 0],
]) {
  test(`a token that is ${what} is told, and asked for no more`, async () => {
    const world = new World();
    world.visit();
    const push = new PushClient({ service: BASE, token });

    await assert.rejects(push.subscribe(), { code: "token" });

    assert.equal(world.service.count("POST"), requests);
  });
}

test("a token that never comes is told, and holds up no other tab", async () => {
  const world = await World.subscribed();
  let hangs;
  const asked = new Promise((resolve) => (hangs = resolve));
  const token = () => (hangs(), new Promise(() => {}));
  const other = world.visit();
  const stuck = new PushClient({ service: BASE, token });
  const statuses = Promise.all([stuck.status(), other.status()]);

  await asked;
  world.browser.letTimePass();

  assert.deepEqual(
    (await statuses).map(({ state, reason }) => [state, reason]),
    [
      ["on", "token"],
      ["on", undefined],
    ],
  );
});

test("a refusal carries status, problem and how long to wait, and nothing is tried again", async () => {
  const world = new World();
  const push = world.visit();
  const problem = { type: "/problems/rate-limited", detail: "The limit is 100/hour. Try again in 60 s." };
  world.service.refusals = [
    [200, { public_key: KEY }],
    [429, problem, { "Retry-After": "60" }],
  ];

  const error = await push.subscribe().catch((thrown) => thrown);

  assert.ok(error instanceof PushError);
  const { code, status, retryAfter, message } = error;
  assert.deepEqual([code, status, retryAfter, message], ["service", 429, 60, problem.detail]);
  assert.deepEqual([error.problem, world.service.count("POST")], [problem, 1]);
});

test("what was asked for while the service could not be reached is done at the next visit", async () => {
  const world = new World();
  world.service.isAway = true;

  await assert.rejects(world.visit().subscribe({ topics: ["blog"] }), { code: "offline" });
  world.service.isAway = false;
  const { state, topics } = await world.visit().status();

  assert.deepEqual([state, topics, world.differences], ["on", ["blog"], []]);
});

for (const [name, code, words] of [
  ["AbortError", "push-service", /Brave/],
  ["NotAllowedError", "permission-denied", /blocked/],
  ["SyntaxError", "push-service", /could not subscribe/],
]) {
  test(`${name} of the browser's push service is explained`, async () => {
    const world = new World();
    world.browser.subscribeErrors = [new DOMException("Registration failed", name)];

    await assert.rejects(world.visit().subscribe(), { code, message: words });
  });
}

for (const [name, act] of [
  ["subscribe", (push) => push.subscribe()],
  ["setTopics", (push) => push.setTopics(["sport"])],
]) {
  test(`whatever else the browser refuses, ${name}() throws a PushError`, async () => {
    const world = await World.subscribed();
    const cause = new DOMException("The profile is damaged.", "AbortError");
    const push = world.visit();
    await push.status();
    Object.defineProperty(globalThis.navigator, "locks", { value: { request: () => Promise.reject(cause) } });

    const error = await act(push).catch((thrown) => thrown);

    assert.ok(error instanceof PushError);
    assert.deepEqual([error.code, error.message, error.cause], ["browser", cause.message, cause]);
  });
}

test("a subscription with another key that turns up late makes way", async () => {
  const world = new World();
  const push = world.visit();
  const { pushManager } = world.browser.registration;
  const { subscribe } = pushManager;
  pushManager.subscribe = async (options) => {
    pushManager.subscribe = subscribe;
    await subscribe({ ...options, applicationServerKey: NEXT_KEY }); // another tab is faster
    return subscribe(options);
  };

  const { state } = await push.subscribe();

  assert.deepEqual([state, world.service.stored[0].key, world.differences], ["on", KEY, []]);
  assert.equal(world.browser.subscribed, 2);
});

test("an endpoint that is refused, and the next one too, is told and not tried for ever", async () => {
  const world = new World();
  const push = world.visit();
  const taken = [409, { type: "/problems/endpoint-taken" }];
  world.service.refusals = [[200, { public_key: KEY }], taken, [200, { public_key: KEY }], taken];

  await assert.rejects(push.subscribe(), { code: "service", status: 409 });

  assert.equal(world.service.count("POST"), 2);
});

test("a push service that never answers is told, not waited for", async () => {
  const world = new World();
  const push = world.visit();
  world.browser.registration.pushManager.subscribe = () => {
    queueMicrotask(() => queueMicrotask(() => world.browser.letTimePass()));
    return new Promise(() => {});
  };

  await assert.rejects(push.subscribe(), { code: "push-service", message: /does not answer/ });
});

test("the site's worker is registered when the page says which", async () => {
  const world = new World();

  await world.visit({ worker: "/sw.js", scope: "/" }).status();

  assert.deepEqual(world.browser.registered, ["/sw.js", { scope: "/" }]);
});

test("the worker that is being installed is waited for", async () => {
  const world = new World();
  const { registration } = world.browser;
  const { active } = registration;
  const installing = Object.assign(new EventTarget(), { state: "installing" });
  Object.assign(registration, { active: null, installing });
  const subscribed = world.visit({ worker: "/sw.js" }).subscribe();
  await new Promise(setImmediate);

  changeState(installing, "installed");
  await new Promise(setImmediate);
  const meanwhile = world.service.requests.length;
  changeState(installing, "activating");
  Object.assign(registration, { active, installing: null });
  changeState(installing, "activated");

  assert.equal((await subscribed).state, "on");
  assert.equal(meanwhile, 0);
});

test("a worker whose installation fails is told", async () => {
  const world = new World();
  const installing = Object.assign(new EventTarget(), { state: "installing" });
  Object.assign(world.browser.registration, { active: null, installing });
  const subscribed = world.visit({ worker: "/sw.js" }).subscribe();
  await new Promise(setImmediate);

  changeState(installing, "redundant");

  await assert.rejects(subscribed, { code: "worker", message: /installation failed/ });
});

function changeState(worker, state) {
  worker.state = state;
  worker.dispatchEvent(new Event("statechange"));
}

test("a worker whose next version is being installed is not waited for", async () => {
  const world = new World();
  world.browser.registration.installing = Object.assign(new EventTarget(), { state: "installing" });

  const { state } = await world.visit({ worker: "/sw.js" }).subscribe();

  assert.equal(state, "on");
});

test("a worker that does not install is told, and tried again with the next call", async () => {
  const world = new World();
  const push = world.visit({ worker: "/sw.js" });
  const register = world.browser.container.register;
  world.browser.container.register = () => Promise.reject(new TypeError("Failed to update a ServiceWorker"));

  await assert.rejects(push.subscribe(), { code: "worker", message: /Failed to update/ });
  world.browser.container.register = register;

  assert.equal((await push.subscribe()).state, "on");
});

test("a page without a worker is told so", async () => {
  const world = new World();
  const push = world.visit();
  Object.defineProperty(world.browser.container, "ready", { value: new Promise(() => {}) });

  const status = push.status();
  await new Promise(setImmediate);
  world.browser.letTimePass();

  const { state, reason, explanation } = await status;
  assert.deepEqual([state, reason], ["off", "worker"]);
  assert.match(explanation, /no service worker/);
});
