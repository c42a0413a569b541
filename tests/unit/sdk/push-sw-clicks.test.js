// Where a click on a notification leads.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeWorker, SITE, STATE, TOKEN } from "./fakes/worker.js";

const PUSH = {
  id: "n1",
  title: "New post",
  tag: "blog",
  url: "/posts/1",
  actions: [
    { action: "read", title: "Read", url: "/read" },
    { action: "later", title: "Later" },
  ],
  receipt: TOKEN,
};
const HOME = `${SITE}/`;

async function shown(push = PUSH, given = {}) {
  const worker = await FakeWorker.start(given);
  await worker.push(push);
  return worker;
}

for (const [action, url] of [
  ["", `${SITE}/posts/1`],
  ["read", `${SITE}/read`],
  ["later", `${SITE}/posts/1`],
  ["unknown", `${SITE}/posts/1`],
]) {
  test(`a click on "${action}" closes the notification and opens ${url}`, async () => {
    const worker = await shown();

    await worker.click(action);

    assert.deepEqual(worker.opened, [url]);
    assert.deepEqual(worker.screen, []);
  });
}

for (const [url, options, target] of [
  ["https://blog.example.com/1", {}, "https://blog.example.com/1"],
  ["https://news.example.com/1", { allowedOrigins: ["https://news.example.com/"] }, "https://news.example.com/1"],
  ["https://blog.example.com/1", { allowedOrigins: [] }, HOME],
  ["https://evil.example/", {}, HOME],
  ["//evil.example/", {}, HOME],
  ["http://www.example.com/", {}, HOME],
  ["https://www.example.com:8443/", {}, HOME],
  ["https://www.example.com@evil.example/", {}, HOME],
  ["https://www.example.com.evil.example/", {}, HOME],
  ["javascript:alert(1)", {}, HOME],
  ["blob:https://www.example.com/1", {}, HOME],
  ["https://[", {}, HOME],
  [undefined, {}, HOME],
  [undefined, { fallbackUrl: "/news" }, `${SITE}/news`],
  [undefined, { fallbackUrl: "javascript:alert(1)" }, HOME],
  ["https://evil.example/", { allowedOrigins: "https://evil.example" }, HOME],
  ["https://evil.example/", { allowedOrigins: [null, 5, "evil.example", "*"] }, HOME],
]) {
  test(`a click on ${url} with ${JSON.stringify(options)} leads to ${target}`, async () => {
    const worker = await shown({ ...PUSH, url }, { options });

    await worker.click();

    assert.deepEqual(worker.opened, [target]);
  });
}

test("without anything stored, clicks still lead to the site's own pages", async () => {
  const worker = await shown(PUSH, { state: null });

  await worker.click();

  assert.deepEqual(worker.opened, [`${SITE}/posts/1`]);
});

test("the tab that shows the URL already is focused, and no other", async () => {
  const worker = await shown();
  const [, wanted] = ["/", "/posts/1", "/posts/1?page=2"].map((path) => worker.openPage(SITE + path));

  await worker.click();

  assert.deepEqual(
    worker.pages.filter(({ isFocused }) => isFocused),
    [wanted],
  );
  assert.deepEqual(worker.opened, []);
});

test("a tab elsewhere on the page will do, one at the same place is better", async () => {
  const worker = await shown({ ...PUSH, url: "/posts/1#comments" });
  const pages = ["/posts/1", "/posts/1#comments"].map((path) => worker.openPage(SITE + path));

  await worker.click();
  worker.pages.pop();
  await worker.push({ ...PUSH, url: "/posts/1#author" });
  await worker.click();

  assert.deepEqual(
    pages.map(({ isFocused }) => isFocused),
    [true, true],
  );
  assert.deepEqual(worker.opened, []);
});

test("another page of the site is not taken away from its reader", async () => {
  const worker = await shown();
  const page = worker.openPage(`${SITE}/cart`);

  await worker.click();

  assert.equal(page.isFocused, false);
  assert.deepEqual(worker.opened, [`${SITE}/posts/1`]);
});

