// A client that waits no longer for anything: it must end by itself. Arguments: the URI of a thing, and a silent one.
import { once } from 'node:events';
import { getProxyForURI } from '../../dist/index.js';

const [, , thing, silent] = process.argv;
const proxy = getProxyForURI(thing);
await proxy.add(1);

const controller = new AbortController();
const { signal } = controller;
const calls = [
  ...Array.from({ length: 50 }, () => proxy._with({ signal, timeout: 600 }).sleep(600)),
  ...Array.from({ length: 50 }, () => getProxyForURI(silent)._with({ signal, timeout: 600 }).sleep(600)),
];
const ended = Promise.allSettled(calls);
setTimeout(() => controller.abort(), 100);
await once(signal, 'abort');
console.log((await ended).every(({ reason }) => reason === signal.reason));
