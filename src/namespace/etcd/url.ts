import { ConfigError } from '../../errors.js';

const SCHEME = 'etcd://';
const DEFAULT_PORT = 2379;

const URL = /^etcd:\/\/([^/]+)(\/[!-~]*[!-.0-~])\/?$/;
const ENDPOINT = /^(\[[0-9a-f:.]+\]|[^:[\]@]+)(?::(\d{1,5}))?$/i;

/** A parsed etcd URL. */
export interface EtcdLocation {
  /** `host:port` of each member in the URL. */
  readonly endpoints: readonly string[];
  /** The prefix of all keys, such as `/pyro`, without a slash at its end. */
  readonly prefix: string;
}

/** True if a text is meant as an etcd URL, valid or not. */
export function isEtcdURL(text: string): boolean {
  return text.startsWith(SCHEME);
}

/**
 * Parses `etcd://host:2379[,host:2379...]/prefix`.
 * @throws ConfigError with the correct form
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
