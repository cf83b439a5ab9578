// An etcd in this process, at the seam of `EtcdClient`: what it does is decided by the test, at once and in order. Plain
// JavaScript (with its types beside it), as each call has messages of its own type.
import { status } from '@grpc/grpc-js';
import { EtcdError } from '../../src/namespace/etcd/client.js';
import { LEASE_GRANT, RANGE, TRANSACTION } from '../../src/namespace/etcd/protocol.js';

const NO_RESPONSE = { created: false, canceled: false, cancelReason: '', compactRevision: 0, events: [] };

const bytesOf = (value) => Buffer.from(value);

/** Whether a key is in a range. */
const isIn = ({ key, end }, candidate) => (end === undefined ? candidate === key : candidate >= key && candidate < end);

export class FakeEtcd {
  endpoint = 'fake:2379';
  fates = [];
  lost = [];
  #revision = 1;
  #compacted = 0;
  /** What was at each key, by revision. */
  #states = new Map([[1, new Map()]]);
  /** The events of each revision. */
  #events = new Map();
  #watches = new Set();
  #held = false;
  #closed = false;

  async call(method, request) {
    await Promise.resolve();
    if (this.#closed) throw new EtcdError('the client is closed', 'unsent');
    if (method.path === RANGE.path) return this.#range(request);
    if (method.path === LEASE_GRANT.path) return { seconds: request.seconds };
    if (method.path !== TRANSACTION.path) throw new Error(`${method.path} is not known here`);
    const fate = this.fates.shift();
    if (fate === 'lost before') this.lost.push(() => this.transact(request));
    if (fate === 'lost before') throw new EtcdError('no answer', 'unknown');
    if (fate === 'unsent') throw new EtcdError('no connection', 'unsent');
    if (fate === 'refused') throw new EtcdError('too many of something', 'refused');
    const response = this.transact(request);
    if (fate === 'lost after') throw new EtcdError('no answer', 'unknown');
    return response;
  }

  async callWithRetry(method, request) {
    return this.call(method, request);
  }

  watch(request, onResponse, signal) {
    if (this.#closed) return Promise.reject(new EtcdError('the client is closed', 'unsent'));
    return new Promise((_, reject) => {
      const watch = { request, onResponse, next: request.startRevision, reject };
      const end = () => {
        this.#watches.delete(watch);
        reject(new EtcdError('the watch was ended', 'unknown'));
      };
      signal.addEventListener('abort', end);
      this.#watches.add(watch);
      void Promise.resolve().then(() => {
        if (signal.aborted) return;
        onResponse({ ...NO_RESPONSE, created: true });
        if (request.startRevision > this.#compacted) this.#tell(watch);
        else onResponse({ ...NO_RESPONSE, canceled: true, compactRevision: this.#compacted + 1 });
      });
    });
  }

  close() {
    this.#closed = true;
    this.breakWatches();
  }

  get(key) {
    const stored = this.#now.get(key);
    return stored === undefined ? undefined : stored.value.toString();
  }

  keysBelow(base) {
    return [...this.#now.keys()].filter((key) => key.startsWith(base)).sort();
  }

  transact(request) {
    const before = this.#now;
    const after = new Map(before);
    const events = [];
    const revision = this.#revision + 1;
    const response = this.#perform(request, before, after, events, revision);
    if (events.length === 0) return { ...response, revision: this.#revision };
    this.#revision = revision;
    this.#states.set(revision, after);
    this.#events.set(revision, events);
    for (const watch of this.#watches) this.#tell(watch);
    return response;
  }

  /** Makes changes as another server does, with a token of its own. */
  put(values, token) {
    const puts = Object.entries(values).map(([key, value]) =>
      value === undefined ? { delete: { key } } : { put: key, value },
    );
    return this.transact({ compare: [], success: [...puts, { put: '/pyro/change', value: token }], failure: [] });
  }

  holdEvents() {
    this.#held = true;
  }

  releaseEvents() {
    this.#held = false;
    for (const watch of this.#watches) this.#tell(watch);
  }

  breakWatches() {
    for (const { reject } of this.#watches) reject(new EtcdError('the stream has ended', 'unknown'));
    this.#watches.clear();
  }

  compact() {
    for (let revision = 1; revision < this.#revision; revision += 1) this.#states.delete(revision);
    this.#compacted = this.#revision - 1;
  }

  backup() {
    return { revision: this.#revision, keys: new Map(this.#now) };
  }

  /** As `etcdutl snapshot restore`: what was changed since is gone, and its revisions are given again. */
  restore({ revision, keys }) {
    this.breakWatches();
    this.#revision = revision;
    this.#states = new Map([[revision, new Map(keys)]]);
    this.#events = new Map();
    this.#compacted = revision - 1;
  }

  get #now() {
    return this.#states.get(this.#revision);
  }

  #tell(watch) {
    if (this.#held) return;
    for (; watch.next <= this.#revision; watch.next += 1) {
      const events = (this.#events.get(watch.next) ?? []).filter(({ key }) => isIn(watch.request, key));
      if (events.length > 0 && this.#watches.has(watch)) watch.onResponse({ ...NO_RESPONSE, events });
    }
  }

  #range({ revision = this.#revision, limit = Infinity, ...range }) {
    const state = this.#states.get(revision);
    if (state === undefined) {
      const why = revision > this.#revision ? 'is a future revision' : 'has been compacted';
      throw new EtcdError(`required revision ${why}`, 'refused', status.OUT_OF_RANGE);
    }
    const found = [...state].filter(([key]) => isIn(range, key)).sort(([one], [other]) => (one < other ? -1 : 1));
    const keyValues = found.slice(0, limit).map(([key, { value, modRevision }]) => ({ key, value, modRevision }));
    return { revision: this.#revision, keyValues, more: found.length > limit };
  }

  #perform({ compare, success, failure }, before, after, events, revision) {
    const succeeded = compare.every((comparison) => holds(comparison, before.get(comparison.key)));
    const response = { revision, succeeded, ranges: [], transactions: [] };
    for (const step of succeeded ? success : failure) {
      if ('range' in step) {
        const found = [...after].filter(([key]) => isIn(step.range, key));
        const keyValues = found.map(([key, { value, modRevision }]) => ({ key, value, modRevision }));
        response.ranges.push({ revision, keyValues, more: false });
      } else if ('put' in step) {
        const version = (after.get(step.put)?.version ?? 0) + 1;
        const value = bytesOf(step.value);
        after.set(step.put, { value, modRevision: revision, version });
        events.push({ key: step.put, value, modRevision: revision });
      } else if ('delete' in step) {
        for (const key of [...after.keys()].filter((candidate) => isIn(step.delete, candidate))) {
          after.delete(key);
          events.push({ key, value: undefined, modRevision: revision });
        }
      } else {
        response.transactions.push(this.#perform(step.transaction, before, after, events, revision));
      }
    }
    return response;
  }
}

/** Etcd compares values of keys that are there only. */
function holds({ result, operand }, stored) {
  if ('value' in operand) {
    if (stored === undefined) return false;
    return stored.value.equals(bytesOf(operand.value)) === (result === 'equal');
  }
  const [[what, wanted]] = Object.entries(operand);
  const is = stored?.[what] ?? 0;
  return result === 'equal' ? is === wanted : result === 'greater' ? is > wanted : is !== wanted;
}
