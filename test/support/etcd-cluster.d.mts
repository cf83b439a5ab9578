export function lacksEtcd(what: string): boolean;

export interface EtcdMember {
  readonly name: string;
  /** `host:port` for clients. */
  readonly endpoint: string;
  readonly pid: number;
  start(): Promise<void>;
  kill(signal?: NodeJS.Signals): Promise<void>;
  suspend(): void;
  resume(): void;
}

export class EtcdCluster {
  static start(options?: { size?: number; storage?: string; options?: string[] }): Promise<EtcdCluster>;
  readonly members: readonly EtcdMember[];
  readonly directory: string;
  url(prefix: string): string;
  etcdctl(...args: string[]): Promise<string>;
  revision(): Promise<string>;
  restore(backup: string): Promise<void>;
  leader(): Promise<EtcdMember>;
  stop(): Promise<void>;
}
