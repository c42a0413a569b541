// A site's page as our documentation has it. What each test has of its own comes in the address.

window.heard = []; // what the service worker said
navigator.serviceWorker.addEventListener("message", ({ data }) => window.heard.push(data));
navigator.serviceWorker.startMessages();

window.ready = (async () => {
  const { service, token, friend } = Object.fromEntries(new URLSearchParams(window.location.hash.slice(1)));
  if (service) {
    const { PushClient } = await import(`${service}/sdk/push-client.js`);
    window.push = new PushClient({
      service,
      token: async () => token,
      worker: `/service-worker.js?service=${service}`,
      allowedOrigins: friend ? [friend] : [],
    });
  }
})();
