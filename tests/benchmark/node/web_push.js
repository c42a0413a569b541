'use strict';

// The web-push package as its users call it: sendNotification for each, over connections that stay open.

const https = require('node:https');
const webPush = require('web-push');
const { inTurns } = require('./in_turns.js');

const AT_ONCE = 100;

module.exports.openSender = function openSender({ vapid, payload, ttl_seconds: ttlSeconds }) {
  const agent = new https.Agent({ keepAlive: true, maxSockets: AT_ONCE });
  webPush.setVapidDetails(vapid.subject, vapid.public_key, vapid.private_key);

  function post({ endpoint, p256dh, auth }) {
    const subscription = { endpoint, keys: { p256dh, auth } };
    return webPush.sendNotification(subscription, payload, { TTL: ttlSeconds, agent }); // rejects unless 2xx
  }

  return {
    send: (subscribers) => inTurns(subscribers, AT_ONCE, post),
    close: () => agent.destroy(),
  };
};
