// Browsers that can have no push: why, and what a person can do about it. Nobody is asked, and nothing is sent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { World } from "./fakes/world.js";

const iphone = (version) => `Mozilla/5.0 (iPhone; CPU iPhone OS ${version} like Mac OS X) Version/17.0 Safari`;
const IPAD_AS_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.4 Safari";
const OLD_IPAD_AS_MAC = IPAD_AS_MAC.replace("17.4", "16.3");
const CHROME_ON_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) CriOS/122.0 Mobile Safari/604.1";
const ANDROID = "Mozilla/5.0 (Linux; Android 14) Chrome/122.0 Mobile Safari/537.36";

const cases = [
  ["a page over http", { isSecureContext: false }, "insecure", /https/],
  ["a browser without push", { userAgent: ANDROID, touch: 5 }, "no-push", /no push/],
  ["a Mac without push", { userAgent: IPAD_AS_MAC, touch: 0 }, "no-push", /no push/],
  ["an iPhone's tab", { userAgent: iphone("17_4_1"), touch: 5 }, "ios-not-installed", /Add to Home Screen/],
  ["an iPhone's tab of 16.4", { userAgent: iphone("16_4"), touch: 5 }, "ios-not-installed", /Home Screen/],
  ["Chrome's tab on an iPhone", { userAgent: CHROME_ON_IPHONE, touch: 5 }, "ios-not-installed", /Home Screen/],
  ["an iPad that says it is a Mac", { userAgent: IPAD_AS_MAC, touch: 5 }, "ios-not-installed", /Home Screen/],
  ["an iPhone of before", { userAgent: iphone("16_3"), touch: 5 }, "ios-too-old", /16\.4/],
  ["an iPhone of long before", { userAgent: iphone("9_3_5"), touch: 5 }, "ios-too-old", /16\.4/],
  ["an iPad of before that says it is a Mac", { userAgent: OLD_IPAD_AS_MAC, touch: 5 }, "ios-too-old", /16\.4/],
  ["an app on an old Home Screen", { userAgent: "iPhone", touch: 5, standalone: true }, "ios-too-old", /16\.4/],
];

for (const [what, { isSecureContext = true, userAgent = "", touch = 0, standalone }, reason, words] of cases) {
  test(`${what}: ${reason}`, async () => {
    const world = new World();
    const push = world.visit();
    Object.assign(globalThis, { isSecureContext });
    if (isSecureContext) {
      delete globalThis.PushManager;
    }
    Object.assign(globalThis.navigator, { userAgent, maxTouchPoints: touch, standalone });

    const { state, explanation, ...status } = await push.status();

    assert.deepEqual([state, status.reason], ["unsupported", reason]);
    assert.match(explanation, words);
    for (const act of [() => push.subscribe(), () => push.unsubscribe(), () => push.setTopics([])]) {
      await assert.rejects(act, { code: "unsupported", message: explanation });
    }
    assert.deepEqual([world.browser.questions, world.service.requests], [0, []]);
  });
}

test("an iPhone's app on the Home Screen is like any browser", async () => {
  const push = new World().visit();
  Object.assign(globalThis.navigator, { userAgent: iphone("17_4"), maxTouchPoints: 5, standalone: true });

  assert.equal((await push.status()).state, "off");
});
