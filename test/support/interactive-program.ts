import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';

/** How a program is started. */
export interface ProgramOptions {
  /** The directory for temporary files by default. */
  readonly cwd?: string | undefined;
  readonly environment?: Readonly<Record<string, string>> | undefined;
}

/** What a program said, and how it ended. */
export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Any program, without PYRO_* items from outside: what it says can be waited for, and answered. */
export class InteractiveProgram {
  stdout = '';
  stderr = '';
  /** Resolves when it has ended and all that it said is here. */
  readonly ended: Promise<Outcome>;

  private constructor(private readonly child: ChildProcess) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    // What a program that has ended is told is lost.
    child.stdin?.on('error', () => undefined);
    this.ended = once(child, 'close').then(() => ({
      status: child.exitCode,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }

  static start(
    [program = '', ...args]: readonly string[],
    { cwd = tmpdir(), environment = {} }: ProgramOptions = {},
  ): InteractiveProgram {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PYRO'));
    const env = { ...Object.fromEntries(inherited), ...environment };
    return new InteractiveProgram(spawn(program, args, { cwd, env, stdio: 'pipe' }));
  }

  /** Runs one to its end, with nothing to read. */
  static run(command: readonly string[], options?: ProgramOptions): Promise<Outcome> {
    const program = InteractiveProgram.start(command, options);
    program.child.stdin?.end();
    return program.ended;
  }

  /**
   * Waits until it has said this on stdout.
   * @throws Error with all that it said, where it ends before
   */
  async until(text: string): Promise<void> {
    const ended = this.ended.then(() => true);
    while (!this.stdout.includes(text)) {
      if (await Promise.race([ended, this.more()])) break;
    }
    if (this.stdout.includes(text)) return;
    throw new Error(`the program ended without saying "${text}", but:\n${this.stdout}${this.stderr}`);
  }

  /**
   * Says one line, and waits for the next that it says.
   * @throws Error with all that it said, where it ends instead
   */
  async ask(line: string): Promise<string> {
    const before = this.stdout.length;
    this.say(line);
    const ended = this.ended.then(() => true);
    while (!this.stdout.includes('\n', before)) {
      if (await Promise.race([ended, this.more()])) {
        throw new Error(`the program ended without an answer:\n${this.stdout}${this.stderr}`);
      }
    }
    return this.stdout.slice(before);
  }

  /** Answers it with lines. */
  say(...lines: readonly string[]): void {
    for (const line of lines) this.child.stdin?.write(`${line}\n`);
  }

  /** Lets nobody read what it says from now on. */
  closeOutput(): void {
    this.child.stdout?.destroy();
  }

  /** Waits until it says more, which is false: it hasn't ended. */
  private async more(): Promise<false> {
    await once(this.child.stdout ?? this.child, 'data');
    return false;
  }

  /** Ends it, where it still runs. */
  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<Outcome> {
    this.child.kill(signal);
    return this.ended;
  }
}
