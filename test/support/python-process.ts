import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pyro3, pythonEnvironment } from './name-server-process.mjs';

interface Waiting {
  resolve: (answer: unknown) => void;
  reject: (why: Error) => void;
}

/** A Python 2 program of ours that imports the real Pyro 3, and answers each line of JSON with a line of JSON. */
export class PythonProcess {
  private readonly waiting: Waiting[] = [];
  private complaints = '';

  private constructor(
    private readonly child: ChildProcess,
    private readonly exited: Promise<unknown>,
  ) {}

  /**
   * @param script where the program is; its directory is on its module path
   * @param environment PYRO_* items for the client
   */
  static start(script: URL, args: readonly string[], environment: Record<string, string> = {}): PythonProcess {
    if (pyro3 === undefined) throw new Error('PYRO3_HOME and PYTHON2 are not set');
    const child = spawn(pyro3.python, ['-u', fileURLToPath(script), ...args], {
      env: { ...process.env, ...pythonEnvironment(), ...environment },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const python = new PythonProcess(child, once(child, 'close'));
    createInterface({ input: child.stdout }).on('line', (line) => {
      python.waiting.shift()?.resolve(JSON.parse(line));
    });
    // A write to a program that has ended fails here too; why it ended is what `ask` tells.
    child.stdin.on('error', () => undefined);
    child.stderr.setEncoding('utf8').on('data', (text: string) => (python.complaints += text));
    child.on('close', () => {
      const why = new Error(`the Python program ended: ${python.complaints}`);
      for (const { reject } of python.waiting.splice(0)) reject(why);
    });
    return python;
  }

  /** Asks one thing; answers come in the order of the questions. */
  ask(question: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.child.exitCode !== null) {
        reject(new Error(`the Python program has ended: ${this.complaints}`));
        return;
      }
      this.waiting.push({ resolve, reject });
      this.child.stdin?.write(`${JSON.stringify(question)}\n`);
    });
  }

  /** Ends the program and waits for its end. */
  async end(): Promise<void> {
    this.child.stdin?.end();
    await this.exited;
  }
}
