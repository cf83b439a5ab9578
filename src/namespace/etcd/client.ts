import { isIP } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { Client, connectivityState, credentials, Metadata, status } from '@grpc/grpc-js';
import type { ClientUnaryCall, ChannelOptions, ServiceError } from '@grpc/grpc-js';
import type { Deadline } from '../../sync/index.js';
import type { Method, WatchRequest, WatchResponse } from './protocol.js';
import { AUTHENTICATE, RANGE, WATCH } from './protocol.js';

/** Where an etcd cluster is, and how one is let in. */
export interface EtcdAccess {
  /** `host:port` of members of the cluster; one at least. */
  readonly endpoints: readonly string[];
  /** Certificates and key in PEM; undefined for no TLS. */
  readonly tls:
    { readonly ca: Buffer; readonly cert?: Buffer | undefined; readonly key?: Buffer | undefined } | undefined;
  readonly user: { readonly name: string; readonly password: string } | undefined;
}

/**
 * What is known of a call that failed: that it was never sent, that etcd has refused it and done nothing, or nothing at
 * all, so that it may have been done, or may yet be done.
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

  /** The request, or the value in it, is larger than etcd takes. */
  get isTooLarge(): boolean {
    return /too large|larger than max/.test(this.message);
  }
}

/** A member that takes longer than so many milliseconds is left for another one. */
const ATTEMPT_TIMEOUT_MS = 2000;
const RETRY_DELAY_MS = 50;
const REASON_TIMEOUT_MS = 100;

/** How large a message may be: a thousand of the largest values that etcd keeps by default fit in. */
const MAX_MESSAGE_SIZE = 2 ** 31 - 1;

const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MAX_MESSAGE_SIZE,
  // Too large requests are for etcd to refuse, by its own limit.
  'grpc.max_send_message_length': -1,
  // A member that is left gets a new connection when it is come back to.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
};

// What these say of a call is said before anything is done.
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

/** The server name (SNI) for a member that is known by its address: TLS takes names only, and Node 26 throws otherwise. */
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

/** A connection to one member, from when it is chosen to when it is left. */
class Member {
  readonly client: Client;
  private readonly leaving = new AbortController();

  constructor(
    readonly endpoint: string,
    tls: EtcdAccess['tls'],
  ) {
    this.client = openChannel(endpoint, tls);
  }

  /** Aborted when the member is left. */
  get left(): AbortSignal {
    return this.leaving.signal;
  }

  leave(): void {
    this.leaving.abort();
    this.client.close();
  }
}

/** A client of an etcd cluster: it talks to one member, and to the next one when that one fails. */
export class EtcdClient {
  private turn: number;
  private member: Member;
  private metadata: Promise<Metadata> | undefined;
  private readonly calls = new Set<ClientUnaryCall>();
  private closed = false;

  constructor(private readonly access: EtcdAccess) {
    const { endpoints } = access;
    // So that many servers don't all talk to the member that is named first.
    this.turn = Math.floor(Math.random() * endpoints.length);
    this.member = this.connect();
  }

  /** Which member is talked to, as `host:port`. */
  get endpoint(): string {
    return this.member.endpoint;
  }

