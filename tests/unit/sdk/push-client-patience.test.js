// A service that is away, moved, busy, or not itself costs nobody the subscription.

import assert from "node:assert/strict";
import { test } from "node:test";
import { KEY, NEXT_KEY } from "./fakes/service.js";
import { World } from "./fakes/world.js";

const TOPICS = ["blog", "news"];

test("offline the status is told from memory, nothing is thrown away, and the next visit goes on", async () => {
  const world = await World.subscribed();
  const remembered = world.browser.state;
  world.service.isAway = true;

  const status = await world.visit().status();

  assert.deepEqual([status.state, status.reason, status.topics, status.id], ["on", "offline", TOPICS, "id-1"]);
  assert.deepEqual(world.browser.state, remembered);
  assert.ok(world.browser.subscription);
});

test("a page that comes back online puts right what it could not before", async () => {
  const world = await World.subscribed();
  world.browser.subscription = null;
  world.service.isAway = true;
  const push = world.visit();
  await push.status();
  world.service.isAway = false;

  const changed = new Promise((resolve) => push.addEventListener("change", resolve, { once: true }));
  world.browser.goOnline();

  const { state, reason, repaired } = (await changed).detail;
  assert.deepEqual([state, reason, repaired], ["on", undefined, "vanished"]);
  assert.deepEqual(world.differences, []);
});

test("what works again is told without the trouble of before", async () => {
  const world = await World.subscribed();
  world.service.isAway = true;
  const push = world.visit();
  const before = await push.status();
  world.service.isAway = false;

  const { state, reason } = await push.subscribe();

  assert.deepEqual([before.reason, state, reason], ["offline", "on", undefined]);
});

const HOTEL = [200, "<html>Log in to the hotel's network</html>"];
for (const [what, ...refusals] of [
  ["no JSON", HOTEL],
  ["no JSON any more", [200, { public_key: KEY }], HOTEL],
  ["other JSON", [200, {}]],
  ["an error", [503, { title: "Temporarily unavailable" }]],
]) {
  test(`a service that answers ${what} costs nobody the subscription`, async () => {
    const world = await World.subscribed();
    world.service.refusals = refusals;

    const { state, reason } = await world.visit().status();

    assert.deepEqual([state, reason, world.differences], ["on", "service", []]);
  });
}

test("a service that asks for patience is not called again before", async () => {
  const world = await World.subscribed();
  world.service.refusals = [[429, { detail: "The limit is 100/hour." }, { "Retry-After": "3600" }]];
  const push = world.visit();

  const first = await push.status();
  const second = await push.status();

  assert.deepEqual([first.state, second.state, world.service.requests.length], ["on", "on", 1]);
});

test("a service that moved gets the subscription, with its topics", async () => {
  const world = await World.subscribed();
  world.service.rows.clear();
  world.service.key = NEXT_KEY;

  const push = world.visit({ service: "https://push.example.com/", allowedOrigins: ["https://a.example"] });
  const { state, topics } = await push.status();

  assert.deepEqual([state, topics], ["on", TOPICS]);
  assert.equal(world.browser.state.service, "https://push.example.com");
});
