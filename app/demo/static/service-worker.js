// All that a site has to write: the import shows pushes, follows clicks, keeps the subscription alive and reports.

self.pushNotificationService = { fallbackUrl: "/demo", icon: "/demo/icon.png" };
importScripts("/sdk/push-sw.js");

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
