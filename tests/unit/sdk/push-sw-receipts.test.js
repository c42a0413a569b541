// How push-sw.js reports what happened: kept until the service has it, sent in batches, never twice on purpose.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeIndexedDB } from "./fakes/indexed-db.js";
import { FakeWorker, STATE, TOKEN } from "./fakes/worker.js";

const PUSH = { id: "n1", title: "New post", receipt: TOKEN };
const OFFLINE = () => Promise.reject(new TypeError("Failed to fetch"));

/** A worker whose receipts of so many pushes are kept, as it was offline. */
async function offlineAfter(count, receipt) {
  const worker = await FakeWorker.start();
  await worker.keepReceipts(count, receipt);
  return worker;
}

test("a receipt is posted so that it needs no leave, no cookie and no open page", async () => {
  const worker = await FakeWorker.start();

  await worker.push(PUSH);

  const [{ url, method, headers, credentials, keepalive, signal, json }] = worker.requests;
  assert.deepEqual([url, method], ["https://push.example.com/receipts/", "POST"]);
  assert.deepEqual([headers, credentials, keepalive], [{ "Content-Type": "text/plain" }, "omit", true]);
  assert.ok(signal instanceof AbortSignal);
  assert.deepEqual(json, { receipts: [{ token: TOKEN, event: "displayed", seconds_ago: 0 }] });
});

test("the notification is on the screen, and the receipt kept, before the service is asked", async () => {
  const worker = await FakeWorker.start();
  const asked = new Promise((resolve) => {
    worker.answer = () => {
      resolve([worker.screen.length, worker.outbox.map(({ token }) => token)]);
      return new Promise(() => {});
    };
  });

  void worker.push(PUSH);

  assert.deepEqual(await asked, [1, [TOKEN]]);
});

for (const answer of [200, 204, 400, 403, 404, 413, 422]) {
  test(`after a ${answer} the service is done with a receipt`, async () => {
    const worker = await FakeWorker.start();
    worker.answer = answer;

    await worker.push(PUSH);

    assert.deepEqual(worker.outbox, []);
    assert.deepEqual(worker.syncs, []);
  });
}

for (const answer of [408, 425, 429, 500, 502, 503, OFFLINE]) {
  test(`after ${typeof answer === "number" ? `a ${answer}` : "no answer"} a receipt is kept`, async () => {
    const worker = await FakeWorker.start();
    worker.answer = answer;

    await worker.push(PUSH);

    assert.deepEqual(
      worker.outbox.map(({ service, token, event, at }) => [service, token, event, at]),
      [[STATE.service, TOKEN, "displayed", worker.now]],
    );
    assert.deepEqual(worker.syncs, ["push-notification-service"]);
  });
}

for (const answer of [200, 403, 404]) {
  test(`after a ${answer} that is a page, not the service's word, a receipt is kept`, async () => {
    const worker = await FakeWorker.start();
    Object.assign(worker, { answer, answersPages: true });

    await worker.push(PUSH);

    assert.deepEqual(worker.outbox.map(({ token }) => token), [TOKEN]);
  });
}

for (const [moment, happen] of [
  ["the next push", (worker) => worker.push(PUSH)],
  ["a page's visit", (worker) => worker.visit()],
  ["background sync", (worker) => worker.fire("sync", { tag: "push-notification-service" })],
  ["the site's own call", (worker) => worker.self.pushNotificationService.flush()],
]) {
  test(`what was kept is sent at ${moment}`, async () => {
    const worker = await offlineAfter(1);

    await happen(worker);

    assert.equal(worker.receipts[0].token, "token-1");
    assert.deepEqual(worker.outbox, []);
  });
}

test("messages and syncs of the site are left alone", async () => {
  const worker = await offlineAfter(1);

  for (const data of [null, "flush", { kind: "flush" }, { source: "push-notification-service", kind: "other" }]) {
    assert.equal(await worker.fire("message", { data }), false);
  }
  assert.equal(await worker.fire("sync", { tag: "site" }), false);

  assert.deepEqual(worker.requests, []);
});

test("a background sync that could not send all is tried again by the browser", async () => {
  const worker = await offlineAfter(1);
  worker.answer = 503;

  const sync = worker.fire("sync", { tag: "push-notification-service" });

  await assert.rejects(sync, /Receipts are left/);
  assert.equal(await worker.self.pushNotificationService.flush(), false);
});

test("a browser without background sync keeps receipts all the same", async () => {
  const worker = await FakeWorker.start();
  delete worker.self.registration.sync;
  worker.answer = 503;

  await worker.push(PUSH);

  assert.equal(worker.outbox.length, 1);
});

