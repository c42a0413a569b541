// Whose topics and subscription they are, where people or their minds change: logins, permission taken away.

import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "./fakes/world.js";

const TOPICS = ["blog", "news"];

for (const permission of ["denied", "default"]) {
  test(`permission taken away (${permission}): deleted at the service, and topics come back with it`, async () => {
    const world = await World.subscribed();
    Object.assign(world.browser, { permission, subscription: null });

    const { state, topics } = await world.visit().status();
    const stored = world.service.stored.length;
    world.browser.permission = "granted";
    const before = await world.visit().status();
    const after = await world.visit().subscribe();

    assert.deepEqual([state, topics, stored], [permission === "denied" ? "blocked" : "off", TOPICS, 0]);
    assert.deepEqual([before.state, after.state, after.topics], ["off", "on", TOPICS]);
  });
}

test("permission taken away while a page is open, and given again, is not called on", async () => {
  const world = await World.subscribed();
  const push = world.visit();
  await push.status();

  Object.assign(world.browser, { permission: "denied", subscription: null });
  const taken = await push.status();
  world.browser.permission = "granted";
  const given = await push.status();
  const asked = await push.subscribe();

  assert.deepEqual([taken.state, given.state, asked.state], ["blocked", "off", "on"]);
  assert.deepEqual([asked.topics, world.differences], [TOPICS, []]);
});

test("who turns it on after permission was taken from another person starts without their topics", async () => {
  const world = await World.subscribed();
  Object.assign(world.browser, { permission: "default", subscription: null });
  await world.visit().status();

  const { state, topics } = await world.visit({ token: "bob" }).subscribe();

  assert.deepEqual([state, topics, world.service.stored[0].topics], ["on", [], []]);
});

test("the topics that another person asked for offline are theirs at the next visit", async () => {
  const world = await World.subscribed();
  const push = world.visit({ token: "bob" });
  world.service.isAway = true;
  await push.subscribe({ topics: ["sport"] }).catch(() => {});
  world.service.isAway = false;

  const { state, topics } = await world.visit({ token: "bob" }).status();

  assert.deepEqual([state, topics, world.service.stored[0].user_id], ["on", ["sport"], "bob"]);
});

test("who was nobody by name and logs in keeps topics and subscription", async () => {
  const world = await World.subscribed({ token: "anybody" });

  const { id, topics } = await world.visit({ token: "alice" }).status();

  assert.deepEqual([id, topics, world.service.stored[0].user_id], ["id-1", TOPICS, "alice"]);
});

test("a subscription without a user is read and changed with its secret", async () => {
  const world = await World.subscribed({ token: "anybody" });
  const push = world.visit({ token: "anybody" });

  await push.status();
  const { topics } = await push.setTopics(["sport"]);
  await push.unsubscribe();

  assert.deepEqual([topics, world.service.stored], [["sport"], []]);
});

for (const [who, token, state] of [
  ["without a name", "anybody", "on"],
  ["not logged in", null, "off"],
]) {
  test(`who turns it on ${who} gets nobody's subscription that could not be deleted at their logout`, async () => {
    const world = await World.subscribed();
    await world.visit({ token: null }).unsubscribe();

    const push = world.visit({ token });
    await push.subscribe().catch(() => {});
    const status = await push.status();

    const { endpoint } = world.browser.subscription;
    const owners = world.service.stored.filter((row) => row.endpoint === endpoint).map((row) => row.user_id);
    assert.deepEqual([status.state, owners], [state, state === "on" ? [null] : []]);
  });
}

test("who turns it off where the browser cannot is sent nothing more, and the next visit goes on", async () => {
  const world = await World.subscribed();
  const { unsubscribe } = world.browser.subscription;
  world.browser.subscription.unsubscribe = () => Promise.reject(new DOMException("Not now.", "AbortError"));

  const { state, reason } = await world.visit().unsubscribe();
  const stored = world.service.stored.length;
  world.browser.subscription.unsubscribe = unsubscribe;
  const later = await world.visit().status();

  assert.deepEqual([state, reason, stored], ["off", "browser", 0]);
  assert.deepEqual([later.state, later.reason, world.browser.subscription], ["off", undefined, null]);
});
