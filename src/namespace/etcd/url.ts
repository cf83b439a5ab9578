import { ConfigError } from '../../errors.js';

const SCHEME = 'etcd://';
const DEFAULT_PORT = 2379;

const URL = /^etcd:\/\/([^/]+)(\/[!-~]*[!-.0-~])\/?$/;
const ENDPOINT = /^(\[[0-9a-f:.]+\]|[^:[\]@]+)(?::(\d{1,5}))?$/i;

/** What an etcd URL says. */
export interface EtcdLocation {
  /** `host:port` of each member that it names. */
  readonly endpoints: readonly string[];
  /** What all keys begin with, such as `/pyro`; without a slash at its end. */
  readonly prefix: string;
}

/** True if this is meant to say where an etcd cluster is. */
export function isEtcdURL(text: string): boolean {
  return text.startsWith(SCHEME);
}

/**
 * Reads `etcd://host:2379[,host:2379...]/prefix`.
 * @throws ConfigError that says what would be right
 */
export function parseEtcdURL(text: string): EtcdLocation {
  const [, hosts, prefix] = URL.exec(text) ?? [];
  if (hosts === undefined || prefix === undefined) {
    throw new ConfigError(`'${text}' must be etcd://host[:port][,host[:port]...]/prefix`);
  }
  return { endpoints: hosts.split(',').map(endpointOf), prefix };
}

function endpointOf(text: string): string {
  const [, host, port] = ENDPOINT.exec(text) ?? [];
  if (host === undefined || Number(port ?? DEFAULT_PORT) > 65535) {
    throw new ConfigError(
      `'${text}' in the etcd URL must be host or host:port; users and passwords are items of their own`,
    );
  }
  return `${host}:${port ?? DEFAULT_PORT}`;
}
