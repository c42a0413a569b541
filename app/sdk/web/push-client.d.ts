/** The version of this file's push-client.js. */
export const VERSION: string;

export interface PushOptions {
  /** The push service's base URL, such as "https://push.example.com". */
  service: string;
  /** The tenant's short name, where the service has several; left out, the default one. */
  tenant?: string;
  /**
   * Yields the JWT of whoever is logged in. Called whenever one is needed, and once more with `refresh: true` after
   * the service refused one. Nothing (null, "") when nobody is logged in. It has 15 seconds.
   */
  token: (why: { refresh: boolean }) => Promise<string | null> | string | null;
  /** The site's service worker, which imports push-sw.js. Left out, the page has to have one already. */
  worker?: string;
  /** Of `worker`; left out, the directory of its script. */
  scope?: string;
  /** Where clicks on notifications may lead, besides the site's own origin. Left out, those said before stay. */
  allowedOrigins?: string[];
}

export type PushErrorCode =
  /** This browser has no push; the message says what a person can do. */
  | "unsupported"
  /** Blocked: only the browser's settings help. */
  | "permission-denied"
  /** The browser's question was closed without an answer. */
  | "permission-dismissed"
  /** The browser could not subscribe at its own push service. */
  | "push-service"
  /** The site's service worker is missing or does not start. */
  | "worker"
  /** The service could not be reached. */
  | "offline"
  /** The service refused: see `status`, `problem` and `retryAfter`. */
  | "service"
  /** No token, or one that the service does not take. */
  | "token"
  /** Notifications are off in this browser. */
  | "off"
  /** Something else that the browser refused: see `cause`. */
  | "browser";

export class PushError extends Error {
  readonly code: PushErrorCode;
  /** HTTP status of the service's answer. */
  readonly status?: number;
  /** The service's answer, a problem document (RFC 9457). */
  readonly problem?: { type?: string; title?: string; detail?: string; [member: string]: unknown };
  /** Seconds to wait before the next try, when the service said so. */
  readonly retryAfter?: number;
  constructor(
    code: PushErrorCode,
    message: string,
    more?: { status?: number; problem?: object; retryAfter?: number; cause?: unknown },
  );
}

/** What was put right. */
export type Repair =
  /** The browser had lost its subscription. */
  | "vanished"
  /** It was made with another key than the service's of today (a VAPID rotation). */
  | "key-changed"
  /** The browser had renewed it by itself. */
  | "endpoint-changed"
  /** The service did not know it, or this browser did not remember it. */
  | "forgotten"
  /** It was somebody else's who used this browser before. */
  | "handed-over"
  /** The browser's push service had ended it. */
  | "gone";

export interface PushStatus {
  /** "blocked" by the person in the browser's settings; "off" may be turned on by `subscribe()`. */
  state: "unsupported" | "blocked" | "off" | "on";
  /** Why it is unsupported; or what kept the last reconciliation from succeeding; or "disabled" at the service. */
  reason?: "insecure" | "no-push" | "ios-not-installed" | "ios-too-old" | "disabled" | PushErrorCode;
  /** The reason in words, to show to people. */
  explanation?: string;
  permission: NotificationPermission;
  topics: string[];
  /** Of the subscription at the service; null unless there is one. */
  id: string | null;
  /** What this page's visit put right, if anything. */
  repaired?: Repair;
}

/** A notification as push-sw.js tells pages of it. */
export interface PushNotification {
  /** Left out for a push that did not come from the service. */
  id?: string;
  title: string;
  body?: string;
  type?: string;
  tag?: string;
  url?: string;
  icon?: string;
  image?: string;
  badge?: string;
  actions?: { action: string; title: string; icon?: string; url?: string }[];
  data?: Record<string, unknown>;
  created_at?: string;
  scheduled_at?: string;
  app_badge?: number;
}

export interface PushClientEvents {
  /** A notification was shown, was clicked (`action`: which button), or was closed. */
  received: CustomEvent<{ notification: PushNotification }>;
  clicked: CustomEvent<{ notification: PushNotification; action?: string }>;
  closed: CustomEvent<{ notification: PushNotification }>;
  /** The status is another than before. */
  change: CustomEvent<PushStatus>;
}

/** Turns notifications on and off in a page, and repairs at each visit what came apart. */
export class PushClient extends EventTarget {
  constructor(options: PushOptions);
  /** How things are, after putting right what came apart. Never asks for permission; never throws. */
  status(): Promise<PushStatus>;
  /**
   * Turn notifications on: call it from a click, and await nothing before. Topics left out, those of before stay.
   * Throws PushError.
   */
  subscribe(wish?: { topics?: string[] }): Promise<PushStatus>;
  /** Turn them off, also when somebody logs out. Works offline. */
  unsubscribe(): Promise<PushStatus>;
  /** Replace the topics. Throws PushError. */
  setTopics(topics: string[]): Promise<PushStatus>;
  addEventListener<Kind extends keyof PushClientEvents>(
    kind: Kind,
    listener: (event: PushClientEvents[Kind]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    kind: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}
