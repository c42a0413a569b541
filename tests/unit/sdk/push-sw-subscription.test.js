// How push-sw.js keeps the service's copy of the subscription right while no page is open.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWorker, STATE, subscriptionOf } from "./fakes/worker.js";

const renewed = (name = "new", key) => {
  const { endpoint, ...rest } = subscriptionOf(name, key).toJSON();
  return { endpoint, auth: rest.keys.auth, applicationServerKey: key ?? STATE.applicationServerKey };
};

test("a subscription that the browser renewed replaces the one of before", async () => {
  const worker = await FakeWorker.start();
  worker.subscription = subscriptionOf("new", "bmV3");

  await worker.fire("pushsubscriptionchange", { newSubscription: worker.subscription });

  const [{ url, headers, json }] = worker.requests;
  assert.equal(url, "https://push.example.com/subscriptions/4f2d/replace");
  assert.deepEqual(headers, { "Content-Type": "application/json" });
  assert.deepEqual(json, {
    ...worker.subscription.toJSON(),
    old_auth: STATE.auth,
    application_server_key: "bmV3",
  });
  assert.deepEqual(worker.state, { ...STATE, ...renewed("new", "bmV3") });
});

for (const [what, event, key] of [
  ["the options of the old one", { oldSubscription: { options: { applicationServerKey: "b2xkZXI" } } }, "b2xkZXI"],
  ["the key that is stored", {}, STATE.applicationServerKey],
]) {
  test(`without a new subscription it subscribes again, with ${what}`, async () => {
    const worker = await FakeWorker.start();
    worker.subscription = null;

    await worker.fire("pushsubscriptionchange", event);

    assert.equal(worker.requests[0].json.application_server_key, key);
    assert.deepEqual(worker.state, { ...STATE, ...renewed("new", key) });
  });
}

for (const [moment, happen] of [
  ["the next push", (worker) => worker.push({ title: "T" })],
  ["a page's visit", (worker) => worker.visit()],
]) {
  test(`what could not be told is told at ${moment}`, async () => {
    const worker = await FakeWorker.start();
    worker.subscription = subscriptionOf("new");
    worker.answer = () => Promise.reject(new TypeError("Failed to fetch"));
    await worker.fire("pushsubscriptionchange", { newSubscription: worker.subscription });
    const before = worker.state;
    worker.answer = 200;

    await happen(worker);

    assert.deepEqual(before, STATE);
    assert.deepEqual(worker.state, { ...STATE, ...renewed() });
  });
}

for (const answer of [403, 404, 409, 422, 429, 503]) {
  test(`after a ${answer} all that is stored stays for the page to repair`, async () => {
    const worker = await FakeWorker.start();
    worker.subscription = subscriptionOf("new");
    worker.answer = answer;

    await worker.fire("pushsubscriptionchange", { newSubscription: worker.subscription });

    assert.deepEqual(worker.state, STATE);
  });
}

test("a subscription that is stored as it is costs no request", async () => {
  const worker = await FakeWorker.start();

  await worker.push({ title: "T" });
  await worker.visit();

  assert.deepEqual(worker.requests, []);
});

for (const [who, state] of [
  ["whom the service never knew", null],
  ["who turned notifications off", { ...STATE, wanted: false }],
  ["whose subscription the service deleted", { ...STATE, id: null }],
]) {
  test(`nobody is subscribed again ${who}`, async () => {
    const worker = await FakeWorker.start({ state });
    worker.subscription = null;

    await worker.fire("pushsubscriptionchange");

    assert.equal(worker.subscription, null);
    assert.deepEqual(worker.requests, []);
  });
}

test("whoever turned notifications off is not registered again by a push on its way", async () => {
  const worker = await FakeWorker.start({ state: { ...STATE, wanted: false } });
  worker.subscription = subscriptionOf("new");

  await worker.push({ title: "T" });

  assert.deepEqual(worker.requests, []);
});

test("a browser that does not subscribe again is left to the page", async () => {
  const worker = await FakeWorker.start();
  worker.subscription = null;
  worker.self.registration.pushManager.subscribe = () => Promise.reject(new DOMException("No.", "NotAllowedError"));

  await worker.fire("pushsubscriptionchange");

  assert.deepEqual(worker.state, STATE);
  assert.deepEqual(worker.requests, []);
});

test("a proxy's page is not taken for the service's word", async () => {
  const worker = await FakeWorker.start();
  worker.subscription = subscriptionOf("new");
  worker.answersPages = true;

  await worker.visit();

  assert.equal(worker.requests.length, 1);
  assert.deepEqual(worker.state, STATE);
});

test("what a page changed meanwhile is not undone", async () => {
  const worker = await FakeWorker.start();
  const changed = { ...STATE, auth: "cGFnZQ", endpoint: "https://push.example.net/page" };
  worker.subscription = subscriptionOf("new");
  worker.answer = async () => {
    await worker.store(changed);
    return 200;
  };

  await worker.visit();

  assert.deepEqual(worker.state, changed);
});

test("it waits for a page that is at the subscription itself", async () => {
  const worker = await FakeWorker.start();
  worker.subscription = subscriptionOf("new");
  worker.turn = new Promise(setImmediate).then(() => worker.store({ ...STATE, ...renewed() }));

  await worker.visit();

  assert.deepEqual(worker.requests, []);
});

test("a browser without locks repairs all the same", async () => {
  const worker = await FakeWorker.start({ browser: { navigator: {} } });
  worker.subscription = subscriptionOf("new");

  await worker.visit();

  assert.deepEqual(worker.state, { ...STATE, ...renewed() });
});
