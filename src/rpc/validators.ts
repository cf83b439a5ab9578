import type { X509Certificate } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import { createAuthToken, DeniedReason, mungeIdentification, newChallenge, tokensEqual } from '../wire/index.js';
import type { ServerConnection } from '../wire/index.js';

/** What a validator is told of the daemon that it guards. */
export interface GuardedDaemon {
  /** How many connections are let in, with the one to be judged. */
  readonly connectionCount: number;
  /** PYRO_MAXCONNECTIONS. */
  readonly maxConnections: number;
  /** How many of them are of the same host, with the one to be judged. */
  readonly hostConnectionCount: number;
  /** PYRO_MAXCONNECTIONS_PER_HOST. */
  readonly maxHostConnections: number;
}

/** True where there are too many connections with the one to be judged, altogether or of its host. */
export const isFull = (daemon: GuardedDaemon): boolean =>
  daemon.connectionCount > daemon.maxConnections || daemon.hostConnectionCount > daemon.maxHostConnections;

/** Undefined accepts; a reason refuses, and is what the client gets to know. */
export type Verdict = DeniedReason | undefined | Promise<DeniedReason | undefined>;

/**
 * Judges new connections, as the manual's security chapter has it: to be subclassed. `acceptHost` sees a connection
 * first, `acceptIdentification` what the client answered to the challenge. The same class makes a client's tokens.
 */
export class DefaultConnValidator {
  /** Munged identifications, any of which is let in; undefined lets everybody in. */
  private allowedIDs: readonly Buffer[] | undefined;

  /** Accepts any host, up to PYRO_MAXCONNECTIONS connections at a time, and PYRO_MAXCONNECTIONS_PER_HOST of each host. */
  acceptHost(daemon: GuardedDaemon, _connection: ServerConnection): Verdict {
    return isFull(daemon) ? DeniedReason.ServerTooBusy : undefined;
  }

  /** Accepts a token made of one of the allowed identifications; any token where none are set. */
  acceptIdentification(
    _daemon: GuardedDaemon,
    _connection: ServerConnection,
    token: Buffer,
    challenge: Buffer,
  ): Verdict {
    if (this.allowedIDs === undefined) return undefined;
    // Every one is compared, so that the time taken tells nothing.
    const matching = this.allowedIDs.filter((authID) => tokensEqual(this.createAuthToken(authID, challenge), token));
    return matching.length > 0 ? undefined : DeniedReason.Security;
  }

  /**
   * Makes the answer to a challenge, at the client and, to compare, at the server.
   * @param authID the munged identification; empty where the client has none
   */
  createAuthToken(authID: Buffer, challenge: Buffer): Buffer {
    return createAuthToken(authID, challenge);
  }

  /** Makes the 16 bytes that a client must answer to. */
  createAuthChallenge(_daemon: GuardedDaemon, _connection: ServerConnection): Buffer {
    return newChallenge();
  }

  /** Turns a passphrase into what is kept and compared: not easily guessed, but as good as the passphrase itself. */
  mungeIdent(ident: string): Buffer {
    return mungeIdentification(ident);
  }

  /** Lets in only clients with one of these passphrases; null lets in everybody. */
  setAllowedIdentifications(ids: readonly string[] | null): void {
    this.allowedIDs = ids?.map((id) => this.mungeIdent(id));
  }
}

/** The validator of a TLS daemon: looks at the client's certificate too. */
export class BasicSSLValidator extends DefaultConnValidator {
  override async acceptHost(daemon: GuardedDaemon, connection: ServerConnection): Promise<DeniedReason | undefined> {
    const refusal = await super.acceptHost(daemon, connection);
    if (refusal !== undefined) return refusal;
    const { socket } = connection;
    return this.checkCertificate(socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined);
  }

  /** Accepts any certificate that the authority has signed (others don't get here): to be overridden. */
  checkCertificate(certificate: X509Certificate | undefined): Verdict {
    return certificate === undefined ? DeniedReason.Security : undefined;
  }
}
