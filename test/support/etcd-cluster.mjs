// A real etcd cluster on this machine: for tests and measurements.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const HOST = '127.0.0.1';
// What a member writes when it may be asked, in its old and its new form of log.
const READY = /ready to serve client requests|ready to serve (in)?secure client requests/;
// A tenth of the defaults or so, as there is no network to wait for.
const TIMING = ['--heartbeat-interval', '50', '--election-timeout', '500'];

/** True if there is no `etcd` to be found, which then is said on stderr. */
export function lacksEtcd(what) {
  try {
    execFileSync('etcd', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    process.stderr.write(`NOT TESTED: ${what}. Install etcd (Debian: etcd-server, etcd-client) to test it.\n`);
    return true;
  }
}

async function freePort() {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

class EtcdMember {
  #arguments;
  #process;

  constructor(name, clientPort, peerPort, directory) {
    this.name = name;
    this.endpoint = `${HOST}:${clientPort}`;
    this.peerURL = `http://${HOST}:${peerPort}`;
    this.dataDirectory = join(directory, name);
  }

  /** Starts the member, or starts it again with the data that it has, and waits until it may be asked. */
  async start(options = []) {
    this.#arguments = options.length > 0 ? options : this.#arguments;
    const child = spawn('etcd', this.#arguments, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    const kill = () => child.kill('SIGKILL');
    process.on('exit', kill);
    child.on('exit', () => process.off('exit', kill));
    const lines = createInterface({ input: child.stderr });
    const last = [];
    await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        if (READY.test(line)) resolve();
        last.push(line);
        if (last.length > 20) last.shift();
      });
      child.on('error', reject);
      child.on('exit', (code) => reject(new Error(`etcd ended with ${code}:\n${last.join('\n')}`)));
    });
  }

  /** Ends it without warning, or with a signal of choice. */
  async kill(signal = 'SIGKILL') {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    // A process that is suspended would not end otherwise.
    child.kill('SIGCONT');
    await exit;
  }

  /** It keeps its connections, and does nothing any more. */
  suspend() {
    this.#process.kill('SIGSTOP');
  }

  resume() {
    this.#process.kill('SIGCONT');
  }

  /** The arguments that tell what it is in the cluster. */
  get identity() {
    const wanted = ['name', 'data-dir', 'initial-cluster', 'initial-cluster-token', 'initial-advertise-peer-urls'];
    return wanted.flatMap((option) => {
      const at = this.#arguments.indexOf(`--${option}`);
      return this.#arguments.slice(at, at + 2);
    });
  }

  get pid() {
    return this.#process.pid;
  }
}

export class EtcdCluster {
  constructor(members, directory) {
    this.members = members;
    this.directory = directory;
  }

  /**
   * @param size how many members
   * @param storage where data is kept; in memory, where the system has such a place, unless it is given
   * @param options more of etcd's own
   */
  static async start({ size = 1, storage = existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), options = [] } = {}) {
    const directory = await mkdtemp(join(storage, 'pyro-ns-etcd-'));
    const members = await Promise.all(
      Array.from({ length: size }, async (_, index) => {
        return new EtcdMember(`member${index}`, await freePort(), await freePort(), directory);
      }),
    );
    const cluster = new EtcdCluster(members, directory);
    const all = members.map(({ name, peerURL }) => `${name}=${peerURL}`).join(',');
    const scheme = options.includes('--cert-file') ? 'https' : 'http';
    try {
      await Promise.all(
        members.map(({ name, endpoint, peerURL, dataDirectory }, index) => {
          const urls = {
            'listen-client-urls': `${scheme}://${endpoint}`,
            'advertise-client-urls': `${scheme}://${endpoint}`,
            'listen-peer-urls': peerURL,
            'initial-advertise-peer-urls': peerURL,
            'initial-cluster': all,
            'initial-cluster-token': directory,
          };
          const settings = Object.entries(urls).flatMap(([key, value]) => [`--${key}`, value]);
          return members[index].start([
            '--name',
            name,
            '--data-dir',
            dataDirectory,
            ...settings,
            ...TIMING,
            ...options,
          ]);
        }),
      );
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** An etcd URL of all members. */
  url(prefix) {
    return `etcd://${this.members.map(({ endpoint }) => endpoint).join(',')}${prefix}`;
  }

  /** Runs etcdctl, and returns what it prints. */
  async etcdctl(...args) {
    const endpoints = this.members.map(({ endpoint }) => endpoint).join(',');
    const environment = { ...process.env, ETCDCTL_API: '3' };
    const { stdout } = await promisify(execFile)('etcdctl', ['--endpoints', endpoints, ...args], {
      env: environment,
      maxBuffer: 2 ** 26,
    });
    return stdout;
  }

  /** The revision of the store. */
  async revision() {
    return /"Revision" : (\d+)/.exec(await this.etcdctl('endpoint', 'status', '--write-out', 'fields'))[1];
  }

  /** Goes back to what `etcdctl snapshot save` has saved. */
  async restore(backup) {
    for (const member of this.members) {
      await member.kill();
      await rm(member.dataDirectory, { recursive: true });
      await this.etcdctl('snapshot', 'restore', backup, ...member.identity);
    }
    await Promise.all(this.members.map((member) => member.start()));
  }

  /** The member that leads the others. */
  async leader() {
    const statuses = JSON.parse(await this.etcdctl('endpoint', 'status', '--write-out', 'json'));
    const { Endpoint } = statuses.find(({ Status }) => Status.leader === Status.header.member_id);
    return this.members.find(({ endpoint }) => endpoint === Endpoint);
  }

  async stop() {
    await Promise.all(this.members.map((member) => member.kill()));
    await rm(this.directory, { recursive: true, force: true });
  }
}
