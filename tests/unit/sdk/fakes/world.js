// A browser, the push service, and somebody who visits the site's page in it.

import { PushClient } from "../../../../app/sdk/web/push-client.js";
import { FakeBrowser } from "./browser.js";
import { BASE, FakeService } from "./service.js";

export class World {
  browser = new FakeBrowser();
  service = new FakeService();

  /** Open the site's page, as a person whose token this is; the pages of before are closed. */
  visit(options) {
    this.service.requests.length = this.service.headers.length = 0;
    this.browser.open(this.service.fetch);
    return this.openTab(options);
  }

  /** Open it beside those that are open. */
  openTab({ token = "alice", ...options } = {}) {
    return new PushClient({ service: BASE, token: () => token, ...options });
  }

  /** One in which somebody turned notifications on. */
  static async subscribed({ topics = ["blog", "news"], ...options } = {}) {
    const world = new World();
    await world.visit(options).subscribe({ topics });
    return world;
  }

  /** What is wrong: the browser's subscription is to be all that the service has stored, and what is remembered. */
  get differences() {
    const { subscription, state } = this.browser;
    const key = state?.applicationServerKey;
    const ofBrowser = subscription && { endpoint: subscription.endpoint, auth: subscription.toJSON().keys.auth };
    const stored = this.service.stored.map(({ id, endpoint, auth, key }) => ({ id, endpoint, auth, key }));
    const expected = ofBrowser ? [{ id: state.id, ...ofBrowser, key }] : [];
    const remembered = state.id ? [{ id: state.id, endpoint: state.endpoint, auth: state.auth, key }] : [];
    return [stored, remembered].filter((each) => JSON.stringify(each) !== JSON.stringify(expected));
  }
}
