#!/usr/bin/env node
/** `pyro-genguid`: prints a new object id, for servers that give their objects fixed ones. */
import { lookup } from 'node:dns/promises';
import { hostname } from 'node:os';
import process from 'node:process';
import { hideBin } from 'yargs/helpers';
import { newGUID } from '../names/index.js';
import { argumentParser, fail, isAnswered } from './cli.js';

/** This machine's IPv4 address by its own name, as in Pyro's getGUID; a machine whose name is unknown still gets ids. */
async function ownAddress(): Promise<string> {
  try {
    const { address } = await lookup(hostname(), { family: 4 });
    return address;
  } catch {
    return '127.0.0.1';
  }
}

async function main(): Promise<void> {
  const options = await argumentParser('pyro-genguid', hideBin(process.argv))
    .usage('$0  (no arguments)\n\nPrints a new Pyro UID: the id of an object.')
    .demandCommand(0, 0, '', 'pyro-genguid takes no arguments')
    .strict()
    .parseAsync();
  if (isAnswered(options)) return;
  process.stdout.write(`${newGUID(await ownAddress(), process.pid)}\n`);
}

try {
  await main();
} catch (error) {
  fail('pyro-genguid', error);
}
