// The database that page and worker share is the same whichever of them makes it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWorker, STATE, TOKEN } from "./fakes/worker.js";
import { World } from "./fakes/world.js";

test("page and worker make the same database", async () => {
  const worker = await FakeWorker.start({ state: null, options: { service: STATE.service } });
  const world = new World();

  await worker.push({ title: "The worker comes first", receipt: TOKEN });
  await world.visit().status();

  const expected = { state: {}, outbox: { keyPath: "number", autoIncrement: true } };
  assert.deepEqual(worker.database.stores, expected);
  assert.deepEqual(world.browser.indexedDB.stores, expected);
});
