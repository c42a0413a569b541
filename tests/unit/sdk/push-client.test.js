// push-client.js: turning notifications on and off, topics, and what it tells the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SCOPE } from "./fakes/browser.js";
import { BASE, KEY } from "./fakes/service.js";
import { World } from "./fakes/world.js";

test("who never turned it on is off: nobody is asked, and nothing is sent or stored", async () => {
  const world = new World();

  const status = await world.visit({ token: null }).status();

  assert.deepEqual(status, { state: "off", permission: "default", topics: [], id: null });
  assert.deepEqual([world.browser.questions, world.service.requests, world.browser.state], [0, [], undefined]);
});

test("a click turns it on: the person is asked, the service gets subscription, topics and key", async () => {
  const world = new World();

  const status = await world.visit({ allowedOrigins: ["https://b.example"] }).subscribe({ topics: ["blog"] });

  assert.deepEqual(status, { state: "on", permission: "granted", topics: ["blog"], id: "id-1" });
  assert.deepEqual(world.service.requests, ["GET /vapid/public-key", "POST /subscriptions/"]);
  const [stored] = world.service.stored;
  assert.deepEqual([stored.user_id, stored.topics, stored.key], ["alice", ["blog"], KEY]);
  assert.deepEqual(world.browser.state, {
    service: BASE,
    allowedOrigins: ["https://b.example"],
    wanted: true,
    topics: ["blog"],
    id: "id-1",
    endpoint: world.browser.subscription.endpoint,
    auth: "auth-1",
    applicationServerKey: KEY,
    enabled: true,
    userId: "alice",
  });
});

test("what was just turned on is not looked at again on the same page", async () => {
  const world = new World();
  const push = world.visit();
  await push.subscribe();
  const before = world.service.requests.length;

  await push.status();

  assert.equal(world.service.requests.length, before);
});

test("the browser is asked before anything is awaited, as the click's right to ask is soon over", async () => {
  const world = new World();

  const subscribed = world.visit().subscribe();

  assert.equal(world.browser.questions, 1);
  await subscribed;
});

for (const [answer, code, state] of [
  ["denied", "permission-denied", "blocked"],
  ["default", "permission-dismissed", "off"],
]) {
  test(`an answer of “${answer}” leaves everything as it was`, async () => {
    const world = new World();
    world.browser.answer = answer;
    const push = world.visit();

    await assert.rejects(push.subscribe(), { name: "PushError", code });

    assert.equal((await push.status()).state, state);
    assert.deepEqual([world.service.requests, world.browser.state], [[], undefined]);
  });
}

test("who turns it on again and names no topics has those of before", async () => {
  const world = await World.subscribed({ topics: ["blog"] });

  const { topics } = await world.visit().subscribe();

  assert.deepEqual([topics, world.service.stored[0].topics], [["blog"], ["blog"]]);
});

test("turning it off deletes it in the browser and at the service, with its topics", async () => {
  const world = await World.subscribed();
  const push = world.visit();

  const status = await push.unsubscribe();

  assert.deepEqual(status, { state: "off", permission: "granted", topics: [], id: null });
  assert.deepEqual([world.browser.subscription, world.service.stored], [null, []]);
  assert.deepEqual(world.service.requests, ["DELETE /subscriptions/id-1/"]);
});

test("turning it off works offline, and the next visit tells the service", async () => {
  const world = await World.subscribed();
  world.service.isAway = true;

  const offline = await world.visit().unsubscribe();
  const stopped = world.browser.subscription === null;
  world.service.isAway = false;
  const online = await world.visit().status();

  assert.deepEqual([offline.state, offline.reason, stopped], ["off", "offline", true]);
  assert.deepEqual([online.state, online.reason, world.service.stored], ["off", undefined, []]);
  await world.visit().status();
  assert.deepEqual(world.service.requests, []);
});

test("turning off what the service has forgotten is no error", async () => {
  const world = await World.subscribed();
  world.service.rows.clear();

  const { state, reason } = await world.visit().unsubscribe();

  assert.deepEqual([state, reason, world.browser.state.id], ["off", undefined, null]);
});

