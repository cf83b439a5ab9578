/** A kind of name server that can be started. */
export interface Server {
  readonly label: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** Ours, as built into `dist`. */
export const ours: Server;

/** Where the real Pyro 3.16 is (PYRO3_HOME) and what runs it (PYTHON2); undefined if either is unset. */
export const pyro3: { readonly home: string; readonly python: string } | undefined;

/** The environment of a Python 2 process that imports Pyro 3, and modules from these directories. */
export function pythonEnvironment(...modulePaths: string[]): Record<string, string>;

/** The real one. It imports the classes of the metadata it is given: from `modulePaths`. */
export function real(...modulePaths: string[]): Server;

/** How a process ended: its exit status, or the signal. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface StartOptions {
  /** Options of `pyro-ns` besides `-n 127.0.0.1 -p port -r -x`; `-d` must stand last. */
  arguments?: readonly string[];
  /** Let it look for another name server first: without -r. Pyro 3.16 needs that with -1 and -2. */
  lookup?: boolean;
  /** Only the `arguments`, none besides. */
  bare?: boolean;
  /** The PYRO_STORAGE directory; without it a temporary one, which `dispose` removes. */
  storage?: string;
  /** More PYRO_* items. */
  environment?: Readonly<Record<string, string>>;
  /** The port to listen on; 0 lets the system choose. */
  port?: number;
}

/** A running name server, on loopback. */
export class NameServerProcess {
  private constructor();
  /** Starts one, and waits until it says `Name Server started.`. */
  static start(server: Server, options?: StartOptions): Promise<NameServerProcess>;
  readonly storage: string;
  /** All that it has printed since it was last started. */
  readonly output: string;
  readonly uri: string;
  get label(): string;
  get pid(): number;
  get address(): string;
  get port(): number;
  get objectID(): string;
  /** Resolves when the process has ended and its output is complete. */
  get exited(): Promise<Exit>;
  /** Sends a signal (SIGTERM) and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  /** Starts it again after its end, with the same storage and port. */
  restart(): Promise<void>;
  /** Kills it where it still runs, and removes its temporary storage. */
  dispose(): Promise<void>;
}
