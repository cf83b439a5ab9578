// `node bare-changes.mjs DIRECTORY COUNT IN_FLIGHT plain|thrifty`: the steps of a durable `register` and nothing else: write a
// file, have it on the disk, give it its name, have that on the disk. Those that wait for the directory share its fsync. Prints
// how many a second.
import fs from 'node:fs';
import * as files from 'node:fs/promises';
import { promisify } from 'node:util';

const [directory, count, inFlight, way] = process.argv.slice(2);
const content = Buffer.from('PYRO://127.0.0.1:7766/7f00000118ac29cd31b68fb1a7f12b4aee\n');
const staging = fs.mkdtempSync(`${directory}/staging-`);
const group = fs.mkdtempSync(`${directory}/group-`);

/** As anybody would write it. */
const plain = {
  link: files.link,
  unlink: files.unlink,
  async writeFile(path) {
    const file = await files.open(path, 'wx');
    await file.write(content);
    await file.sync();
    await file.close();
  },
  async syncDirectory(path) {
    const file = await files.open(path);
    await file.sync();
    await file.close();
  },
};

const [open, write, fsync, link, unlink] = [fs.open, fs.write, fs.fsync, fs.link, fs.unlink].map((it) => promisify(it));

/** With what it was found to save: no objects for files, and what is on the disk is closed at once. */
const thrifty = {
  link,
  unlink,
  async writeFile(path) {
    const file = await open(path, 'wx');
    await write(file, content);
    await fsync(file);
    fs.closeSync(file);
  },
  async syncDirectory(path) {
    const file = await open(path, 'r');
    await fsync(file);
    fs.closeSync(file);
  },
};

const steps = { plain, thrifty }[way];
let running;
let next;

/** Resolves after an fsync that began after this call. */
function groupOnDisk() {
  const start = () => {
    next = undefined;
    running = steps.syncDirectory(group).finally(() => (running = undefined));
    return running;
  };
  if (running === undefined) return start();
  next ??= running.then(start);
  return next;
}

async function add(number) {
  const staged = `${staging}/${number}`;
  await steps.writeFile(staged);
  await steps.link(staged, `${group}/${number}`);
  const removed = steps.unlink(staged);
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
