// Serves an object, and registers it with the name server.
import { Daemon, NameServerLocator } from 'pyro-ns';

class Thermometer {
  degrees = 20.5;

  read() {
    return this.degrees;
  }

  /** Python calls this as warm(2), or warm(2, times=3): keywords come as one object at the end. */
  warm(by, { times = 1 } = {}) {
    if (by < 0) throw new RangeError('this is no refrigerator');
    this.degrees += by * times;
    return this.degrees;
  }

  _calibrate() {
    // Names that begin with _ can't be called from outside.
  }
}

const nameServer = await new NameServerLocator().getNS('localhost');
const daemon = await Daemon.start({ host: 'localhost' });
daemon.useNameServer(nameServer);
const uri = await daemon.connect(new Thermometer(), 'thermometer');
console.log(`serving ${uri}`);

process.once('SIGTERM', async () => {
  // Unregisters the object, answers what is under way, and lets go of the port.
  await daemon.shutdown(true);
  await nameServer._release();
});
