// @ts-check
// Calls to the service as the demo's user: whom POST /demo/token made up, and what only the demo offers.

const TOKEN = "push-demo-token"; // in localStorage

/** What the service refused, in its words (RFC 9457). */
class Problem extends Error {
  /** @param {Response} response @param {{title?: string, detail?: string}} document */
  constructor(response, document) {
    super(document.detail ?? document.title ?? `The service answered ${response.status}.`);
    this.status = response.status;
  }
}

/** @type {Promise<{token: string}> | undefined} */
let asked; // by everybody who needs one now: two tokens would be two users

export const hasToken = () => localStorage.getItem(TOKEN) !== null;

/**
 * A real site asks its own server, where the person is logged in.
 * @param {{refresh?: boolean}} [options] refresh: the service did not take the one before
 */
export async function getToken({ refresh = false } = {}) {
  const known = localStorage.getItem(TOKEN);
  if (known && !refresh) {
    return known;
  }
  asked ??= request("POST", "/demo/token").finally(() => (asked = undefined));
  const { token } = await asked;
  localStorage.setItem(TOKEN, token);
  return token;
}

/**
 * Send to this user's browsers.
 * @param {object} content as POST /notifications/send/ takes it, without targets
 * @returns {Promise<{targeted: number | null, warnings: {detail: string}[]}>}
 */
export const send = (content) => callAsUser("POST", "/demo/send", content);

/** @returns {Promise<{items: import("./happened.js").Told[]}>} what became of this user's notifications */
export const listNotifications = () => callAsUser("GET", "/demo/notifications");

/** @param {string} method @param {string} path @param {object} [body] */
async function callAsUser(method, path, body) {
  try {
    return await request(method, path, { token: await getToken(), body });
  } catch (error) {
    if (error instanceof Problem && error.status === 401) {
      return request(method, path, { token: await getToken({ refresh: true }), body });
    }
    throw error;
  }
}

/** @param {string} method @param {string} path @param {{token?: string, body?: object}} [more] */
async function request(method, path, { token, body } = {}) {
  const headers = new Headers({ Accept: "application/json" });
  if (token) {
    headers.set("Authorization", `Bearer ${token}`);
  }
  if (body) {
    headers.set("Content-Type", "application/json");
  }
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) }).catch(() => {
    throw new Error("The service does not answer.");
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Problem(response, answer);
  }
  return answer;
}
