import { deflate, deflateSync, inflate, inflateSync } from 'node:zlib';
import pLimit from 'p-limit';
import { ConnectionClosedError, ProtocolError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { adler32 } from './adler32.js';

// The header, big-endian: id 4, version 2, header size 2, body size 4 (signed), flags 2, checksum 4 (signed).
const HEADER_SIZE = 18;
const ID = 0x5059524f; // 'PYRO'
const VERSION = 5;
const FLAG_COMPRESSED = 1;
const FLAG_CHECKSUM = 2;
const FLAG_XML_PICKLE = 4;
const MAX_BODY_BYTES = 0x7fffffff;

/**
 * Above these sizes, as sent and inflated, zlib works in its own thread: 4 kB of zeros make 4 MB, which take some milliseconds.
 */
const MAX_SYNC_INFLATE_BYTES = 4096;
const MAX_SYNC_INFLATED_BYTES = 65_536;
const MAX_SYNC_DEFLATE_BYTES = 65_536;

/** Few larger ones are inflated at the same time, by all connections: each may grow to its limit, however little was sent. */
const inflateLimit = pLimit(2);

/** Up to this size a pickled body is copied behind its header: one piece is cheaper to send than two. */
const MAX_COPY_BYTES = 4096;

/** Larger ones don't come in one read of a socket: those have their memory to themselves, and let go of it. */
export const LARGE_FRAME_BYTES = 0x10000;

/** How much larger than what has arrived a buffer is made for the rest of its frame. */
const GROWTH_FACTOR = 4;

/** How many bytes a peer may make us hold for one frame. */
export interface FrameLimits {
  /** The body as it is sent. */
  readonly maxBodySize: number;
  /** The body after decompression. */
  readonly maxInflatedSize: number;
}

export const defaultFrameLimits: FrameLimits = { maxBodySize: 0x10000000, maxInflatedSize: 0x10000000 };

/** How frames are sent (PYRO_COMPRESSION, PYRO_CHECKSUM); those that arrive are understood either way. */
export interface FrameOptions {
  /** Compress where that makes the body smaller. */
  readonly compression: boolean;
  /** Add an adler32 checksum of the body as sent. */
  readonly checksum: boolean;
}

type Pieces = readonly Uint8Array[];
type PlainBody = Uint8Array | Pieces;

/** A body in one piece, or in several. */
export type Body = PlainBody | Pickled;

/** A frame, likewise. */
export type Frame = Uint8Array | Pieces;

/**
 * Cuts a stream of bytes into frames.
 *
 * Bytes are kept as they came, if they may be: a body is a view of the chunk that it came in, and what spans chunks is copied
 * into a buffer that grows with what has arrived: to what a header announces, but never to more than four times of what is
 * there.
 */
export class FrameReader {
  private buffer: Buffer = Buffer.alloc(0);
  private start = 0;
  private end = 0;
  /** True where `buffer` is our own, and bytes can be added behind `end`. */
  private growing = false;
  private isAbandoned = false;

  constructor(public limits: FrameLimits = defaultFrameLimits) {}

  /** How many bytes have arrived and were not taken yet. */
  get buffered(): number {
    return this.end - this.start;
  }

  /** The size of the frame that has begun to arrive, with its header; 0 where that is not here yet. */
  get announced(): number {
    return this.buffered < HEADER_SIZE ? 0 : HEADER_SIZE + this.buffer.readInt32BE(this.start + 8);
  }

  /** @param isBorrowed true where the chunk's memory will be used for the next one: then it is copied */
  push(chunk: Buffer, isBorrowed = false): void {
    if (this.start === this.end) {
      this.buffer = isBorrowed ? Buffer.from(chunk) : chunk;
      this.start = 0;
      this.end = chunk.length;
      this.growing = false;
      return;
    }
    const size = this.buffered + chunk.length;
    if (!this.growing || this.end + chunk.length > this.buffer.length) {
      const larger = Buffer.allocUnsafe(this.capacityFor(size));
      larger.set(this.buffer.subarray(this.start, this.end));
      this.buffer = larger;
      this.end -= this.start;
      this.start = 0;
      this.growing = true;
    }
    this.buffer.set(chunk, this.end);
    this.end += chunk.length;
  }

  /** How large a buffer for so many bytes should be: for the rest of the frame, where enough of it has arrived. */
  private capacityFor(size: number): number {
    const { announced } = this;
    return announced > size ? Math.min(announced, GROWTH_FACTOR * size) : 2 * size;
  }

  /** Takes bytes that are no frame (the server's `GRANTED`); undefined until all of them have arrived. */
  take(size: number): Buffer | undefined {
    if (this.buffered < size) return undefined;
    this.start += size;
    return this.buffer.subarray(this.start - size, this.start);
  }

  /** The next bytes, as many as have arrived up to this size, without taking them. */
  peek(size: number): Buffer {
    return this.buffer.subarray(this.start, Math.min(this.start + size, this.end));
  }

  /**
   * Takes the body of the next frame; undefined until all of it has arrived. Large compressed bodies come as a promise.
   * @throws ProtocolError where the bytes are no frame or break a limit; nothing more can be read then
   */
  next(): Buffer | Promise<Buffer> | undefined {
    if (this.buffered < HEADER_SIZE) return undefined;
    const { buffer, start } = this;
    if (buffer.readUInt32BE(start) !== ID) throw new ProtocolError(refusalText('HEADER_INVALID'));
    if (buffer.readUInt16BE(start + 4) !== VERSION) throw new ProtocolError(refusalText('VERSION_INCOMPATIBLE'));
    if (buffer.readUInt16BE(start + 6) !== HEADER_SIZE) throw new ProtocolError(refusalText('HEADER_INVALID'));
    const size = buffer.readInt32BE(start + 8);
    if (size < 0) throw new ProtocolError(refusalText('SIZE_INVALID'));
    if (size > this.limits.maxBodySize) throw new ProtocolError(refusalText('MESSAGE_TOO_LARGE'));
    const end = start + HEADER_SIZE + size;
    if (this.end < end) return undefined;
    const body = buffer.subarray(start + HEADER_SIZE, end);
    this.start = end;
    if (size > LARGE_FRAME_BYTES) this.releaseBuffer(size);
    const flags = buffer.readUInt16BE(start + 12);
    if (flags === 0) return body;
    if (flags & FLAG_XML_PICKLE) throw new ProtocolError(refusalText('XML_UNSUPPORTED'));
    if (flags & FLAG_CHECKSUM && buffer.readInt32BE(start + 14) !== adler32([body])) {
      throw new ProtocolError(refusalText('CHECKSUM'));
    }
    return flags & FLAG_COMPRESSED ? this.inflate(body) : body;
  }

  /** Says that nobody wants what has arrived any more: large bodies that still wait to be inflated are not. */
  abandon(): void {
    this.isAbandoned = true;
  }

  private inflate(body: Buffer): Buffer | Promise<Buffer> {
    const limit = this.limits.maxInflatedSize;
    const inflated = body.length <= MAX_SYNC_INFLATE_BYTES ? inflateSmall(body, limit) : undefined;
    if (inflated !== undefined) return inflated;
    return inflateLimit(() => {
      if (this.isAbandoned) throw new ConnectionClosedError(refusalText('CONNECTION_LOST'));
      return inflateBody(body, limit);
    });
  }

  /** Lets go of the memory of a frame that was taken: its sender may say no more for days. */
  private releaseBuffer(size: number): void {
    // What follows is not copied again and again where there is much of it.
    if (this.buffered > size) return;
    this.buffer = Buffer.from(this.buffer.subarray(this.start, this.end));
    this.start = 0;
    this.end = this.buffer.length;
    this.growing = false;
  }
}

/** A body that is pickled already, and may be sent again and again: the frame around it is made once. */
export class Pickled {
  private frame: Frame | undefined;
  private isCompressed = false;
  private hasChecksum = false;

  /** @param body the pickle, in one piece or in several */
  constructor(readonly body: PlainBody) {}

  /** What `encodeFrame` makes of the body, in one piece unless it is large. @internal */
  encodeFrame(options: FrameOptions): Frame | Promise<Frame> {
    const { compression, checksum } = options;
    if (this.frame !== undefined && this.isCompressed === compression && this.hasChecksum === checksum)
      return this.frame;
    const encoded = encodeFrame(this.body, options);
    if (encoded instanceof Promise) return encoded;
    this.frame = sizeOf(encoded) > MAX_COPY_BYTES ? encoded : Buffer.concat(encoded);
    this.isCompressed = compression;
    this.hasChecksum = checksum;
    return this.frame;
  }
}

/**
 * Makes a frame: its header, then the body, in pieces to be written one after another. A large body that is to be
 * compressed comes as a promise.
 * @throws ProtocolError where the body is larger than a frame can hold
 */
export function encodeFrame(body: PlainBody, options: FrameOptions): Pieces | Promise<Pieces>;
export function encodeFrame(body: Body, options: FrameOptions): Frame | Promise<Frame>;
export function encodeFrame(body: Body, options: FrameOptions): Frame | Promise<Frame> {
  if (body instanceof Pickled) return body.encodeFrame(options);
  if (!options.compression) return encodePlainFrame(body, options.checksum);
  const whole = body instanceof Uint8Array ? body : Buffer.concat(body);
  if (whole.length <= MAX_SYNC_DEFLATE_BYTES) return smallerFrame(whole, deflateSync(whole), options.checksum);
  return new Promise((resolve, reject) => {
    deflate(whole, (error, compressed) => {
      if (error) reject(error);
      else resolve(smallerFrame(whole, compressed, options.checksum));
    });
  });
}

/** Makes a frame without compression: needs no waiting, whatever the size. */
export function encodePlainFrame(body: PlainBody, checksum: boolean): Pieces {
  return addHeader(body instanceof Uint8Array ? [body] : body, 0, checksum);
}

function sizeOf(pieces: Pieces): number {
  let size = 0;
  for (const piece of pieces) size += piece.length;
  return size;
}

function smallerFrame(body: Uint8Array, compressed: Uint8Array, checksum: boolean): Pieces {
  return compressed.length < body.length
    ? addHeader([compressed], FLAG_COMPRESSED, checksum)
    : addHeader([body], 0, checksum);
}

function addHeader(pieces: Pieces, flags: number, checksum: boolean): Pieces {
  const size = sizeOf(pieces);
  if (size > MAX_BODY_BYTES) throw new ProtocolError(refusalText('MESSAGE_TOO_LARGE'));
  const header = Buffer.allocUnsafe(HEADER_SIZE);
  header.writeUInt32BE(ID, 0);
  header.writeUInt16BE(VERSION, 4);
  header.writeUInt16BE(HEADER_SIZE, 6);
  header.writeInt32BE(size, 8);
  header.writeUInt16BE(checksum ? flags | FLAG_CHECKSUM : flags, 12);
  header.writeInt32BE(checksum ? adler32(pieces) : 0, 14);
  return [header, ...pieces];
}

function inflateBody(body: Buffer, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    inflate(body, { maxOutputLength: limit }, (error, result) => {
      if (error) reject(inflateError(error));
      else resolve(result);
    });
  });
}

/** Undefined where the body becomes too large to be inflated in this thread. */
function inflateSmall(body: Buffer, limit: number): Buffer | undefined {
  try {
    return inflateSync(body, { maxOutputLength: Math.min(limit, MAX_SYNC_INFLATED_BYTES) });
  } catch (error) {
    if (isTooLarge(error) && limit > MAX_SYNC_INFLATED_BYTES) return undefined;
    throw inflateError(error);
  }
}

function inflateError(error: unknown): ProtocolError {
  return new ProtocolError(isTooLarge(error) ? 'message too large' : 'invalid compressed data');
}

function isTooLarge(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
}
