import type { EtcdClient } from '../../src/namespace/etcd/client.js';
import type { TransactionRequest, TransactionResponse } from '../../src/namespace/etcd/protocol.js';

export interface EtcdBackup {
  readonly revision: number;
}

/** An etcd in this process, which is its own client. */
export declare class FakeEtcd extends EtcdClient {
  constructor();
  /** What comes of the next transactions; they are made and answered where there is nothing. */
  readonly fates: ('lost before' | 'lost after' | 'unsent' | 'refused' | undefined)[];
  /** The transactions that were lost before they were made: each makes it now. */
  readonly lost: (() => TransactionResponse)[];
  /** The value of a key; undefined if it is not there. */
  get(key: string): string | undefined;
  keysBelow(base: string): string[];
  transact(request: TransactionRequest): TransactionResponse;
  /** Puts keys, or deletes them where the value is undefined, as another server does. */
  put(values: Readonly<Record<string, string | undefined>>, token: string): TransactionResponse;
  /** Watches are told nothing, until `releaseEvents`. */
  holdEvents(): void;
  releaseEvents(): void;
  breakWatches(): void;
  /** Forgets all revisions but the newest. */
  compact(): void;
  backup(): EtcdBackup;
  restore(backup: EtcdBackup): void;
}
