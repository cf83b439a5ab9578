import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A program of ours on Node, with the built package: it serves something, and says in its first line what. */
export class NodeProgram {
  private complaints = '';

  private constructor(
    private readonly child: ChildProcess,
    private readonly exited: Promise<unknown>,
  ) {}

  /** What the program said: a URI. */
  uri = '';

  /**
   * Starts one, and waits until it serves.
   * @param items PYRO_* items for its environment
   * @throws Error with what it wrote to stderr, where it ends before
   */
  static async start(
    script: URL,
    args: readonly string[] = [],
    items: Readonly<Record<string, string>> = {},
  ): Promise<NodeProgram> {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('PYRO'));
    const child = spawn(process.execPath, [fileURLToPath(script), ...args], {
      env: { ...Object.fromEntries(environment), ...items },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const program = new NodeProgram(child, once(child, 'close'));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (program.complaints += text));
    const said = once(createInterface({ input: child.stdout }), 'line').then(String);
    const line = await Promise.race([said, program.exited.then(() => undefined)]);
    if (line === undefined) throw new Error(`the program ended: ${program.complaints}`);
    program.uri = line;
    return program;
  }

  /** Sends a signal and waits for the end; a program that has ended is as good. */
  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.child.kill(signal);
    await this.exited;
  }
}
