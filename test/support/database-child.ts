import type { ChildProcessWithoutNullStreams, SpawnOptionsWithoutStdio } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('database-program.mjs', import.meta.url));

/** A database, served by a process of its own. */
export class DatabaseChild {
  private readonly process: ChildProcessWithoutNullStreams;
  private readonly waiting = new Map<unknown, (answer: readonly unknown[]) => void>();
  private count = 0;
  private stderr = '';

  /** @param wrapper a command that runs the process: strace, say */
  constructor(directory: string, wrapper: readonly string[] = [], options: SpawnOptionsWithoutStdio = {}) {
    const [command, ...args] = wrapper;
    const ours = [program, directory];
    this.process =
      command === undefined
        ? spawn(process.execPath, ours, options)
        : spawn(command, [...args, process.execPath, ...ours], options);
    this.process.stderr.on('data', (data: Buffer) => (this.stderr += data.toString()));
    createInterface({ input: this.process.stdout }).on('line', (line) => {
      const answer: unknown = JSON.parse(line);
      if (Array.isArray(answer)) this.waiting.get(answer[0])?.(answer);
    });
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  /** What it has logged so far. */
  get log(): string {
    return this.stderr;
  }

  /** Waits until the database is open: gives why it is not, or undefined. */
  async opened(): Promise<unknown> {
    const [, , refusal] = await this.answerTo('open');
    return refusal;
  }

  /** What a method of the namespace returns, or the text of its refusal. */
  async ask(method: string, name = ':', argument: unknown = null): Promise<unknown> {
    this.count += 1;
    const answer = this.answerTo(this.count);
    this.process.stdin.write(`${JSON.stringify([this.count, method, name, argument])}\n`);
    const [, value, refusal] = await answer;
    return refusal ?? value;
  }

  /** Kills it, and waits until it is dead. */
  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill('SIGKILL');
    await once(this.process, 'exit');
  }

  /** Closes the database, and waits until the process has ended. */
  async close(): Promise<void> {
    const exited = once(this.process, 'exit');
    await this.ask('close');
    this.process.stdin.end();
    await exited;
  }

  private answerTo(id: unknown): Promise<readonly unknown[]> {
    return new Promise((resolve, reject) => {
      this.waiting.set(id, resolve);
      this.process.once('exit', () => {
        reject(new Error(`the process has ended: ${this.stderr}`));
      });
    });
  }
}
