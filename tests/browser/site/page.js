// A site's page as our documentation has it. Service and token come in the address, as each test has its own.

const { hash } = window.location;
const { service, token } = Object.fromEntries(new URLSearchParams(hash.slice(1)));

/** What the service worker said. */
window.heard = [];
navigator.serviceWorker.addEventListener("message", ({ data }) => window.heard.push(data));
navigator.serviceWorker.startMessages();

if (service) {
  const { PushClient } = await import(`${service}/sdk/push-client.js`);
  window.push = new PushClient({
    service,
    token: async () => token,
    worker: `/service-worker.js?service=${service}`,
    allowedOrigins: ["http://shop.localhost:9"],
  });
}
