// Serves a database to a test that needs it in a process of its own: to be killed, starved, traced. A request is a line of
// JSON on stdin, `[id, method, name, ...]`; the answer a line on stdout, `[id, value]` or `[id, null, text of the error]`.
import { createInterface } from 'node:readline';
import { Name, PyroURI } from '../../dist/names/index.js';
import { DirectoryNamespace } from '../../dist/namespace/index.js';

const say = (...line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const writeLog = (...parts) => process.stderr.write(`${parts.join(' ')}\n`);
const log = { msg: writeLog, warn: writeLog, error: writeLog, startSession: writeLog, reopen: writeLog };

const [directory = '', options = '{}'] = process.argv.slice(2);

async function answer(namespace, method, text, argument) {
  const name = Name.parse(text);
  if (method === 'close') return namespace.close();
  if (method === 'register') return namespace.register(name, PyroURI.parse(argument));
  if (method === 'resolve') return String(await namespace.resolve(name));
  return namespace[method](name, argument);
}

try {
  const namespace = await DirectoryNamespace.open(directory, { log, ...JSON.parse(options) });
  say('open', null);
  for await (const line of createInterface({ input: process.stdin })) {
    const [id, method, text, argument] = JSON.parse(line);
    answer(namespace, method, text, argument).then(
      (value) => say(id, value ?? null),
      (error) => say(id, null, error.message),
    );
  }
} catch (error) {
  say('open', null, error.message);
  process.exitCode = 1;
}
