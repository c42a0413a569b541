'use strict';

// A sender in a process of its own, told what to do on standard input, a line of JSON each: first what there is to
// send ({subscribers, vapid, payload, ttl_seconds}), then again and again how many of them to send to now. Answers
// with what that took. Run: node main.js web_push|http2_sender

const readline = require('node:readline');

async function measured(count, send) {
  const cpuBefore = process.cpuUsage(); // of all threads
  const wallBefore = process.hrtime.bigint();
  await send();
  const wallNanoseconds = Number(process.hrtime.bigint() - wallBefore);
  const cpu = process.cpuUsage(cpuBefore);
  return {
    deliveries: count,
    wall_seconds: wallNanoseconds / 1e9,
    cpu_seconds: (cpu.user + cpu.system) / 1e6,
  };
}

async function main() {
  const { openSender } = require(`./${process.argv[2]}.js`);
  let work = null;
  let sender = null;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    if (work === null) {
      work = order;
      sender = openSender(work);
      continue;
    }
    const subscribers = work.subscribers.slice(0, order);
    const took = await measured(subscribers.length, () => sender.send(subscribers));
    process.stdout.write(`${JSON.stringify(took)}\n`);
  }
  if (sender !== null) sender.close();
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
