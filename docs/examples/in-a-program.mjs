// Starts a name server inside a program, asks it something, and stops it.
import { NameServerLocator, NameServerStarter } from 'pyro-ns';

const starter = new NameServerStarter({ print: console.log });
const uri = await starter.start({ hostname: 'localhost', nsport: 0, dontlookupother: true });

const nameServer = await new NameServerLocator().getNS({ host: 'localhost', port: uri.port });
await nameServer.register('lamp', 'PYRO://localhost/one');
console.log('registered', String(await nameServer.resolve('lamp')));
await nameServer._release();

await starter.shutdown();
