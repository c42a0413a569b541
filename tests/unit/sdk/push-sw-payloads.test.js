// What push-sw.js makes of the payloads that come: declarative ones, and ones that nobody can read.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DECLARATIVE, PUSH } from "./fakes/payloads.js";
import { FakeWorker, SITE } from "./fakes/worker.js";

test("a declarative message is shown like the classic one", async () => {
  const [classic, declarative] = [await FakeWorker.start(), await FakeWorker.start()];

  await classic.push(PUSH);
  await declarative.push(DECLARATIVE);

  const { actions, ...expected } = classic.shown[0].data.pushNotificationService;
  const { actions: buttons, ...mark } = declarative.shown[0].data.pushNotificationService;
  assert.deepEqual(mark, expected);
  assert.deepEqual(buttons, [actions[0], { ...actions[1], url: PUSH.url }]);
  assert.deepEqual({ ...declarative.shown[0], data: null }, { ...classic.shown[0], data: null });
  assert.deepEqual(declarative.badges, [7]);
});

const WRONG = Object.fromEntries(Object.keys(PUSH).map((name) => [name, [{ 5: null }]]));
for (const [what, text] of [
  ["empty text", ""],
  ["text", "Hello"],
  ["half of a JSON text", '{"title":"New po'],
  ["null", "null"],
  ["a number", "5"],
  ["a list", '[{"title":"New post"}]'],
  ["an empty object", "{}"],
  ["wrong types in every member", JSON.stringify(WRONG)],
  ["a blank title", '{"title":" "}'],
  ["a declarative message of nothing", '{"web_push":8030}'],
  ["a declarative message of wrong types", JSON.stringify({ web_push: 8030, notification: WRONG, app_badge: "5" })],
]) {
  test(`something is shown for ${what}`, async () => {
    const worker = await FakeWorker.start();

    await worker.pushText(text);

    assert.deepEqual(
      worker.screen.map(({ title, body }) => [title, body]),
      [["New notification", "There is news on www.example.com."]],
    );
    assert.deepEqual(worker.requests, []);
  });
}

test("something is shown for a push without a body", async () => {
  const worker = await FakeWorker.start();

  await worker.fire("push", { data: null });

  assert.equal(worker.screen[0].title, "New notification");
});

test("what is wrong in a push costs only itself", async () => {
  const worker = await FakeWorker.start();

  await worker.push({ ...WRONG, title: "New post", actions: [null, { action: "a" }, { action: "b", title: "B" }] });

  const [{ title, body, tag, timestamp, actions }] = worker.shown;
  assert.deepEqual([title, body, tag, timestamp], ["New post", undefined, "push-notification-service", undefined]);
  assert.deepEqual(actions, [{ action: "b", title: "B" }]);
});

test("names of prototypes are names like others", async () => {
  const worker = await FakeWorker.start();

  await worker.pushText('{"title":"T","__proto__":{"id":"x"},"data":{"__proto__":{"polluted":1},"constructor":1}}');

  assert.equal({}.polluted, undefined);
  assert.equal(worker.shown[0].data.pushNotificationService.id, undefined);
});

test("the site says what a push looks like that cannot be read", async () => {
  const options = { title: "My site", body: "Something is new.", icon: "/logo.png" };
  const worker = await FakeWorker.start({ options });

  await worker.pushText("?");

  const [{ title, body, icon }] = worker.shown;
  assert.deepEqual([title, body, icon], ["My site", "Something is new.", `${SITE}/logo.png`]);
});

/** The event of a browser that reads declarative messages itself, which puts no data into it. */
const proposal = (notification = DECLARATIVE.notification) => ({ data: null, notification, appBadge: null });

test("a notification that the browser proposes is left to it, reported and counted", async () => {
  const worker = await FakeWorker.start();
  const page = worker.openPage(`${SITE}/`);

  await worker.fire("push", proposal());

  assert.deepEqual(worker.shown, []);
  assert.deepEqual(worker.events, ["displayed"]);
  assert.deepEqual(worker.badges, [1]);
  assert.equal(page.messages[0].notification.url, PUSH.url);
});

test("a browser that shows when the handler is done does not wait for the service", async () => {
  const worker = await FakeWorker.start();
  worker.answer = () => {
    worker.timers.forEach((done) => done());
    return new Promise(() => {});
  };

  await worker.fire("push", proposal());

  assert.equal(worker.outbox.length, 1);
});

test("a proposal of somebody else is none of our business", async () => {
  const worker = await FakeWorker.start();
  const page = worker.openPage(`${SITE}/`);

  await worker.fire("push", proposal({ title: "Theirs", data: null }));

  assert.deepEqual([worker.shown, worker.requests, page.messages], [[], [], []]);
});

