// A Node program of the RPC benchmark. `serve`: serves an object and prints its URI. `call JSON`: calls the object at
// { uri, connections, inFlight, warmUpMs, measureMs, bytes } and prints JSON: { calls, ms }. With `bytes`, calls have one
// argument of that size, else two small ones.
import process from 'node:process';
import { Daemon, getProxyForURI } from '../../dist/index.js';

class Thing {
  add(first, second) {
    return first + second;
  }

  sizeOf(bytes) {
    return bytes.length;
  }
}

async function serve() {
  const daemon = await Daemon.start({ host: '127.0.0.1', port: 0, norange: true });
  process.stdout.write(`${await daemon.connect(new Thing(), 'thing')}\n`);
}

async function call({ uri, connections, inFlight, warmUpMs, measureMs, bytes }) {
  const large = bytes > 0 ? Buffer.alloc(bytes, 0x80) : undefined;
  let calls = 0;
  let ended = false;
  const caller = async (proxy) => {
    while (!ended) {
      const answer = large ? await proxy.sizeOf(large) : await proxy.add(calls, 1);
      if (answer < 1) throw new Error(`wrong answer: ${answer}`);
      calls += 1;
    }
  };
  const proxies = Array.from({ length: connections }, () => getProxyForURI(uri));
  const callers = proxies.flatMap((proxy) => Array.from({ length: inFlight }, () => caller(proxy)));
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  await Promise.race([wait(warmUpMs), ...callers]);
  const before = calls;
  const from = performance.now();
  await Promise.race([wait(measureMs), ...callers]);
  const measured = { calls: calls - before, ms: performance.now() - from };
  ended = true;
  await Promise.all(callers);
  await Promise.all(proxies.map((proxy) => proxy._release()));
  process.stdout.write(JSON.stringify(measured));
}

const [, , role, job] = process.argv;
if (role === 'serve') await serve();
else await call(JSON.parse(job));
