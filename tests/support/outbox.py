"""What a browser keeps until the service has it: the outbox of push-sw.js, read as a page or a worker can."""

# An expression in JavaScript: a promise of the events kept, the oldest first.
KEPT = """new Promise((resolve, reject) => {
  const opening = indexedDB.open("push-notification-service");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const reading = opening.result.transaction("outbox").objectStore("outbox").getAll();
    reading.onsuccess = () => {
      opening.result.close();
      resolve(reading.result.map(({ event }) => event));
    };
  };
})"""