test("topics are replaced at the service and remembered", async () => {
  const world = await World.subscribed();

  const { topics } = await world.visit().setTopics(["sport"]);

  assert.deepEqual([topics, world.service.stored[0].topics, world.browser.state.topics], Array(3).fill(["sport"]));
});

test("topics of a subscription that was forgotten meanwhile are set all the same", async () => {
  const world = await World.subscribed();
  const push = world.visit();
  await push.status();
  world.service.rows.clear();

  const { topics, state } = await push.setTopics(["sport"]);

  assert.deepEqual([topics, state, world.service.stored[0].topics], [["sport"], "on", ["sport"]]);
});

test("topics cannot be set while it is off", async () => {
  const push = new World().visit();

  await assert.rejects(push.setTopics(["blog"]), { code: "off" });
});

for (const [what, trouble] of [
  ["keeps nothing", { isBroken: true }],
  ["has no room left", { isFull: true }],
]) {
  test(`a browser that ${what} is subscribed all the same, and known again by its endpoint`, async () => {
    const world = new World();
    Object.assign(world.browser.indexedDB, trouble);

    const first = await world.visit().subscribe({ topics: ["blog"] });
    const second = await world.visit().status();

    assert.deepEqual([first.state, first.topics], ["on", ["blog"]]);
    assert.deepEqual([second.state, second.topics, second.id], ["on", ["blog"], first.id]);
  });
}

test("the page is told what the worker got, and of nobody else's messages", async () => {
  const world = new World();
  const push = world.visit();
  const heard = [];
  for (const kind of ["received", "clicked", "closed", "change"]) {
    push.addEventListener(kind, ({ type, detail }) => heard.push([type, detail.notification?.id, detail.action]));
  }
  const says = (data) => world.browser.container.dispatchEvent(new MessageEvent("message", { data }));
  const source = "push-notification-service";

  says({ source, kind: "received", notification: { id: "n1" } });
  says({ source, kind: "clicked", notification: { id: "n1" }, action: "read" });
  for (const own of [{ kind: "closed", notification: { id: "n2" } }, { source, kind: "change" }, null, "text"]) {
    says(own);
  }

  assert.deepEqual(heard, [["received", "n1", undefined], ["clicked", "n1", "read"]]);
});

test("each change of the status is told once", async () => {
  const world = new World();
  const push = world.visit();
  const told = [];
  push.addEventListener("change", ({ detail }) => told.push([detail.state, ...detail.topics]));

  await push.status();
  await push.status();
  await push.subscribe({ topics: ["blog"] });
  await push.setTopics(["news"]);
  await push.status();
  await push.unsubscribe();

  assert.deepEqual(told, [["off"], ["on", "blog"], ["on", "news"], ["off"]]);
});

test("the worker sends what it kept when a page is opened and when it is online again", async () => {
  const world = new World();
  const push = world.visit();

  await push.status();
  world.browser.goOnline();
  await new Promise(setImmediate);

  assert.deepEqual(world.browser.posted, Array(2).fill({ source: "push-notification-service", kind: "flush" }));
});

test("what is remembered is kept by the worker's scope", async () => {
  const world = await World.subscribed();

  assert.deepEqual(Object.keys(world.browser.indexedDB.content("state")), [SCOPE]);
});

test("where clicks may lead is handed to the worker at each visit, and stays if a page does not say", async () => {
  const world = await World.subscribed();

  const allowedOrigins = ["https://a.example"];
  await world.visit({ allowedOrigins }).status();
  await world.visit().status();

  assert.deepEqual(world.browser.state.allowedOrigins, allowedOrigins);
});

test("a tenant's key is asked for by the tenant's name", async () => {
  const world = new World();

  await world.visit({ tenant: "news & co" }).subscribe();

  assert.equal(world.service.requests[0], "GET /vapid/public-key?tenant=news%20%26%20co");
});