test("receipts go a hundred a request, each to its service", async () => {
  const worker = await offlineAfter(202);
  await worker.keepReceipts(1, { service: "https://other.example/push/" });

  await worker.visit();

  assert.deepEqual(
    worker.requests.map(({ url, json }) => [url, json.receipts.length]),
    [
      ["https://push.example.com/receipts/", 100],
      ["https://push.example.com/receipts/", 100],
      ["https://push.example.com/receipts/", 2],
      ["https://other.example/push/receipts/", 1],
    ],
  );
  assert.deepEqual(worker.outbox, []);
});

test("a service that is down does not hold up another", async () => {
  const worker = await offlineAfter(1);
  await worker.keepReceipts(1, { service: "https://other.example" });
  worker.answer = (url) => (url.startsWith(STATE.service) ? 503 : 200);

  await worker.visit();

  assert.deepEqual(
    worker.outbox.map(({ service }) => service),
    [STATE.service],
  );
});

test("no more than the newest 500 are kept", async () => {
  const worker = await offlineAfter(502);
  worker.answer = 503;

  await worker.visit();

  assert.deepEqual([worker.outbox.length, worker.outbox[0].token], [500, "token-3"]);
});

test("what is older than thirty days is dropped", async () => {
  const worker = await offlineAfter(1);
  worker.now += 30 * 24 * 3600 * 1000;

  await worker.visit();

  assert.deepEqual([worker.requests, worker.outbox], [[], []]);
});

for (const [passed, seconds] of [
  [90_500, 90.5],
  [-3_600_000, 0],
]) {
  test(`a receipt sent when the clock moved by ${passed} ms says ${seconds} s ago`, async () => {
    const worker = await offlineAfter(1);
    worker.now += passed;

    await worker.visit();

    assert.equal(worker.receipts[0].seconds_ago, seconds);
  });
}

test("two who send at once do not send the same", async () => {
  const worker = await offlineAfter(1);

  await Promise.all([worker.visit(), worker.visit(), worker.push(PUSH)]);

  assert.deepEqual(worker.receipts.map(({ token }) => token).sort(), [TOKEN, "token-1"].sort());
});

test("receipts of pushes that come together go together", async () => {
  const worker = await FakeWorker.start();
  const ids = Array.from({ length: 10 }, (_, number) => `n${number}`);
  let release;
  const held = new Promise((resolve) => (release = () => resolve(200)));
  worker.answer = () => held;

  const first = worker.push(PUSH);
  while (worker.requests.length === 0) {
    await new Promise(setImmediate);
  }
  const others = ids.map((id) => worker.push({ ...PUSH, id, receipt: id }));
  while (worker.outbox.length <= ids.length) {
    await new Promise(setImmediate);
  }
  release();
  await Promise.all([first, ...others]);

  assert.deepEqual(
    worker.requests.map(({ json }) => json.receipts.length),
    [1, ids.length],
  );
});

for (const [what, trouble] of [
  ["without IndexedDB", { isBroken: true }],
  ["where nothing more can be kept", { isFull: true }],
]) {
  test(`${what} a receipt is sent at once`, async () => {
    const database = Object.assign(new FakeIndexedDB(), trouble);
    const worker = await FakeWorker.start({ database, state: null, options: { service: STATE.service } });

    await worker.push(PUSH);

    assert.deepEqual(worker.events, ["displayed"]);
  });
}

test("what cannot be read is not called empty", async () => {
  const worker = await FakeWorker.start();
  worker.database.isBroken = true;

  assert.equal(await worker.self.pushNotificationService.flush(), false);
});

test("a worker that was there before any page keeps receipts, too", async () => {
  const worker = await FakeWorker.start({ state: null, options: { service: STATE.service } });
  worker.answer = 503;

  await worker.push(PUSH);

  assert.equal(worker.outbox.length, 1);
});

for (const [what, push, given] of [
  ["a service that nobody named", PUSH, { state: null }],
  ["a push that carries no right to report", { ...PUSH, receipt: undefined }, {}],
]) {
  test(`${what} gets no report, and the push is shown`, async () => {
    const worker = await FakeWorker.start(given);

    await worker.push(push);

    assert.equal(worker.screen.length, 1);
    assert.deepEqual([worker.requests, worker.outbox], [[], []]);
  });
}

test("the site's own word for the service rules over what the page stored", async () => {
  const worker = await FakeWorker.start({ options: { service: "https://eu.push.example.com" } });

  await worker.push(PUSH);

  assert.equal(worker.requests[0].url, "https://eu.push.example.com/receipts/");
});
