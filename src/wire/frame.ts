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
 * Larger bodies are inflated and deflated in zlib's thread pool, so that they don't block the event loop: 4 kB of zeros
 * inflate to 4 MB, which takes some milliseconds. The first is the size as sent, the second the size after inflating.
 */
const MAX_SYNC_INFLATE_BYTES = 4096;
const MAX_SYNC_INFLATED_BYTES = 65_536;
const MAX_SYNC_DEFLATE_BYTES = 65_536;

/**
 * Concurrency limit for these, over all connections. It bounds memory: each body may grow to its limit, however little
 * was sent.
 */
const inflateLimit = pLimit(2);

/** Up to this size, `Pickled` copies header and body into one buffer: one buffer is cheaper to write than two. */
const MAX_COPY_BYTES = 4096;

/**
 * A frame larger than this (64 kB) does not arrive in one read of the socket. It gets a buffer of its own, which is
 * released as soon as the frame was taken, and a server reserves memory for it.
 */
export const LARGE_FRAME_BYTES = 0x10000;

/** The buffer for an incomplete frame is at most this many times as large as what has arrived of it. */
const GROWTH_FACTOR = 4;

/** The most bytes that one frame of a peer may take here. */
export interface FrameLimits {
  /** The body as sent, which may be compressed. */
  readonly maxBodySize: number;
  /** The body after decompression. */
  readonly maxInflatedSize: number;
}

export const defaultFrameLimits: FrameLimits = { maxBodySize: 0x10000000, maxInflatedSize: 0x10000000 };

/** How frames are sent (PYRO_COMPRESSION, PYRO_CHECKSUM). A reader accepts frames with and without either. */
export interface FrameOptions {
  /** Compress where that makes the body smaller. */
  readonly compression: boolean;
  /** Add an adler32 checksum of the body as sent, that is, after compression. */
  readonly checksum: boolean;
}

type Pieces = readonly Uint8Array[];
type PlainBody = Uint8Array | Pieces;

/** The body of a frame: one piece, several that belong one after another, or `Pickled`. */
export type Body = PlainBody | Pickled;

/** An encoded frame: one piece, or several to be written one after another. */
export type Frame = Uint8Array | Pieces;

/**
 * Frame parser: chunks of a byte stream go in (`push`), bodies of frames come out (`next`).
 *
 * It copies as little as possible. A frame within one chunk is not copied: its body is a view of the chunk. A frame
 * that spans chunks is copied into one ownsBuffer buffer. That buffer gets the size that the header announces, but at
 * most `GROWTH_FACTOR` times the size of what has arrived, so that a header alone makes nobody allocate much.
 */
export class FrameReader {
  private buffer: Buffer = Buffer.alloc(0);
  private start = 0;
  private end = 0;
  /** True if we allocated `buffer`, so that bytes may be written behind `end`; false if it is a chunk. */
  private ownsBuffer = false;
  private isAbandoned = false;

  constructor(public limits: FrameLimits = defaultFrameLimits) {}

  /** How many bytes have arrived and are not consumed yet. */
  get buffered(): number {
    return this.end - this.start;
  }

  /** The size in bytes of the next frame, including its header; 0 while its header is incomplete. */
  get announced(): number {
    return this.buffered < HEADER_SIZE ? 0 : HEADER_SIZE + this.buffer.readInt32BE(this.start + 8);
  }

  /**
   * Adds a chunk of the stream.
   * @param isBorrowed true if the caller will reuse the chunk's memory: then it is copied
   */
  push(chunk: Buffer, isBorrowed = false): void {
    if (this.start === this.end) {
      this.buffer = isBorrowed ? Buffer.from(chunk) : chunk;
      this.start = 0;
      this.end = chunk.length;
      this.ownsBuffer = false;
      return;
    }
    const size = this.buffered + chunk.length;
    if (!this.ownsBuffer || this.end + chunk.length > this.buffer.length) {
      const larger = Buffer.allocUnsafe(this.capacityFor(size));
      larger.set(this.buffer.subarray(this.start, this.end));
      this.buffer = larger;
      this.end -= this.start;
      this.start = 0;
      this.ownsBuffer = true;
    }
    this.buffer.set(chunk, this.end);
    this.end += chunk.length;
  }

  /** The capacity of a new buffer that has to hold `size` bytes now: the whole frame, if enough of it has arrived. */
  private capacityFor(size: number): number {
    const { announced } = this;
    return announced > size ? Math.min(announced, GROWTH_FACTOR * size) : 2 * size;
  }

  /** Consumes bytes outside of any frame (the server's `GRANTED`); undefined until all of them have arrived. */
  take(size: number): Buffer | undefined {
    if (this.buffered < size) return undefined;
    this.start += size;
    return this.buffer.subarray(this.start - size, this.start);
  }

  /** The next bytes without consuming them: `size`, or fewer if fewer have arrived. */
  peek(size: number): Buffer {
    return this.buffer.subarray(this.start, Math.min(this.start + size, this.end));
  }

  /**
   * Consumes the next frame, and returns its body, decompressed; undefined until the whole frame has arrived. The
   * result is a promise where the body is inflated in zlib's thread pool.
   * @throws ProtocolError where the bytes are no valid frame or exceed a limit; the stream can't be parsed any further
   *   then
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

  /** Cancels the bodies that still wait to be inflated: their promises reject with ConnectionClosedError. */
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

  /** Frees the memory of a large frame that was consumed: otherwise an idle connection would keep it for days. */
  private releaseBuffer(size: number): void {
    // If more than the frame's size follows it in the buffer, copying that costs more than it frees.
    if (this.buffered > size) return;
    this.buffer = Buffer.from(this.buffer.subarray(this.start, this.end));
    this.start = 0;
    this.end = this.buffer.length;
    this.ownsBuffer = false;
  }
}

/** A pickled body that is sent many times, such as a cached reply: it keeps its encoded frame. */
export class Pickled {
  private frame: Frame | undefined;
  private isCompressed = false;
  private hasChecksum = false;

  /** @param body the pickle, in one piece or in several */
  constructor(readonly body: PlainBody) {}

  /** As the function `encodeFrame`, but cached; in one piece unless the frame is large. @internal */
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
 * Encodes a frame: header and body, as pieces to be written one after another. The result is a promise where the body
 * is compressed in zlib's thread pool.
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

/** Encodes a frame without compression, and so always synchronously. @throws ProtocolError as `encodeFrame` */
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

/** Inflates synchronously; undefined where the result is too large for that. */
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
