// What each visit of a page puts right, and that it does so whenever the visit before was cut short.

import assert from "node:assert/strict";
import { test } from "node:test";
import { KEY, NEXT_KEY } from "./fakes/service.js";
import { World } from "./fakes/world.js";

const TOPICS = ["blog", "news"];
const NOTHING_TO_DO = ["GET /vapid/public-key", "GET /subscriptions/id-1/"];

/** What can come apart between two visits: [what happened, how it is called, whether the id stays]. */
const REPAIRS = {
  "the browser lost it": [({ browser }) => (browser.subscription = null), "vanished", true],
  "the service has another key": [({ service }) => (service.key = NEXT_KEY), "key-changed", true],
  "the key is retired": [retireKey, "key-changed", true],
  "the browser renewed it": [({ browser }) => browser.renewByItself(), "endpoint-changed", true],
  "the browser has new keys for it": [({ browser }) => browser.renewKeys(), "endpoint-changed", true],
  "the browser renewed it and the key changed": [renewAndRotate, "key-changed", true],
  "the service forgot it": [({ service }) => service.rows.clear(), "forgotten", false],
  "both lost it": [loseBoth, "vanished", false],
  "its push service ended it": [endIt, "gone", true],
  "nothing is remembered": [forgetHere, "forgotten", true],
  "nothing is remembered and the key changed": [forgetHereAndRotate, "forgotten", true],
};

function retireKey({ service }) {
  service.retired.add(KEY);
  service.key = NEXT_KEY;
}

function renewAndRotate({ browser, service }) {
  browser.renewByItself();
  service.key = NEXT_KEY;
}

function loseBoth({ browser, service }) {
  browser.subscription = null;
  service.rows.clear();
}

function endIt({ service }) {
  Object.assign(service.stored[0], { enabled: false, gone_at: "2026-11-23T07:00:00Z" });
}

function forgetHere({ browser }) {
  browser.indexedDB.clear();
}

function forgetHereAndRotate({ browser, service }) {
  browser.indexedDB.clear();
  service.key = NEXT_KEY;
}

for (const [what, [happens, repaired, keepsId]] of Object.entries(REPAIRS)) {
  test(`${what}: the next visit puts it right, and the one after that finds nothing to do`, async () => {
    const world = await World.subscribed();
    happens(world);

    const status = await world.visit().status();

    const { id } = status;
    assert.deepEqual(status, { state: "on", permission: "granted", topics: TOPICS, id, repaired });
    assert.equal(id === "id-1", keepsId);
    assert.deepEqual(world.differences, []);
    assert.deepEqual(world.service.stored[0].topics, TOPICS);
    assert.equal(world.service.stored[0].key, world.service.key);
    assert.equal(world.browser.questions, 1);
    assert.equal((await world.visit().status()).repaired, undefined);
    assert.deepEqual(world.service.requests, ["GET /vapid/public-key", `GET /subscriptions/${id}/`]);
  });

  test(`${what}: whenever the page is closed meanwhile, a later visit puts it right`, async () => {
    for (let steps = 0, isCut = true; isCut; steps += 1) {
      const world = await World.subscribed();
      happens(world);

      isCut = await cutShort(world, steps, (push) => push.status());
      const { state, topics, id } = await world.visit().status();

      assert.deepEqual([state, topics, world.differences], ["on", TOPICS, []], `closed after ${steps} steps`);
      assert.deepEqual(world.service.stored[0].topics, TOPICS);
      assert.ok(!keepsId || id === "id-1", `closed after ${steps} steps`);
    }
  });
}

for (const [name, act, state] of [
  ["subscribe", (push) => push.subscribe({ topics: TOPICS }), "on"],
  ["unsubscribe", (push) => push.unsubscribe(), "off"],
]) {
  test(`whenever the page is closed in ${name}(), a later visit finishes it or never began`, async () => {
    for (let steps = 0, isCut = true; isCut; steps += 1) {
      const world = name === "subscribe" ? new World() : await World.subscribed();

      isCut = await cutShort(world, steps, act);
      const status = await world.visit().status();

      const before = name === "subscribe" ? "off" : "on";
      assert.ok([state, steps === 0 ? before : state].includes(status.state), `closed after ${steps} steps`);
      assert.deepEqual(status.topics, status.state === "on" ? TOPICS : []);
      assert.deepEqual(world.browser.state ? world.differences : [], []);
    }
  });
}

/** Visit, and close the page after so many steps that change something. Returns whether it had more to do. */
async function cutShort(world, steps, act) {
  const closed = new Promise((resolve) => {
    let left = steps;
    world.browser.onStep = world.service.onRequest = () => {
      if (left-- > 0) {
        return Promise.resolve();
      }
      resolve(true);
      return new Promise(() => {}); // nothing of that page goes on
    };
  });
  const isCut = await Promise.race([closed, act(world.visit()).then(() => false)]);
  world.browser.onStep = world.service.onRequest = async () => {};
  return isCut;
}

