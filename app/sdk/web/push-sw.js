// @ts-check
(() => {
  const VERSION = "1.0.0";
  Object.assign(self, { pushNotificationService: { version: VERSION } });
})();
