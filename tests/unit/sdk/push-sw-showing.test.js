// How push-sw.js shows a push that it can read, and what it tells open pages and the app's icon.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PUSH } from "./fakes/payloads.js";
import { FakeWorker, SITE } from "./fakes/worker.js";

test("every field of a push is shown", async () => {
  const worker = await FakeWorker.start();

  await worker.push(PUSH);

  const [{ data, ...shown }] = worker.shown;
  assert.deepEqual(shown, {
    title: "New post",
    body: "Read it",
    icon: PUSH.icon,
    image: PUSH.image,
    badge: PUSH.badge,
    tag: "blog",
    actions: [
      { action: "read", title: "Read", icon: PUSH.actions[0].icon },
      { action: "later", title: "Later" },
    ],
    timestamp: Date.parse("2026-11-23T07:00:00.123Z"),
    renotify: true,
  });
  assert.equal(data.post, 1);
  assert.deepEqual(data.pushNotificationService.data, { post: 1 });
});

test("a scheduled push carries the time that it was meant for", async () => {
  const worker = await FakeWorker.start();

  await worker.push({ ...PUSH, scheduled_at: "2026-11-24T08:00:00+00:00" });

  assert.equal(worker.shown[0].timestamp, Date.parse("2026-11-24T08:00:00Z"));
});

for (const [url, shown] of [
  ["/icon.png", `${SITE}/icon.png`],
  ["http://cdn.example.com/icon.png", "http://cdn.example.com/icon.png"],
  ["javascript:alert(1)", undefined],
  ["data:image/png;base64,AAAA", undefined],
  ["http://[", undefined],
  [5, undefined],
  [null, undefined],
]) {
  test(`a picture at ${url} is ${shown ? "shown" : "left out"}`, async () => {
    const worker = await FakeWorker.start();

    const actions = [{ action: "a", title: "A", icon: url }];
    await worker.push({ ...PUSH, icon: url, image: url, badge: url, actions });

    const [{ icon, image, badge, actions: buttons }] = worker.shown;
    assert.deepEqual([icon, image, badge, buttons[0].icon], [shown, shown, shown, shown]);
  });
}

for (const [maxActions, buttons] of [
  [1, 1],
  [0, 0],
  [undefined, 2],
]) {
  test(`a browser that says ${maxActions} of its buttons gets ${buttons}`, async () => {
    const worker = await FakeWorker.start({ browser: { Notification: { maxActions } } });

    await worker.push(PUSH);

    assert.equal(worker.shown[0].actions.length, buttons);
  });
}

test("an option that the browser refuses does not cost the notification", async () => {
  const worker = await FakeWorker.start();
  worker.refused = ["actions"];

  await worker.push(PUSH);

  const [{ title, body, tag, data }] = worker.screen;
  assert.deepEqual([title, body, tag, data.post], ["New post", "Read it", "blog", 1]);
  assert.deepEqual(worker.events, ["displayed"]);
});

test("data that the browser cannot store does not cost the notification, nor the click", async () => {
  const worker = await FakeWorker.start();
  const { registration } = worker.self;
  const show = registration.showNotification;
  registration.showNotification = async (title, options) => {
    if (options.data.post) {
      throw new DOMException("It is too deep.", "DataCloneError");
    }
    return show(title, options);
  };

  await worker.push({ ...PUSH, url: "/posts/1" });
  await worker.click();

  assert.deepEqual(worker.opened, [`${SITE}/posts/1`]);
  assert.deepEqual(worker.events, ["displayed", "clicked"]);
});

test("what cannot be shown at all is not reported as displayed", async () => {
  const worker = await FakeWorker.start();
  worker.refused = ["tag"];

  await worker.push(PUSH);

  assert.deepEqual(worker.screen, []);
  assert.deepEqual(worker.requests, []);
});

test("a repeated message does not alert again, a newer one with its tag does", async () => {
  const worker = await FakeWorker.start();

  await worker.push(PUSH);
  await worker.push(PUSH);
  await worker.push({ ...PUSH, id: "n2" });

  assert.deepEqual(
    worker.shown.map(({ renotify }) => renotify),
    [true, false, true],
  );
  assert.equal(worker.screen.length, 1);
});

