'use strict';

// The most that node gives without a library: RFC 8291 on its crypto, one HTTP/2 connection for each push service,
// an RFC 8292 token for each origin that is signed once.

const crypto = require('node:crypto');
const http2 = require('node:http2');
const { inTurns } = require('./in_turns.js');

const AT_ONCE = 100; // what a push service allows on one connection
const TOKEN_SECONDS = 12 * 3600;
const RECORD_BYTES = 4096;
const SALT_BYTES = 16;
const POOLED_SALTS = 1024;

const KEY_INFO = Buffer.from('WebPush: info\0');
const CONTENT_KEY_INFO = Buffer.from('Content-Encoding: aes128gcm\0\x01');
const NONCE_INFO = Buffer.from('Content-Encoding: nonce\0\x01');
const ONE = Buffer.from([1]);
const LAST_RECORD = Buffer.from([2]);

const ephemeral = crypto.createECDH('prime256v1'); // its keys are made anew for each message
const salts = Buffer.alloc(SALT_BYTES * POOLED_SALTS);
let saltAt = salts.length;

function newSalt() {
  if (saltAt === salts.length) {
    crypto.randomFillSync(salts);
    saltAt = 0;
  }
  saltAt += SALT_BYTES;
  return salts.subarray(saltAt - SALT_BYTES, saltAt);
}

function hmac(key, info) {
  return crypto.createHmac('sha256', key).update(info).digest();
}

// Returns the aes128gcm body of RFC 8291, in one record.
function encrypt({ p256dh, auth }, payload) {
  const receiver = Buffer.from(p256dh, 'base64url');
  const publicKey = ephemeral.generateKeys();
  const shared = ephemeral.computeSecret(receiver);
  const secret = hmac(Buffer.from(auth, 'base64url'), shared);
  const salt = newSalt();
  const pseudoRandomKey = hmac(salt, hmac(secret, Buffer.concat([KEY_INFO, receiver, publicKey, ONE])));
  const contentKey = hmac(pseudoRandomKey, CONTENT_KEY_INFO).subarray(0, 16);
  const nonce = hmac(pseudoRandomKey, NONCE_INFO).subarray(0, 12);
  const cipher = crypto.createCipheriv('aes-128-gcm', contentKey, nonce);
  const head = Buffer.allocUnsafe(SALT_BYTES + 5);
  salt.copy(head);
  head.writeUInt32BE(RECORD_BYTES, SALT_BYTES);
  head[SALT_BYTES + 4] = publicKey.length;
  const encrypted = cipher.update(Buffer.concat([payload, LAST_RECORD]));
  cipher.final();
  return Buffer.concat([head, publicKey, encrypted, cipher.getAuthTag()]);
}

function authorizationFor(origin, vapid) {
  const point = Buffer.from(vapid.public_key, 'base64url');
  const key = crypto.createPrivateKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-256',
      d: vapid.private_key,
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url'),
    },
  });
  const expiresAt = Math.floor(Date.now() / 1000) + TOKEN_SECONDS;
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const claims = { aud: origin, exp: expiresAt, sub: vapid.subject };
  const signed = `${encode({ typ: 'JWT', alg: 'ES256' })}.${encode(claims)}`;
  const signature = crypto.sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' });
  return `vapid t=${signed}.${signature.toString('base64url')}, k=${vapid.public_key}`;
}

module.exports.openSender = function openSender({ vapid, payload, ttl_seconds: ttlSeconds }) {
  const services = new Map();
  const plaintext = Buffer.from(payload);

  function serviceAt(origin) {
    let service = services.get(origin);
    if (service === undefined) {
      const session = http2.connect(origin);
      session.on('error', () => {}); // each of its requests has it, too
      service = { session, authorization: authorizationFor(origin, vapid) };
      services.set(origin, service);
    }
    return service;
  }

  function post(subscriber) {
    const { endpoint } = subscriber;
    const pathAt = endpoint.indexOf('/', 'https://'.length);
    const { session, authorization } = serviceAt(endpoint.slice(0, pathAt));
    const body = encrypt(subscriber, plaintext);
    return new Promise((resolve, reject) => {
      const request = session.request({
        ':method': 'POST',
        ':path': endpoint.slice(pathAt),
        authorization,
        ttl: ttlSeconds,
        'content-encoding': 'aes128gcm',
        'content-type': 'application/octet-stream',
        'content-length': body.length,
      });
      let status = 0;
      request.on('response', (headers) => {
        status = headers[':status'];
      });
      request.on('error', reject);
      request.on('close', () => {
        if (status === 201) resolve();
        else reject(new Error(`the push service answered ${status}`));
      });
      request.resume();
      request.end(body);
    });
  }

  return {
    send: (subscribers) => inTurns(subscribers, AT_ONCE, post),
    close: () => services.forEach(({ session }) => session.close()),
  };
};
