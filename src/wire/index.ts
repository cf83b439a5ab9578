/** Pyro's wire protocol: frames, handshake, TLS, requests, replies and exceptions; client and server connections. */
export { ClientConnection, defaultClientConnectionOptions } from './client-connection.js';
export type { CallOptions, ClientConnectionOptions } from './client-connection.js';
export { Connection, defaultConnectionOptions } from './connection.js';
export type { ConnectionOptions } from './connection.js';
export { defaultFrameLimits, encodeFrame, FrameReader, Pickled, LARGE_FRAME_BYTES } from './frame.js';
export type { Body, FrameLimits, FrameOptions } from './frame.js';
export {
  CHALLENGE_SIZE,
  createAuthToken,
  DeniedReason,
  mungeIdentification,
  newChallenge,
  tokensEqual,
} from './handshake.js';
export { HostLookupError, hostResolver } from './host-resolver.js';
export {
  decodeReply,
  decodeRequest,
  encodeException,
  encodeReply,
  encodeRequest,
  isOneway,
  RequestFlag,
} from './message.js';
export type { CallReply, CallRequest, ExceptionDescription, PickleProtocol } from './message.js';
export { defaultServerConnectionOptions, ServerConnection } from './server-connection.js';
export type { ConnectionAuthenticator, Reply, RequestHandler, ServerConnectionOptions } from './server-connection.js';
export { certificateProblem, createTLSServer, failureReason } from './tls.js';
export type { Certificates, ClientTLSOptions } from './tls.js';
