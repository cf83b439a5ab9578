// Serves a Thing on loopback until it is killed. Arguments: the port (0 lets the system choose), and the
// identifications let in (all, where there are none). Prints the URI.
import { setTimeout as delay } from 'node:timers/promises';
import { Daemon, getCaller, NamingError, ObjBase, RemoteError } from '../../dist/index.js';

class Thing extends ObjBase {
  attribute = 5;
  noted = [];

  add(first, second = 10) {
    return first + (typeof second === 'number' ? second : second.second);
  }

  same(value) {
    return value;
  }

  note(value) {
    this.noted.push(value);
  }

  async sleep(seconds) {
    await delay(seconds * 1000);
    return seconds;
  }

  fail(how) {
    if (how === 'pyro') throw new NamingError('name not found', ':x');
    if (how === 'python') throw new RemoteError('client.classes', 'Refused', ['no', 1], new Map([['extra', 7]]));
    throw new RangeError('out of range');
  }

  async callBack(listener, ...args) {
    try {
      return await listener.called(...args);
    } finally {
      await listener._release();
    }
  }

  /** Ends the caller's connection instead of answering. */
  hangUp() {
    getCaller().destroy();
  }

  myself() {
    return this.getProxy();
  }
}

const [, , port, ...identifications] = process.argv;
const daemon = await Daemon.start({ host: '127.0.0.1', port: Number(port), norange: true });
if (identifications.length > 0) daemon.setAllowedIdentifications(identifications);
const thing = new Thing();
// Known to the test: a server that is started again serves the same object.
thing.setGUID('thing');
process.stdout.write(`${await daemon.connect(thing, 'thing')}\n`);
