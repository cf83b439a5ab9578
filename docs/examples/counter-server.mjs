// An object that keeps its URI over restarts of its server: clients go on with the proxy they have.
import { Daemon, NameServerLocator } from 'pyro-ns';

class Counter {
  #count = 0;

  next() {
    return ++this.#count;
  }
}

const [, , port = '7800'] = process.argv;
const nameServer = await new NameServerLocator().getNS('localhost');
// The URI holds the port: so it must be the same each time.
const daemon = await Daemon.start({ host: 'localhost', port: Number(port), norange: true });
daemon.useNameServer(nameServer);
const uri = await daemon.connectPersistent(new Counter(), 'counter');
console.log(`serving ${uri}`);