test("a tab that cannot be focused is opened anew", async () => {
  const worker = await shown();
  worker.openPage(`${SITE}/posts/1`, () => Promise.reject(new TypeError("It is gone.")));

  await worker.click();

  assert.deepEqual(worker.opened, [`${SITE}/posts/1`]);
});

test("a window that may not be opened does not cost the receipt", async () => {
  const worker = await shown();
  worker.self.clients.openWindow = () => Promise.reject(new Error("Not allowed."));

  await worker.click("read");

  assert.deepEqual(worker.receipts.at(-1), { token: TOKEN, event: "clicked", action: "read", seconds_ago: 0 });
});

test("a window that takes long to open does not hold up the receipt", async () => {
  const worker = await shown();
  worker.self.clients.openWindow = () => new Promise(() => {});

  const reported = new Promise((resolve) => (worker.answer = (url) => (resolve(url), 200)));
  void worker.click();

  assert.equal(await reported, `${STATE.service}/receipts/`);
});

const OF_OTHERS = [null, undefined, 5, "text", [], { url: "/theirs" }, { receipt: 5 }, { receipt: "R-2041" }];
for (const data of OF_OTHERS) {
  test(`a notification of somebody else, with data ${JSON.stringify(data)}, is left alone`, async () => {
    const worker = await FakeWorker.start();
    await worker.self.registration.showNotification("Theirs", { data });

    const isHandled = await worker.click();
    const [notification] = worker.screen;

    assert.equal(isHandled, false);
    assert.equal(notification.title, "Theirs");
    assert.equal(await worker.dismiss(), false);
    assert.deepEqual([worker.opened, worker.requests], [[], []]);
  });
}

test("a click on a notification that the browser made of a declarative message is ours", async () => {
  const worker = await FakeWorker.start();
  const data = { id: "n1", data: { post: 1 }, receipt: TOKEN };
  const navigate = `${SITE}/posts/1`;

  await worker.click("", { title: "New post", tag: "n1", navigate, data, close: () => {} });

  assert.deepEqual(worker.opened, [navigate]);
  assert.deepEqual(worker.events, ["clicked"]);
});

test("one that the browser shows in the place of a clicked one can be dismissed", async () => {
  const worker = await shown();
  const notification = { title: "Newer", tag: "blog", data: { id: "n2", receipt: TOKEN }, close: () => {} };

  await worker.click();
  await worker.fire("push", { notification });
  await worker.dismiss(notification);

  assert.deepEqual(worker.events, ["displayed", "clicked", "displayed", "closed"]);
});

test("a dismissed notification is reported as closed, a clicked one is not", async () => {
  const worker = await shown();
  const [clicked] = worker.screen;

  await worker.click();
  await worker.dismiss(clicked);
  await worker.push({ ...PUSH, id: "n2" });
  await worker.dismiss();

  assert.deepEqual(worker.events, ["displayed", "clicked", "displayed", "closed"]);
});

test("a notification whose place another takes was not dismissed", async () => {
  const worker = await shown();
  const [replaced] = worker.screen;

  await worker.push({ ...PUSH, id: "n2" });
  await worker.dismiss(replaced);

  assert.deepEqual(worker.events, ["displayed", "displayed"]);
});

test("a notification shown before the worker was started anew can be dismissed", async () => {
  const [before, worker] = [await shown(), await FakeWorker.start()];

  await worker.dismiss(before.screen[0]);

  assert.deepEqual(worker.events, ["closed"]);
});

test("a notification shown in the place of a clicked one can be dismissed", async () => {
  const worker = await shown();

  await worker.click();
  await worker.push({ ...PUSH, id: "n2" });
  await worker.dismiss();

  assert.deepEqual(worker.events, ["displayed", "clicked", "displayed", "closed"]);
});