  /**
   * Calls once.
   * @param patience milliseconds, if the member needs longer for this than for most
   * @throws EtcdError, by whose outcome the caller knows whether it may call again
   */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    deadline: Deadline,
    patience = ATTEMPT_TIMEOUT_MS,
  ): Promise<Response> {
    const { member } = this;
    const timeout = (): number => Math.min(deadline.remainingMs, patience);
    if (this.closed) throw new EtcdError('the client is closed', 'unsent');
    try {
      await this.connected(member, timeout());
      return await this.send(member, method, request, await this.authorized(member), timeout());
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      if (error.outcome !== 'refused') this.leave(member);
      if (!saysTokenExpired(error) || this.access.user === undefined) throw error;
      this.metadata = undefined;
      return this.send(member, method, request, await this.authorized(member), timeout());
    }
  }

  /**
   * Calls until there is an answer: only for what may be done twice.
   * @throws EtcdError if it is refused, or the deadline passes
   */
  async ask<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    deadline: Deadline,
    patience = ATTEMPT_TIMEOUT_MS,
  ): Promise<Response> {
    for (;;) {
      try {
        return await this.call(method, request, deadline, patience);
      } catch (error) {
        if (!(error instanceof EtcdError) || error.outcome === 'refused') throw error;
        if (this.closed || deadline.remainingMs <= RETRY_DELAY_MS) throw error;
      }
      await pause(RETRY_DELAY_MS);
    }
  }

  /**
   * Watches a range at the member that is talked to.
   * @param onResponse is called with each response
   * @returns a promise that never resolves, and rejects with an EtcdError when the watch has ended: because it was
   *   aborted, its member was left, or etcd has ended it
   */
  async watch(
    request: WatchRequest,
    onResponse: (response: WatchResponse) => void,
    signal: AbortSignal,
  ): Promise<never> {
    const { member } = this;
    try {
      await this.connected(member, ATTEMPT_TIMEOUT_MS);
      const metadata = await this.authorized(member);
      return await new Promise((_, reject) => {
        if (member.left.aborted) throw new EtcdError(`${member.endpoint} was left`, 'unsent');
        const stream = member.client.makeBidiStreamRequest(WATCH.path, WATCH.encode, WATCH.decode, metadata);
        const ended = AbortSignal.any([signal, member.left]);
        const end = (): void => {
          reject(new EtcdError(signal.aborted ? 'the watch was ended' : `${member.endpoint} was left`, 'unknown'));
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
      if (!signal.aborted) this.leave(member);
      throw error;
    }
  }

  /** Ends all calls: whether they came to something is not known. */
  close(): void {
    this.closed = true;
    this.member.leave();
    for (const call of this.calls) call.cancel();
  }

  private connect(): Member {
    const endpoint = this.access.endpoints[this.turn % this.access.endpoints.length] ?? '';
    return new Member(endpoint, this.access.tls);
  }

  /** Turns to the next member, unless that has been done. */
  private leave(member: Member): void {
    if (member !== this.member || this.closed) return;
    this.turn += 1;
    this.member = this.connect();
    member.leave();
  }

  /** Waits for the connection, so that what fails before it is there is known to be unsent. */
  private async connected(member: Member, timeout: number): Promise<void> {
    const { client } = member;
    const until = Date.now() + timeout;
    for (;;) {
      const state = client.getChannel().getConnectivityState(true);
      if (state === connectivityState.READY) return;
      const failed = state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN;
      if (failed || !(await changed(client, state, until))) {
        throw new EtcdError(await this.whyNotConnected(member), 'unsent');
      }
    }
  }

  /** Only a call is told why there is no connection: so this makes one that does nothing. */
  private async whyNotConnected(member: Member): Promise<string> {
    const call = this.send(member, RANGE, { key: '\0' }, new Metadata(), REASON_TIMEOUT_MS);
    return call.then(
      () => `${member.endpoint}: the connection took too long`,
      (error: unknown) => String(error instanceof EtcdError ? error.message : error).replace(/ Resolution note: $/, ''),
    );
  }

  private send<Request, Response>(
    { client, endpoint, left }: Member,
    { path, encode, decode }: Method<Request, Response>,
    request: Request,
    metadata: Metadata,
    timeout: number,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (left.aborted) throw new EtcdError(`${endpoint} was left`, 'unsent');
      const options = { deadline: Date.now() + timeout };
      const call = client.makeUnaryRequest(path, encode, decode, request, metadata, options, (error, response) => {
        this.calls.delete(call);
        if (response !== undefined) resolve(response);
        else reject(errorOf(error, endpoint));
      });
      this.calls.add(call);
    });
  }

  /** What goes with each call: that a member that knows of no leader is to say so, and the user's token. */
  private authorized(member: Member): Promise<Metadata> {
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

/** Waits for a client's connection to leave a state. @returns false if it has not by then */
function changed(client: Client, state: connectivityState, until: number): Promise<boolean> {
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
