import { silentLog } from '../../src/config/index.js';
import type { EtcdOptions } from '../../src/namespace/index.js';
import type { EtcdCluster } from './etcd-cluster.mjs';

/** How tests open a namespace in etcd: at all members, where they don't want it otherwise. */
export function etcdOptions({ members }: EtcdCluster, wanted: Partial<EtcdOptions> = {}): EtcdOptions {
  return {
    endpoints: members.map(({ endpoint }) => endpoint),
    prefix: '/pyro',
    tls: undefined,
    user: undefined,
    read: 'cached',
    staleSeconds: 60,
    timeoutSeconds: 10,
    log: silentLog,
    ...wanted,
  };
}
