'use strict';

// Calls send(item) for each, so many at once, and resolves when all are done; rejects with the first error.
module.exports.inTurns = async function inTurns(items, atOnce, send) {
  let next = 0;
  async function go() {
    while (next < items.length) {
      const item = items[next];
      next += 1;
      await send(item);
    }
  }
  await Promise.all(Array.from({ length: atOnce }, go));
};
