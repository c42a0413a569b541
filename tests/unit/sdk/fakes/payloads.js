// One notification in both forms in which the service sends it.

import { SITE, TOKEN } from "./worker.js";

export const PUSH = {
  id: "n1",
  title: "New post",
  body: "Read it",
  type: "blog_post",
  tag: "blog",
  created_at: "2026-11-23T07:00:00.123456+00:00",
  icon: "https://cdn.example.com/icon.png",
  image: "https://cdn.example.com/image.png",
  badge: "https://cdn.example.com/badge.png",
  url: "https://www.example.com/posts/1",
  actions: [
    { action: "read", title: "Read", icon: "https://cdn.example.com/read.png", url: `${SITE}/read` },
    { action: "later", title: "Later" },
  ],
  data: { post: 1 },
  app_badge: 7,
  receipt: TOKEN,
};

export const DECLARATIVE = {
  web_push: 8030,
  mutable: true,
  app_badge: 7,
  notification: {
    title: PUSH.title,
    body: PUSH.body,
    tag: PUSH.tag,
    navigate: PUSH.url,
    icon: PUSH.icon,
    image: PUSH.image,
    badge: PUSH.badge,
    actions: [
      { action: "read", title: "Read", icon: PUSH.actions[0].icon, navigate: PUSH.actions[0].url },
      { action: "later", title: "Later", navigate: PUSH.url },
    ],
    data: { id: PUSH.id, type: PUSH.type, created_at: PUSH.created_at, data: PUSH.data, receipt: TOKEN },
  },
};
