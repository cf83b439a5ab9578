import { resolve } from 'node:path';
import type { Config, Log } from '../config/index.js';
import { DirectoryNamespace } from './directory/directory-namespace.js';
import type { DatabaseLockOptions } from './directory/lock.js';
import { openEtcdNamespace } from './etcd/open.js';
import { isEtcdURL } from './etcd/url.js';
import type { Namespace } from './namespace.js';

/** Where a name server keeps its names unless it is told otherwise: what `-d` alone stands for. */
const DEFAULT_DATABASE = 'Pyro_NS_database';

/**
 * What `-d` means: an etcd URL as it is, or the absolute path of a directory.
 * @param database the URL, or a path: absolute, or relative to PYRO_STORAGE
 */
export function databaseOf(database: string = DEFAULT_DATABASE, { PYRO_STORAGE }: Config): string {
  return isEtcdURL(database) ? database : resolve(PYRO_STORAGE, database);
}

/**
 * Opens names that outlive the process, as the configuration says: where it is decided which store keeps them.
 * @param database what `databaseOf` gives
 * @throws DatabaseInUseError where another server or tool holds a directory; NamingError where it can't be used; ConfigError
 *   where the URL or an item is wrong; the signal's reason
 */
export function openNamespace(
  database: string,
  { config, log, ...lockOptions }: { readonly config: Config; readonly log: Log } & DatabaseLockOptions,
): Promise<Namespace> {
  if (isEtcdURL(database)) return openEtcdNamespace(database, { config, log });
  return DirectoryNamespace.open(database, {
    ...lockOptions,
    log,
    sync: config.PYRO_NS_SYNC,
    cacheNames: config.PYRO_NS_CACHE_NAMES,
    watch: config.PYRO_NS_WATCH,
  });
}
