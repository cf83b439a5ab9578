import type { X509Certificate } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import { createAuthToken, DeniedReason, mungeIdentification, newChallenge, tokensEqual } from '../wire/index.js';
import type { ServerConnection } from '../wire/index.js';

/** What a validator knows of the daemon that it guards. */
export interface GuardedDaemon {
  /** The number of admitted connections, including the new one. */
  readonly connectionCount: number;
  /** PYRO_MAXCONNECTIONS. */
  readonly maxConnections: number;
  /** The number of these that come from the new one's host. */
  readonly hostConnectionCount: number;
  /** PYRO_MAXCONNECTIONS_PER_HOST. */
  readonly maxHostConnections: number;
}

/** True if the new connection is one too many, in total or of its host. */
export const isFull = (daemon: GuardedDaemon): boolean =>
  daemon.connectionCount > daemon.maxConnections || daemon.hostConnectionCount > daemon.maxHostConnections;

/** A validator's decision: undefined accepts; a reason refuses, and is sent to the client. */
export type Verdict = DeniedReason | undefined | Promise<DeniedReason | undefined>;

/**
 * Decides about new connections (Pyro's connection validator, see the manual's security chapter). To be subclassed.
 * `acceptHost` is called first, then `acceptIdentification` with the client's token. Clients use the same class to
 * compute their token.
 */
export class DefaultConnValidator {
  /** Digests of the accepted passphrases (`mungeIdent`); undefined accepts everybody. */
  private allowedIDs: readonly Buffer[] | undefined;

  /**
   * Accepts any host, up to PYRO_MAXCONNECTIONS connections at a time, and PYRO_MAXCONNECTIONS_PER_HOST of each host.
   */
  acceptHost(daemon: GuardedDaemon, _connection: ServerConnection): Verdict {
    return isFull(daemon) ? DeniedReason.ServerTooBusy : undefined;
  }

  /** Accepts a token computed from one of the allowed identifications; any token if none were set. */
  acceptIdentification(
    _daemon: GuardedDaemon,
    _connection: ServerConnection,
    token: Buffer,
    challenge: Buffer,
  ): Verdict {
    if (this.allowedIDs === undefined) return undefined;
    // Compares with all of them, so that the time taken does not tell which one matched.
    const matching = this.allowedIDs.filter((authID) => tokensEqual(this.createAuthToken(authID, challenge), token));
    return matching.length > 0 ? undefined : DeniedReason.Security;
  }

  /**
   * Computes the token that answers a challenge: at the client, and at the server to compare.
   * @param authID the digest of the passphrase (`mungeIdent`); empty if the client has none
   */
  createAuthToken(authID: Buffer, challenge: Buffer): Buffer {
    return createAuthToken(authID, challenge);
  }

  /** Makes the challenge, 16 bytes, that a client's token has to answer. */
  createAuthChallenge(_daemon: GuardedDaemon, _connection: ServerConnection): Buffer {
    return newChallenge();
  }

  /**
   * The digest of a passphrase that is kept in its place. It has to be kept as secret: who knows it can identify with
   * it.
   */
  mungeIdent(ident: string): Buffer {
    return mungeIdentification(ident);
  }

  /** Accepts only clients with one of these passphrases; null accepts everybody. */
  setAllowedIdentifications(ids: readonly string[] | null): void {
    this.allowedIDs = ids?.map((id) => this.mungeIdent(id));
  }
}

/** The validator of a TLS daemon: it checks the client's certificate too. */
export class BasicSSLValidator extends DefaultConnValidator {
  override async acceptHost(daemon: GuardedDaemon, connection: ServerConnection): Promise<DeniedReason | undefined> {
    const refusal = await super.acceptHost(daemon, connection);
    if (refusal !== undefined) return refusal;
    const { socket } = connection;
    return this.checkCertificate(socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined);
  }

  /** Accepts any certificate that the authority has signed; others were refused before. To be overridden. */
  checkCertificate(certificate: X509Certificate | undefined): Verdict {
    return certificate === undefined ? DeniedReason.Security : undefined;
  }
}
