import { isIP } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { Client, connectivityState, credentials, Metadata, status } from '@grpc/grpc-js';
import type { ClientUnaryCall, ChannelOptions, ServiceError } from '@grpc/grpc-js';
import type { Deadline } from '../../sync/index.js';
import type { Method, WatchRequest, WatchResponse } from './protocol.js';
import { AUTHENTICATE, RANGE, WATCH } from './protocol.js';

/** The address of an etcd cluster, and the credentials to connect with. */
export interface EtcdAccess {
  /** `host:port` of members of the cluster; one at least. */
  readonly endpoints: readonly string[];
  /** Certificates and key in PEM; undefined for no TLS. */
  readonly tls:
    { readonly ca: Buffer; readonly cert?: Buffer | undefined; readonly key?: Buffer | undefined } | undefined;
  readonly user: { readonly name: string; readonly password: string } | undefined;
}

/**
 * What a failed call did in etcd:
 * - `unsent`: nothing, the request was never sent;
 * - `refused`: nothing, etcd answered with an error before it did anything;
 * - `unknown`: no answer came, so etcd may have executed the call, or may still do so later.
 */
export type CallOutcome = 'unsent' | 'refused' | 'unknown';

/** A call to etcd that failed. */
export class EtcdError extends Error {
  constructor(
    message: string,
    readonly outcome: CallOutcome,
    readonly code = status.UNAVAILABLE,
  ) {
    super(message);
    this.name = 'EtcdError';
  }

  /** True if the request, or the value in it, is larger than etcd accepts. */
  get isTooLarge(): boolean {
    // etcd has no code for it.
    // eslint-disable-next-line no-restricted-syntax
    return /too large|larger than max/.test(this.message);
  }
}

/** Timeout of one call to one member. After it, the client switches to the next member. */
const ATTEMPT_TIMEOUT_MS = 2000;
const RETRY_DELAY_MS = 50;
/** Timeout of the call that finds out why a connection failed. */
const REASON_TIMEOUT_MS = 100;

/** Maximum size of a received message: a page of a thousand of the largest values that etcd stores by default fits in. */
const MAX_MESSAGE_SIZE = 2 ** 31 - 1;

const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MAX_MESSAGE_SIZE,
  // No limit here: etcd has its own, and refuses larger requests.
  'grpc.max_send_message_length': -1,
  // No connection is reused: when the client comes back to a member that failed before, it connects anew.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
};

/** Status codes that etcd returns before it has changed anything. */
const REFUSALS: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.PERMISSION_DENIED,
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
  status.OUT_OF_RANGE,
  status.UNIMPLEMENTED,
  status.UNAUTHENTICATED,
]);

/**
 * The TLS server name (SNI) sent to a member whose endpoint is an IP address. TLS allows only host names there, and Node 26
 * throws if it is an address. The certificate is checked against the address all the same.
 */
const NO_SERVER_NAME = 'ip-address.invalid';

/** A gRPC channel to a member. With TLS, its certificate must be for the name or the address in the endpoint. */
function openChannel(endpoint: string, tls: EtcdAccess['tls']): Client {
  if (tls === undefined) return new Client(endpoint, credentials.createInsecure(), CHANNEL_OPTIONS);
  const { ca, key = null, cert = null } = tls;
  const { hostname } = new URL(`https://${endpoint}`);
  const address = hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) === 0) return new Client(endpoint, credentials.createSsl(ca, key, cert), CHANNEL_OPTIONS);
  const verifyOptions = {
    checkServerIdentity: (_serverName: string, certificate: PeerCertificate) =>
      checkServerIdentity(address, certificate),
  };
  return new Client(endpoint, credentials.createSsl(ca, key, cert, verifyOptions), {
    ...CHANNEL_OPTIONS,
    'grpc.ssl_target_name_override': NO_SERVER_NAME,
  });
}

/** A connection to one member of the cluster. */
class Member {
  readonly client: Client;
  private readonly closing = new AbortController();

  constructor(
    readonly endpoint: string,
    tls: EtcdAccess['tls'],
  ) {
    this.client = openChannel(endpoint, tls);
  }