for (const token of [null, "expired"]) {
  test(`who is not logged in (token: ${token}) is moved to a new key all the same`, async () => {
    const world = await World.subscribed();
    world.service.key = NEXT_KEY;

    const moved = await world.visit({ token }).status();
    const later = await world.visit({ token }).status();

    assert.deepEqual([moved.state, moved.id, moved.reason], ["on", "id-1", undefined]);
    assert.deepEqual([later.state, later.id, later.reason], ["on", "id-1", "token"]);
    assert.deepEqual([world.service.stored[0].key, world.differences], [NEXT_KEY, []]);
  });
}

test("a visit with nothing to put right asks for the key and the subscription, once for all calls", async () => {
  const world = await World.subscribed();
  const push = world.visit();

  const [first, second] = await Promise.all([push.status(), push.status()]);
  await push.status();

  assert.deepEqual(first, { state: "on", permission: "granted", topics: TOPICS, id: "id-1" });
  assert.deepEqual(second, first);
  assert.deepEqual(world.service.requests, NOTHING_TO_DO);
});

test("of two tabs at once one puts it right, and the other finds nothing to do", async () => {
  const world = await World.subscribed();
  world.service.key = NEXT_KEY;
  const tabs = [world.visit(), world.openTab()];

  const statuses = await Promise.all(tabs.map((tab) => tab.status()));

  assert.deepEqual(statuses.map(({ id }) => id), ["id-1", "id-1"]);
  assert.deepEqual([world.browser.subscribed, world.differences], [2, []]);
  assert.deepEqual(world.service.requests.slice(-2), NOTHING_TO_DO);
});

test("topics that were changed elsewhere are the ones that count", async () => {
  const world = await World.subscribed();
  world.service.stored[0].topics = ["sport"];

  const { topics } = await world.visit().status();

  assert.deepEqual([topics, world.browser.state.topics], [["sport"], ["sport"]]);
});

test("who was switched off at the service is not switched on by a visit, only by asking", async () => {
  const world = await World.subscribed();
  world.service.stored[0].enabled = false;

  const status = await world.visit().status();
  const enabled = world.service.stored[0].enabled;
  const again = await world.visit().subscribe();

  assert.deepEqual([status.state, status.reason, status.id, enabled], ["off", "disabled", "id-1", false]);
  assert.deepEqual([again.state, again.id, world.service.stored[0].enabled], ["on", "id-1", true]);
});

test("who was switched off at the service and turns it on after the browser renewed it, is on", async () => {
  const world = await World.subscribed();
  world.service.stored[0].enabled = false;
  world.browser.renewByItself();

  const { state } = await world.visit().subscribe();

  assert.deepEqual([state, world.service.stored[0].enabled, world.differences], ["on", true, []]);
});

test("who turns it on where its push service had ended it gets a new one", async () => {
  const world = await World.subscribed();
  endIt(world);

  const { state, id, topics } = await world.visit().subscribe({ topics: ["sport"] });

  assert.deepEqual([state, id, topics, world.browser.subscribed], ["on", "id-1", ["sport"], 2]);
  assert.deepEqual([world.service.stored[0].enabled, world.differences], [true, []]);
});

test("a copy of a browser's profile gets a subscription of its own, with the same topics", async () => {
  const world = await World.subscribed();
  const ofTheOther = { endpoint: "https://push.mozilla.example/other", auth: "auth-other" };
  Object.assign(world.service.stored[0], ofTheOther);

  const { id, topics } = await world.visit().status();

  assert.deepEqual([id, topics, world.service.rows.get("id-1").auth], ["id-2", TOPICS, ofTheOther.auth]);
});

test("another person at the same browser takes it over, without the topics of the one before", async () => {
  const world = await World.subscribed();

  const status = await world.visit({ token: "bob" }).status();

  assert.deepEqual([status.state, status.topics, status.repaired], ["on", [], "handed-over"]);
  assert.equal(world.service.stored[0].user_id, "bob");
  assert.deepEqual(world.differences, []);
});

test("an endpoint that is somebody else's with other keys is given up for a new one", async () => {
  const world = await World.subscribed();
  world.browser.renewByItself();
  world.service.refusals = [
    [200, { public_key: KEY }],
    [409, { type: "/problems/endpoint-taken" }],
  ];

  const { id, reason } = await world.visit().status();

  assert.deepEqual([id, reason, world.browser.subscribed, world.differences], ["id-1", undefined, 3, []]);
});

test("where nothing is remembered of a subscription whose key is retired, there is a new one", async () => {
  const world = await World.subscribed();
  forgetHere(world);
  retireKey(world);

  const { state, id, topics } = await world.visit().status();

  assert.deepEqual([state, id, topics], ["on", "id-2", []]);
  assert.equal(world.service.rows.get("id-2").endpoint, world.browser.subscription.endpoint);
});
