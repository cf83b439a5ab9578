// Answers each question, a line of JSON, with what our locator says, as a line of JSON.
import { createInterface } from 'node:readline';
import { defaultConfig, NameServerLocator, PyroError } from '../../dist/index.js';

async function answer({ command, items, identification, ...where }) {
  const locator = new NameServerLocator({ config: { ...defaultConfig(), ...items }, identification });
  try {
    return { answer: await locator.sendSysCommand(command, where) };
  } catch (error) {
    if (error instanceof PyroError) return { error: error.message };
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