  /** Aborted when the connection is closed. */
  get closeSignal(): AbortSignal {
    return this.closing.signal;
  }

  close(): void {
    this.closing.abort();
    this.client.close();
  }
}

/** A client of an etcd cluster. It is connected to one member at a time, and fails over to the next when a call fails. */
export class EtcdClient {
  private memberIndex: number;
  private member: Member;
  private metadata: Promise<Metadata> | undefined;
  private readonly calls = new Set<ClientUnaryCall>();
  private closed = false;

  constructor(private readonly access: EtcdAccess) {
    const { endpoints } = access;
    // Start at a random member, to spread many name servers over the cluster.
    this.memberIndex = Math.floor(Math.random() * endpoints.length);
    this.member = this.connect();
  }

  /** The current member, as `host:port`. */
  get endpoint(): string {
    return this.member.endpoint;
  }

  /**
   * Makes a call, once (and once more with a new token if the old one has expired).
   * @param attemptTimeoutMs timeout of the call, for calls that take longer than most
   * @throws EtcdError, whose `outcome` says whether the call is safe to repeat
   */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    deadline: Deadline,
    attemptTimeoutMs = ATTEMPT_TIMEOUT_MS,
  ): Promise<Response> {
    const { member } = this;
    const timeoutMs = (): number => Math.min(deadline.remainingMs, attemptTimeoutMs);
    if (this.closed) throw new EtcdError('the client is closed', 'unsent');
    try {
      await this.waitUntilConnected(member, timeoutMs());
      return await this.send(member, method, request, await this.callMetadata(member), timeoutMs());
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      if (error.outcome !== 'refused') this.switchFrom(member);
      if (!saysTokenExpired(error) || this.access.user === undefined) throw error;
      this.metadata = undefined;
      return this.send(member, method, request, await this.callMetadata(member), timeoutMs());
    }
  }

  /**
   * Makes a call, and retries it until there is an answer. Only for idempotent calls: etcd may execute it more than once.
   * @throws EtcdError if etcd refuses it, or the deadline passes
   */
  async callWithRetry<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    deadline: Deadline,
    attemptTimeoutMs = ATTEMPT_TIMEOUT_MS,
  ): Promise<Response> {
    for (;;) {
      try {
        return await this.call(method, request, deadline, attemptTimeoutMs);
      } catch (error) {
        if (!(error instanceof EtcdError) || error.outcome === 'refused') throw error;
        if (this.closed || deadline.remainingMs <= RETRY_DELAY_MS) throw error;
      }
      await pause(RETRY_DELAY_MS);
    }
  }

  /**
   * Watches a range at the current member.
   * @param onResponse is called with each response
   * @returns a promise that never resolves. It rejects with an EtcdError when the watch ends: because `signal` aborted it,
   *   the client switched to another member, or etcd ended it
   */
  async watch(
    request: WatchRequest,
    onResponse: (response: WatchResponse) => void,
    signal: AbortSignal,
  ): Promise<never> {
    const { member } = this;
    try {
      await this.waitUntilConnected(member, ATTEMPT_TIMEOUT_MS);
      const metadata = await this.callMetadata(member);
      return await new Promise((_, reject) => {
        if (member.closeSignal.aborted)
          throw new EtcdError(`${member.endpoint}: the connection was closed after a failed call`, 'unsent');
        const stream = member.client.makeBidiStreamRequest(WATCH.path, WATCH.encode, WATCH.decode, metadata);
        const ended = AbortSignal.any([signal, member.closeSignal]);
        const end = (): void => {
          reject(
            new EtcdError(
              signal.aborted
                ? 'the watch was ended'
                : `${member.endpoint}: the connection was closed after a failed call`,
              'unknown',
            ),
          );
          stream.cancel();
        };
        ended.addEventListener('abort', end);
        if (ended.aborted) end();
        stream.on('data', onResponse);
        stream.on('error', (error: ServiceError) => {
          reject(errorOf(error, member.endpoint));
        });
        stream.on('end', () => {
          reject(new EtcdError(`${member.endpoint}: the stream has ended`, 'unknown'));
        });
        stream.write(request);
      });
    } catch (error) {
      if (!signal.aborted) this.switchFrom(member);
      throw error;
    }
  }

  /** Cancels all calls. Their outcome is `unknown`. */
  close(): void {
    this.closed = true;
    this.member.close();
    for (const call of this.calls) call.cancel();
  }

  private connect(): Member {
    const endpoint = this.access.endpoints[this.memberIndex % this.access.endpoints.length] ?? '';
    return new Member(endpoint, this.access.tls);
  }

  /** Fails over from this member to the next, unless another call has done so already. */
  private switchFrom(member: Member): void {
    if (member !== this.member || this.closed) return;
    this.memberIndex += 1;
    this.member = this.connect();
    member.close();
  }

  /** Waits for the connection. A call that fails before there is one was never sent: its outcome is `unsent`. */
  private async waitUntilConnected(member: Member, timeoutMs: number): Promise<void> {
    const { client } = member;
    const until = Date.now() + timeoutMs;
    for (;;) {
      const state = client.getChannel().getConnectivityState(true);
      if (state === connectivityState.READY) return;
      const failed = state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN;
      if (failed || !(await stateChanged(client, state, until))) {
        throw new EtcdError(await this.connectFailureReason(member), 'unsent');
      }
    }
  }

  /** Why there is no connection. gRPC gives the reason only in the error of a call, so this makes a call without effect. */
  private async connectFailureReason(member: Member): Promise<string> {
    const call = this.send(member, RANGE, { key: '\0' }, new Metadata(), REASON_TIMEOUT_MS);
    return call.then(
      () => `${member.endpoint}: the connection took too long`,
      (error: unknown) => String(error instanceof EtcdError ? error.message : error).replace(/ Resolution note: $/, ''),
    );
  }

  private send<Request, Response>(
    { client, endpoint, closeSignal }: Member,
    { path, encode, decode }: Method<Request, Response>,
    request: Request,
    metadata: Metadata,
    timeoutMs: number,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (closeSignal.aborted)
        throw new EtcdError(`${endpoint}: the connection was closed after a failed call`, 'unsent');
      const options = { deadline: Date.now() + timeoutMs };
      const call = client.makeUnaryRequest(path, encode, decode, request, metadata, options, (error, response) => {
        this.calls.delete(call);
        if (response !== undefined) resolve(response);
        else reject(errorOf(error, endpoint));
      });
      this.calls.add(call);
    });
  }

  /** The metadata of each call: the user's token, and `hasleader`, with which a member without a leader fails at once. */
  private callMetadata(member: Member): Promise<Metadata> {
    this.metadata ??= this.authenticate(member).catch((error: unknown) => {
      this.metadata = undefined;
      throw error;
    });
    return this.metadata;
  }

  private async authenticate(member: Member): Promise<Metadata> {
    const metadata = new Metadata();
    metadata.set('hasleader', 'true');
    const { user } = this.access;
    if (user !== undefined) {
      const { token } = await this.send(member, AUTHENTICATE, user, metadata, ATTEMPT_TIMEOUT_MS);
      metadata.set('token', token);
    }
    return metadata;
  }
}

/** Waits until a connection is no longer in `state`. @returns false if it still is at the time `until` */
function stateChanged(client: Client, state: connectivityState, until: number): Promise<boolean> {
  return new Promise((resolve) => {
    client.getChannel().watchConnectivityState(state, until, (error) => {
      resolve(error === undefined);
    });
  });
}

function errorOf(error: ServiceError | null, endpoint: string): EtcdError {
  const { code, details } = error ?? { code: status.INTERNAL, details: 'no response' };
  return new EtcdError(`${endpoint}: ${details}`, REFUSALS.has(code) ? 'refused' : 'unknown', code);
}

function saysTokenExpired({ code, message }: EtcdError): boolean {
  return code === status.UNAUTHENTICATED || message.includes('revision of auth store is old');
}
