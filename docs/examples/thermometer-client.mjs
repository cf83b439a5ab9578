// Finds an object by its name, and calls it: whether it lives in Node or in Python makes no difference.
import { getAttrProxyForURI, getProxyForURI, keywords, NameServerLocator, RemoteError } from 'pyro-ns';

const nameServer = await new NameServerLocator().getNS('localhost');
const uri = await nameServer.resolve('thermometer');

const thermometer = getProxyForURI(uri);
console.log('it is', await thermometer.read());
console.log('warmer:', await thermometer.warm(1, keywords({ times: 2 })));

// Calls that don't wait for each other travel together.
console.log('three at once:', await Promise.all([thermometer.read(), thermometer.read(), thermometer.read()]));

try {
  await thermometer.warm(-1);
} catch (error) {
  if (!(error instanceof RemoteError)) throw error;
  console.log(`${error.className}: ${error.message}`);
}

// Attributes, for objects that have some.
const attributes = getAttrProxyForURI(uri);
await attributes._setAttribute('degrees', 5.5);
console.log('set to', await attributes.degrees);

await Promise.all([thermometer._release(), attributes._release(), nameServer._release()]);
