// Stands in for Chromium's PushManager, which subscribes at Google only. `vendor` is the test's: it keeps what the
// browser is subscribed with, so that it outlives the page.

{
  const bytesOf = (text) =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  const textOf = (bytes) =>
    btoa(String.fromCharCode(...new Uint8Array(bytes)))
      .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  const subscriptionOf = (kept) =>
    kept && {
      endpoint: kept.subscription.endpoint,
      expirationTime: null,
      options: { userVisibleOnly: true, applicationServerKey: bytesOf(kept.key).buffer },
      toJSON: () => kept.subscription,
      getKey: (name) => bytesOf(kept.subscription.keys[name]).buffer,
      unsubscribe: () => window.vendor("unsubscribe"),
    };

  PushManager.prototype.getSubscription = async () => subscriptionOf(await window.vendor("get"));
  PushManager.prototype.subscribe = async ({ applicationServerKey: key }) =>
    subscriptionOf(await window.vendor("subscribe", typeof key === "string" ? key : textOf(key)));
}