test("a push without a tag takes only its own place when it is repeated", async () => {
  const worker = await FakeWorker.start();

  for (const id of ["n1", "n2", "n1"]) {
    await worker.push({ ...PUSH, id, tag: undefined });
  }

  assert.deepEqual(worker.screen.map(({ tag }) => tag).sort(), ["n1", "n2"]);
});

test("open pages are told, but not the right to report", async () => {
  const worker = await FakeWorker.start();
  const pages = [worker.openPage(`${SITE}/`), worker.openPage(`${SITE}/elsewhere`)];

  await worker.push(PUSH);
  await worker.click("read");
  await worker.push(PUSH);
  await worker.dismiss();

  const { receipt, ...notification } = PUSH;
  for (const { messages } of pages) {
    assert.deepEqual(
      messages.map(({ kind, action }) => [kind, action]),
      [["received", undefined], ["clicked", "read"], ["received", undefined], ["closed", undefined]],
    );
    assert.equal(messages[0].source, "push-notification-service");
    assert.deepEqual(messages[0].notification, notification);
  }
});

test("the badge counts what is on screen, and what is left after clicks and dismissals", async () => {
  const worker = await FakeWorker.start();

  for (const id of ["n1", "n2", "n3"]) {
    await worker.push({ id, title: "T" });
  }
  await worker.click();
  await worker.dismiss();
  await worker.dismiss();

  assert.deepEqual(worker.badges, [1, 2, 3, 2, 1, 0]);
});

test("a push's own number goes onto the badge, 0 clears it, and clicks leave it", async () => {
  const worker = await FakeWorker.start();

  await worker.push({ ...PUSH, app_badge: 7 });
  await worker.push({ ...PUSH, app_badge: 0 });
  await worker.click();

  assert.deepEqual(worker.badges, [7, 0, 0]);
});

for (const number of [-1, 1.5, "5", 1e300, true]) {
  test(`${JSON.stringify(number)} is no number for the badge: it counts`, async () => {
    const worker = await FakeWorker.start();

    await worker.push({ ...PUSH, app_badge: number });

    assert.deepEqual(worker.badges, [1]);
  });
}

for (const [browser, setAppBadge] of [
  ["no badges", undefined],
  ["badges that fail", () => Promise.reject(new Error("no icon"))],
  ["badges that never answer", () => new Promise(() => {})],
]) {
  test(`a browser with ${browser} shows and reports all the same`, async () => {
    const worker = await FakeWorker.start({ browser: { navigator: { setAppBadge } } });

    await worker.push(PUSH);

    assert.equal(worker.screen.length, 1);
    assert.deepEqual(worker.events, ["displayed"]);
  });
}

test("the script taken in twice shows and reports once", async () => {
  const worker = await FakeWorker.start();
  worker.import();

  await worker.push(PUSH);

  assert.equal(worker.shown.length, 1);
  assert.deepEqual(worker.events, ["displayed"]);
});

test("nobody asks what is on screen while something is being shown, which Chromium would forget", async () => {
  const worker = await FakeWorker.start();
  const { registration } = worker.self;
  const { showNotification, getNotifications } = registration;
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  let [running, clashes] = [0, 0];
  registration.showNotification = async (...wanted) => {
    running += 1;
    await turn();
    await showNotification(...wanted);
    running -= 1;
  };
  registration.getNotifications = async (filter) => {
    clashes += running;
    await turn();
    clashes += running;
    return getNotifications(filter);
  };

  await Promise.all(Array.from({ length: 5 }, (_, number) => worker.push({ ...PUSH, tag: `tag-${number}` })));

  assert.equal(worker.screen.length, 5);
  assert.equal(clashes, 0);
});

test("a notification whose picture is slow to come holds up the others for half a second at most", async () => {
  const worker = await FakeWorker.start();
  const { registration } = worker.self;
  const { showNotification } = registration;
  registration.showNotification = () => new Promise(() => {});
  worker.push(PUSH);
  await new Promise((resolve) => setImmediate(resolve));
  registration.showNotification = showNotification;

  const second = worker.push({ ...PUSH, tag: "other" });
  while (worker.timers.length === 0) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  worker.now += 500;
  worker.timers.forEach((ring) => ring());
  await second;

  assert.deepEqual(worker.screen.map(({ tag }) => tag), ["other"]);
});
