// What the SDK uses of IndexedDB, in memory: stores with keys of their own or an increasing number, transactions
// that complete once their requests are answered. Values are copied, as a browser does.

export class FakeIndexedDB {
  #databases = new Map();
  isBroken = false; // as in a profile that is damaged
  isFull = false; // whoever wants to keep more is told by the end of the transaction
  onPut = async () => {}; // awaited before anything is kept

  open(name, version) {
    const request = {};
    queueMicrotask(() => {
      if (this.isBroken) {
        request.error = new DOMException("Nothing can be stored here.", "UnknownError");
        return request.onerror?.({ target: request });
      }
      const isNew = !this.#databases.has(name);
      const stores = this.#databases.get(name) ?? new Map();
      this.#databases.set(name, stores);
      request.result = new Database(stores, this);
      if (isNew) {
        request.onupgradeneeded?.({ target: request, oldVersion: 0, newVersion: version });
      }
      request.onsuccess?.({ target: request });
    });
    return request;
  }

  clear() {
    this.#databases.clear();
  }

  /** How the stores of the SDK's database were made, by name. */
  get stores() {
    const made = this.#databases.get("push-notification-service") ?? [];
    return Object.fromEntries([...made].map(([name, { rows, next, ...options }]) => [name, options]));
  }

  /** All that a store of the SDK's database holds, by key. */
  content(store, name = "push-notification-service") {
    return Object.fromEntries(this.#databases.get(name)?.get(store)?.rows ?? []);
  }
}

class Database {
  constructor(stores, owner) {
    this.stores = stores;
    this.owner = owner;
    this.objectStoreNames = { contains: (name) => stores.has(name) };
  }

  createObjectStore(name, options = {}) {
    this.stores.set(name, { rows: new Map(), next: 1, ...options });
  }

  transaction(_names, _mode) {
    return new Transaction(this);
  }

  close() {}
}

class Transaction {
  #open = 0;
  error = null;

  constructor(database) {
    this.database = database;
  }

  objectStore(name) {
    const store = this.database.stores.get(name);
    return {
      get: (key) => this.#request(() => structuredClone(store.rows.get(key))),
      getAll: (_range, count = Infinity) =>
        this.#request(() => [...store.rows.values()].slice(0, count).map((row) => structuredClone(row))),
      getAllKeys: () => this.#request(() => [...store.rows.keys()]),
      count: () => this.#request(() => store.rows.size),
      put: (value, key) => this.#request(() => this.#put(store, value, key)),
      add: (value, key) => this.#request(() => this.#put(store, value, key)),
      delete: (key) => this.#request(() => void store.rows.delete(key)),
    };
  }

  async #put(store, value, key) {
    const copy = structuredClone(value);
    await this.database.owner.onPut(copy);
    if (this.database.owner.isFull) {
      throw new DOMException("There is no room left.", "QuotaExceededError");
    }
    if (store.keyPath) {
      copy[store.keyPath] ??= store.next++;
    }
    const at = store.keyPath ? copy[store.keyPath] : key;
    store.rows.set(at, copy);
    return at;
  }

  #request(work) {
    const request = { transaction: this };
    this.#open += 1;
    queueMicrotask(async () => {
      try {
        request.result = await work();
      } catch (error) {
        this.error = error;
        return this.onabort?.({ target: this });
      }
      request.onsuccess?.({ target: request });
      this.#open -= 1;
      await null; // whoever awaits the request may ask for more
      if (this.#open === 0) {
        this.oncomplete?.({ target: this });
      }
    });
    return request;
  }
}
