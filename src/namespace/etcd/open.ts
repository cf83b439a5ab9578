import { readFileSync } from 'node:fs';
import { readSecretFile, type Config, type Log } from '../../config/index.js';
import { ConfigError, NamingError } from '../../errors.js';
import { refusalText } from '../../refusals.js';
import type { EtcdAccess } from './client.js';
import type { EtcdNamespace } from './etcd-namespace.js';
import { parseEtcdURL } from './url.js';

export interface EtcdOpenOptions {
  /** The PYRO_NS_ETCD_* items, and PYRO_NS_READ. */
  readonly config: Config;
  readonly log: Log;
}

/**
 * Opens the namespace at an etcd URL with the configuration's PYRO_NS_ETCD_* items, and loads it. Creates an empty one if
 * there is none.
 * @param url `etcd://host:2379[,host:2379...]/prefix`
 * @throws ConfigError where the URL or an item is wrong, NamingError where etcd can't be reached or refuses
 */
export async function openEtcdNamespace(url: string, { config, log }: EtcdOpenOptions): Promise<EtcdNamespace> {
  const { endpoints, prefix } = parseEtcdURL(url);
  // Imported only when needed, because loading gRPC takes as long as loading all the rest of a program.
  const [{ EtcdNamespace }, { EtcdError }] = await Promise.all([import('./etcd-namespace.js'), import('./client.js')]);
  try {
    return await EtcdNamespace.open({
      endpoints,
      prefix,
      tls: tlsOf(config),
      user: userOf(config, log),
      read: config.PYRO_NS_READ,
      staleSeconds: config.PYRO_NS_ETCD_STALE_SECONDS,
      timeoutSeconds: config.PYRO_NS_ETCD_TIMEOUT,
      log,
    });
  } catch (error) {
    if (!(error instanceof EtcdError)) throw error;
    throw new NamingError(refusalText('ETCD_NOT_OPENED', error.message), url);
  }
}

function tlsOf(config: Config): EtcdAccess['tls'] {
  const { PYRO_NS_ETCD_CA: ca, PYRO_NS_ETCD_CERT: cert, PYRO_NS_ETCD_KEY: key } = config;
  if ((cert === undefined) !== (key === undefined)) {
    throw new ConfigError('PYRO_NS_ETCD_CERT and PYRO_NS_ETCD_KEY must be set both, or none of them');
  }
  if (ca === undefined && cert !== undefined) {
    throw new ConfigError('PYRO_NS_ETCD_CERT must be set together with PYRO_NS_ETCD_CA');
  }
  if (ca === undefined) return undefined;
  return {
    ca: readItem('PYRO_NS_ETCD_CA', ca),
    cert: cert === undefined ? undefined : readItem('PYRO_NS_ETCD_CERT', cert),
    key: key === undefined ? undefined : readItem('PYRO_NS_ETCD_KEY', key),
  };
}

function userOf(config: Config, log: Log): EtcdAccess['user'] {
  const { PYRO_NS_ETCD_USER: name, PYRO_NS_ETCD_PASSWORD_FILE: file } = config;
  if ((name === undefined) !== (file === undefined)) {
    throw new ConfigError('PYRO_NS_ETCD_USER and PYRO_NS_ETCD_PASSWORD_FILE must be set both, or none of them');
  }
  if (name === undefined || file === undefined) return undefined;
  const warn = (warning: string): void => {
    log.warn('EtcdNamespace', warning);
  };
  const password = readSecretFile('PYRO_NS_ETCD_PASSWORD_FILE', file, { what: 'the password', warn });
  return { name, password };
}

function readItem(item: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const reason = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error);
    throw new ConfigError(refusalText('FILE_UNREADABLE', `${item} ${path}`, reason));
  }
}
