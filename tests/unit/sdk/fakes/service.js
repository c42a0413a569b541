// The push service's subscriptions as push-client.js sees them through fetch: who owns one, what replaces one.

export const BASE = "https://push.example.com";
export const [KEY, NEXT_KEY] = ["one", "two"].map((name) => `BKey-${name}`.padEnd(86, "-") + "A");

const problem = (status, code) => [status, { type: `/problems/${code}`, title: code, status, detail: code }];

export class FakeService {
  key = KEY;
  retired = new Set();
  rows = new Map();
  requests = []; // "METHOD /path", as they came
  headers = []; // of each of them
  isAway = false;
  refusals = []; // answers given before anything else: [status, problem, headers]
  tokens = new Set(["alice", "bob", "anybody"]); // those it takes; "anybody" names no user
  onRequest = async () => {}; // awaited before a request is served, and after
  #next = 1;

  fetch = async (url, { method = "GET", headers = {}, body, signal, cache } = {}) => {
    const path = url.slice(BASE.length);
    await this.onRequest();
    signal.throwIfAborted();
    if (cache !== "no-store") {
      throw new Error("An answer of yesterday may be had.");
    }
    if (this.isAway) {
      throw new TypeError("Failed to fetch");
    }
    this.requests.push(`${method} ${path}`);
    this.headers.push(headers);
    const refusal = this.refusals.shift();
    const [status, answer, more] = refusal ?? this.#serve(method, path, headers, body && JSON.parse(body));
    await this.onRequest();
    const text = typeof answer === "string" ? answer : JSON.stringify(answer);
    return new Response(status === 204 ? null : text, { status, headers: more });
  };

  /** Subscriptions that are not deleted. */
  get stored() {
    return [...this.rows.values()].filter((row) => !row.isDeleted);
  }

  /** How many requests of a method there were. */
  count(method) {
    return this.requests.filter((request) => request.startsWith(`${method} `)).length;
  }

  #serve(method, path, headers, body) {
    if (path.startsWith("/vapid/public-key")) {
      return [200, { public_key: this.key }];
    }
    const [, , id, action] = path.split("/");
    const token = headers.Authorization?.replace("Bearer ", "");
    const isProvenOtherwise = action === "replace" && !token;
    if (!this.tokens.has(token) && !isProvenOtherwise) {
      return problem(401, "invalid-token");
    }
    const user = token === "anybody" || !token ? null : token;
    if (body?.application_server_key && this.retired.has(body.application_server_key)) {
      return problem(422, "unknown-application-server-key");
    }
    if (!id) {
      return this.#subscribe(user, body);
    }
    const row = this.rows.get(id);
    if (!row || row.isDeleted) {
      return problem(404, "subscription-not-found");
    }
    if (action === "replace") {
      return this.#replace(row, user, body);
    }
    if (row.user_id !== user || (user === null && headers["X-Subscription-Auth"] !== row.auth)) {
      return problem(404, "subscription-not-found");
    }
    if (method === "DELETE") {
      row.isDeleted = true;
      return [204];
    }
    if (method === "PUT") {
      Object.assign(row, body);
    }
    return [200, row];
  }

  #subscribe(user, body) {
    const known = this.stored.find((row) => row.endpoint === body.endpoint);
    if (known && known.auth !== body.keys.auth && known.user_id !== user) {
      return problem(409, "endpoint-taken");
    }
    if (known && (known.user_id === user || known.user_id === null)) {
      return [200, this.#renew(Object.assign(known, { user_id: user }), { enabled: true, ...body })];
    }
    if (known) {
      known.isDeleted = true; // handed over
    }
    const row = { id: `id-${this.#next++}`, topics: [], user_id: user };
    this.rows.set(row.id, row);
    return [201, this.#renew(row, { enabled: true, ...body })];
  }

  #replace(row, user, body) {
    const isStored = row.endpoint === body.endpoint && row.auth === body.keys.auth;
    const isAnothers = user !== null && row.user_id !== null && row.user_id !== user;
    if (isAnothers || (row.auth !== body.old_auth && !isStored)) {
      return problem(404, "subscription-not-found");
    }
    return [200, this.#renew(row, { enabled: row.enabled || row.gone_at !== null, ...body })];
  }

  #renew(row, { endpoint, keys, topics = row.topics, application_server_key: key, enabled }) {
    return Object.assign(row, { endpoint, auth: keys.auth, topics, key, enabled, gone_at: null });
  }
}
