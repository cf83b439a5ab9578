// Opens both doors of safe-server.mjs, whose URIs are its arguments, after it has tried without what they want.
import { getProxyForURI } from 'pyro-ns';

const [, , plainURI, secureURI] = process.argv;

const safe = getProxyForURI(plainURI);
try {
  await safe.look();
} catch (error) {
  console.log(`${error.name}: ${error.message}`);
}
safe._setIdentification('open sesame');
console.log(await safe.look());
await safe._release();

// The certificates of the PYROSSL_* items are shown, and the server's is checked.
const secure = getProxyForURI(secureURI);
console.log(await secure.look());
await secure._release();
