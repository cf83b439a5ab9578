// `node bare-changes.mjs DIRECTORY COUNT IN_FLIGHT`: the steps of a durable `register` and nothing else: write a file, have it on
// the disk, give it its name, have that on the disk. Those that wait for the directory share its fsync. Prints how many a second.
import fs from 'node:fs';
import { promisify } from 'node:util';

const [directory, count, inFlight] = process.argv.slice(2);
const content = Buffer.from('PYRO://127.0.0.1:7766/7f00000118ac29cd31b68fb1a7f12b4aee\n');
const [open, write, fsync, link, unlink] = [fs.open, fs.write, fs.fsync, fs.link, fs.unlink].map((it) => promisify(it));
const staging = fs.mkdtempSync(`${directory}/staging-`);
const group = fs.mkdtempSync(`${directory}/group-`);

let running;
let next;

async function syncGroup() {
  const file = await open(group, 'r');
  await fsync(file);
  fs.closeSync(file);
}

/** Resolves after an fsync that began after this call. */
function groupOnDisk() {
  const start = () => {
    next = undefined;
    running = syncGroup().finally(() => (running = undefined));
    return running;
  };
  if (running === undefined) return start();
  next ??= running.then(start);
  return next;
}

async function add(number) {
  const staged = `${staging}/${number}`;
  const file = await open(staged, 'wx');
  await write(file, content);
  await fsync(file);
  fs.closeSync(file);
  await link(staged, `${group}/${number}`);
  const removed = unlink(staged);
  await groupOnDisk();
  await removed;
}

let number = 0;
const from = performance.now();
await Promise.all(
  Array.from({ length: Number(inFlight) }, async () => {
    while (number < Number(count)) await add(number++);
  }),
);
process.stdout.write(String((Number(count) / (performance.now() - from)) * 1000));
