// `node scripts/bench/pair-delay.mjs [--rounds N] [--persistent]`, after `npm run build`: how long after its answer each kind of
// change made at one server of a pair is seen at the other, in milliseconds.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { NameServerProxy, PYROAdapter, PyroURI, silentLog } from '../../dist/index.js';
import { NameServerProcess, ours } from '../../test/support/name-server-process.mjs';

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '300' }, persistent: { type: 'boolean', default: false } },
});

const listeners = [0, 1].map(() => createServer().listen(0, '127.0.0.1'));
await Promise.all(listeners.map((listener) => once(listener, 'listening')));
const ports = listeners.map((listener) => listener.address().port);
await Promise.all(listeners.map((listener) => once(listener.close(), 'close')));

const servers = [];
for (const [index, option] of ['-1', '-2'].entries()) {
  const args = [option, `127.0.0.1:${ports[1 - index]}`, ...(options.persistent ? ['-d'] : [])];
  servers.push(await NameServerProcess.start(ours, { arguments: args, port: ports[index] }));
}
const [here, there] = servers.map(({ uri }) => new NameServerProxy(PyroURI.parse(uri), { log: silentLog }));
const adapter = new PYROAdapter(here.URI, { log: silentLog });
while ((await adapter.remoteInvocation('_status', 0, [])).get('twin').get('state') !== 'connected') await nextTurn();

const uri = 'PYRO://10.1.2.3:7766/x';
const answered = (call) => call.then(() => true).catch(() => false);
const is = async (call, wanted) => (await call.catch(() => undefined)) === wanted;
/** Each change, and how it is seen. */
const changes = {
  createGroup: [() => here.createGroup(':g'), () => answered(there.list(':g'))],
  register: [() => here.register(':g.a', uri), () => answered(there.resolve(':g.a'))],
  setMeta: [() => here.setMeta(':g.a', 'meta'), () => is(there.getMeta(':g.a'), 'meta')],
  _setSystemMeta: [
    () => here._setSystemMeta(':g', { type: 0, timestamp: 5.5, owner: null }),
    async () => (await there._getSystemMeta(':g')).timestamp === 5.5,
  ],
  unregister: [() => here.unregister(':g.a'), async () => !(await answered(there.resolve(':g.a')))],
  deleteGroup: [() => here.deleteGroup(':g'), async () => !(await answered(there.list(':g')))],
};
const delays = new Map(Object.keys(changes).map((kind) => [kind, []]));
for (let round = 0; round < Number(options.rounds); round += 1) {
  for (const [kind, [change, isSeen]] of Object.entries(changes)) {
    await change();
    const began = performance.now();
    while (!(await isSeen()));
    delays.get(kind).push(performance.now() - began);
  }
}
for (const [kind, times] of delays) {
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.min(times.length - 1, Math.floor(share * times.length))].toFixed(1);
  process.stdout.write(`${kind.padEnd(15)} median ${at(0.5)} ms, 99 % ${at(0.99)} ms, at most ${at(1)} ms\n`);
}
await adapter.release();
await Promise.all([here._release(), there._release()]);
await Promise.all(servers.map((server) => server.dispose()));
