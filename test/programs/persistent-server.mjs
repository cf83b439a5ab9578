// Serves a counter on loopback, under an id that survives its restart, until it is killed. Arguments: the URI of the
// name server, and the port (0 lets the system choose). Prints the URI.
import { Daemon, getProxyForURI } from '../../dist/index.js';

class Counter {
  #count = 0;

  next() {
    return ++this.#count;
  }
}

const [, , nameServer, port] = process.argv;
const daemon = await Daemon.start({ host: '127.0.0.1', port: Number(port), norange: true });
daemon.useNameServer(getProxyForURI(nameServer));
process.stdout.write(`${await daemon.connectPersistent(new Counter(), 'counter')}\n`);
