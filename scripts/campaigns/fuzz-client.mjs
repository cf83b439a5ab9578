// The client of fuzz.mjs, a worker thread: changes names of a name server for a while, looks whether all is as it should be, and
// tells its longest wait for an answer, in milliseconds.
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { NameServerProxy, PyroURI, silentLog } from '../../dist/index.js';

const NAMES = ['__proto__', 'constructor', 'name'];

const proxy = new NameServerProxy(PyroURI.parse(workerData.uri), { log: silentLog });
const group = `:Work${process.pid}`;
let longest = 0;

async function timed(call) {
  const from = performance.now();
  const answer = await call;
  longest = Math.max(longest, performance.now() - from);
  return answer;
}

await timed(proxy.createGroup(group));
const until = performance.now() + workerData.ms;
for (let number = 0; performance.now() < until; number += 1) {
  const name = `${group}.${NAMES[number % NAMES.length]}${number % 2 === 0 ? '' : number}`;
  const uri = `PYRO://127.0.0.1:7766/${number}`;
  await timed(proxy.register(name, uri));
  await timed(proxy.setMeta(name, new Map([['__proto__', number]])));
  if (String(await timed(proxy.resolve(name))) !== uri) throw new Error(`${name} is not ${uri}`);
  const meta = await timed(proxy.getMeta(name));
  if (meta.get('__proto__') !== number) throw new Error(`the metadata of ${name} is another`);
  await timed(proxy.unregister(name));
  await delay(1);
}
await proxy._release();
parentPort.postMessage(longest);
