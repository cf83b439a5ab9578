import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Server } from './name-server-process.mjs';

const PREFIX_LENGTH = 16;
const INTERFACE = 'segment';

/** Who is not root may have namespaces in a user namespace, where the system allows that. */
const asRoot = process.getuid?.() === 0;
const NEW = asRoot ? [] : ['--user', '--map-root-user'];
const ENTERED = asRoot ? [] : ['--user', '--preserve-credentials'];

/**
 * True where no network namespaces can be made here, which then is said on stderr: not Linux, no right to, or no
 * iproute2.
 * @param what what stays untested
 */
export function lacksNamespaces(what: string): boolean {
  const probe = ['--net', '--uts', '--mount', 'ip', 'link', 'set', 'lo', 'up'];
  const { status, error, stderr } = spawnSync('unshare', [...NEW, ...probe], { encoding: 'utf8' });
  if (status === 0) return false;
  const why = error?.message ?? stderr.trim();
  process.stderr.write(`NOT TESTED: ${what}. It needs Linux, iproute2, and network namespaces: ${why}\n`);
  return true;
}

/** A host of a segment: a network namespace with a host name of its own. */
export class Host {
  constructor(
    readonly name: string,
    readonly address: string,
    private readonly holder: ChildProcess,
  ) {}

  get pid(): number {
    return this.holder.pid ?? 0;
  }

  /** A command line that runs this one on the host. */
  command(...command: readonly string[]): readonly [string, ...string[]] {
    return ['nsenter', '--target', String(this.pid), ...ENTERED, '--net', '--uts', '--mount', '--wd=.', ...command];
  }

  /** The same kind of name server, to be started on this host. */
  server(server: Server): Server {
    return { ...server, command: this.command(...server.command) };
  }

  /** Lets go of it: with its last process the namespace is gone. */
  async dispose(): Promise<void> {
    if (this.holder.exitCode !== null) return;
    const gone = once(this.holder, 'close');
    this.holder.stdin?.end();
    await gone;
  }
}

/**
 * Two hosts on a network segment of their own, made of network namespaces: what they broadcast stays in there. All of
 * it vanishes by itself when the process that made it ends.
 */
export class Segment {
  private constructor(
    private readonly directory: string,
    readonly alpha: Host,
    readonly beta: Host,
  ) {}

  /** What a broadcast to this one network is sent to. */
  readonly broadcastAddress = '10.77.255.255';

  static async create(): Promise<Segment> {
    const directory = await mkdtemp(join(tmpdir(), 'pyro-ns-segment-'));
    const hosts = join(directory, 'hosts');
    await writeFile(hosts, '127.0.0.1 localhost\n10.77.0.1 alpha\n10.77.0.2 beta\n');
    const alpha = new Host('alpha', '10.77.0.1', await hold('alpha', hosts));
    const beta = new Host('beta', '10.77.0.2', await hold('beta', hosts, alpha.pid));
    const segment = new Segment(directory, alpha, beta);
    ip(alpha, 'link', 'add', INTERFACE, 'type', 'veth', 'peer', 'name', INTERFACE, 'netns', String(beta.pid));
    for (const host of [alpha, beta]) {
      ip(host, 'address', 'add', `${host.address}/${PREFIX_LENGTH}`, 'broadcast', '+', 'dev', INTERFACE);
      ip(host, 'link', 'set', INTERFACE, 'up');
      ip(host, 'route', 'add', 'default', 'dev', INTERFACE);
    }
    return segment;
  }

  /** Nothing gets from one host to the other any more, until `heal`. */
  part(): void {
    ip(this.alpha, 'link', 'set', INTERFACE, 'down');
  }

  heal(): void {
    ip(this.alpha, 'link', 'set', INTERFACE, 'up');
    // It went with the link.
    ip(this.alpha, 'route', 'add', 'default', 'dev', INTERFACE);
  }

  async dispose(): Promise<void> {
    await Promise.all([this.alpha.dispose(), this.beta.dispose()]);
    await rm(this.directory, { recursive: true, force: true });
  }
}

function ip(host: Host, ...args: readonly string[]): void {
  const [program, ...rest] = host.command('ip', ...args);
  execFileSync(program, rest, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/**
 * Starts the process that a host's namespaces live with; it ends with its stdin.
 * @param hosts the file that names are looked up in
 * @param owner whose user namespace the new ones belong to
 */
async function hold(name: string, hosts: string, owner?: number): Promise<ChildProcess> {
  const within = owner === undefined || asRoot ? [] : ['nsenter', '--target', String(owner), ...ENTERED];
  const set = `hostname ${name} && mount --bind "$0" /etc/hosts && ip link set lo up && echo ready && exec cat`;
  const user = within.length > 0 ? [] : NEW;
  const command = [...within, 'unshare', ...user, '--net', '--uts', '--mount', 'sh', '-c', set, hosts];
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close').then(() => false);
  const ready = once(child.stdout, 'data').then(() => true);
  if (!(await Promise.race([ready, ended]))) throw new Error(`the host ${name} can't be made`);
  return child;
}
