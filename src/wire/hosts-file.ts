import { readFile, stat } from 'node:fs/promises';
import { isIPv4 } from 'node:net';

/** A larger file is left to the system's own look-up: to read it would keep others waiting. */
const MAX_FILE_SIZE = 0x100000;

/** Where the system keeps it. */
export const SYSTEM_HOSTS_FILE =
  process.platform === 'win32' ? 'C:\\Windows\\System32\\drivers\\etc\\hosts' : '/etc/hosts';

type Addresses = ReadonlyMap<string, readonly string[]>;

/** The hosts file: the IPv4 addresses of host names. It is read again when it has changed. */
export class HostsFile {
  /** Of what was read: the file's inode, size and time; undefined before the first time, and where it can't be read. */
  private version: string | undefined;
  private addresses: Promise<Addresses> = Promise.resolve(new Map());

  constructor(private readonly path: string) {}

  /** The addresses of a name in lower case, in the file's order; none where it isn't in the file. */
  async addressesOf(name: string): Promise<readonly string[]> {
    const stats = await stat(this.path).catch(() => undefined);
    const isReadable = stats?.isFile() === true && stats.size <= MAX_FILE_SIZE;
    const version = isReadable ? `${stats.ino} ${stats.size} ${stats.mtimeMs}` : undefined;
    if (version !== this.version) {
      this.version = version;
      this.addresses = version === undefined ? Promise.resolve(new Map()) : this.read();
    }
    return (await this.addresses).get(name) ?? [];
  }

  private async read(): Promise<Addresses> {
    const text = await readFile(this.path, 'utf8').catch(() => '');
    const addresses = new Map<string, string[]>();
    for (const line of text.split('\n')) {
      const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
      if (!isIPv4(address)) continue;
      for (const name of names) {
        const key = name.toLowerCase();
        const known = addresses.get(key);
        if (known === undefined) addresses.set(key, [address]);
        else known.push(address);
      }
    }
    return addresses;
  }
}
