import { setImmediate as nextIteration } from 'node:timers/promises';
import pLimit from 'p-limit';
import { ConnectionClosedError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { dumps, PickleWriter, type PythonWritable } from '../pickle/index.js';
import { HostRoundRobin, StallTimeout } from '../sync/index.js';
import { Pickled, LARGE_FRAME_BYTES, type PickleProtocol, type ServerConnection } from '../wire/index.js';

/**
 * Time slice, in items: after pickling this many, which takes some milliseconds, the event loop runs. It is also the
 * batch size of Python's own pickler.
 */
const ITEMS_PER_SLICE = 1000;

/** Concurrency limit for reading values: a little above what the file system handles at the same time. */
const READ_CONCURRENCY = 8;

/** The connection that gets a reply. */
type Client = Pick<ServerConnection, 'replied' | 'destroy' | 'remoteAddress'>;

type Batches<Item> = AsyncIterable<readonly Item[]> | Iterable<readonly Item[]>;

/** A reply in progress: being encoded, waiting for memory, or being sent. */
class LargeReply {
  /** The bytes encoded so far. */
  size = 0;
  /** True once the client has received it, or has disconnected. */
  isDone = false;
  /** Resolves its wait for memory. */
  onGranted: () => void = () => undefined;

  constructor(private readonly client: Client) {}

  get remoteAddress(): string | undefined {
    return this.client.remoteAddress;
  }

  destroy(): void {
    this.client.destroy();
  }

  /** Resolves when the client has received it, or has disconnected. */
  replied(): Promise<void> {
    return this.client.replied();
  }
}

/**
 * Pickles replies of any size within a memory budget (admission control). Replies of more than 64 kB or a thousand
 * items are charged to the budget until their clients have received them.
 *
 * - If the budget is used up, a reply that does not fit is dropped, and encoded again when memory is granted: a waiting
 *   reply takes no memory.
 * - Waiting replies get memory one after another, fair per host. If no large reply is being sent, one of any size is
 *   granted.
 * - While others wait, slow clients are evicted by `StallTimeout`.
 *
 * A long list is encoded in time slices, so that it does not block the event loop.
 */
export class ReplyEncoder {
  private lastYield: Promise<unknown> = Promise.resolve();
  /** The large replies. */
  private readonly charged = new Set<LargeReply>();
  /** The bytes of these that are charged to the budget. */
  private chargedSize = 0;
  /** Those that are encoded, and are being sent. */
  private readonly sending = new Set<LargeReply>();
  /** Those that wait for memory. */
  private readonly waiting = new Set<LargeReply>();
  /** The one that was granted memory after it has waited: it is encoded without waiting again. */
  private granted: LargeReply | undefined;
  private readonly roundRobin = new HostRoundRobin();
  private readonly stallTimeout: StallTimeout;
  private readonly readLimit = pLimit(READ_CONCURRENCY);

  /**
   * @param protocol the pickle protocol to write; with 0, lists use an opcode of protocol 1, which all readers accept
   * @param limit the memory budget of large replies, in bytes
   * @param stallTimeoutMs how long a client may make others wait: see StallTimeout
   */
  constructor(
    private readonly protocol: PickleProtocol,
    private readonly limit: number,
    stallTimeoutMs: number,
  ) {
    this.stallTimeout = new StallTimeout(stallTimeoutMs);
  }

  /**
   * Pickles a value.
   * @param read returns it; called again if the reply had to wait
   * @param client gets it, as the reply to the call in progress
   * @throws PickleError; as `read`; ConnectionClosedError where the client has disconnected before it is encoded
   */
  encodeValue(read: () => Promise<PythonWritable>, client: Client): Promise<Pickled> {
    const pickled = (): Promise<Uint8Array> =>
      this.readLimit(async () => dumps(await read(), { protocol: this.protocol }));
    return this.encode(client, async (reply) => {
      const body = await pickled();
      if (body.length > LARGE_FRAME_BYTES && !this.mayContinue(reply)) return undefined;
      return [this.count(reply, body)];
    });
  }

  /**
   * Pickles batches of at most a thousand items as one list.
   * @param batchesOf returns the batches; called again if the reply had to wait
   * @throws as `encodeValue`
   */
  encodeList<Item>(
    batchesOf: () => Batches<Item> | Promise<Batches<Item>>,
    toPython: (item: Item) => PythonWritable,
    client: Client,
  ): Promise<Pickled> {
    return this.encode(client, async (reply) => {
      const writer = new PickleWriter({ protocol: this.protocol, fast: true }).start().write([]);
      const pieces: Uint8Array[] = [];
      let written = 0;
      for await (const batch of await batchesOf()) {
        if (written + batch.length > ITEMS_PER_SLICE) {
          this.charge(reply);
          pieces.push(this.count(reply, writer.take()));
          written = 0;
          await this.yieldToEventLoop();
          if (!this.mayContinue(reply)) return undefined;
        }
        writer.opcode('MARK');
        for (const item of batch) writer.write(toPython(item));
        writer.opcode('APPENDS');
        written += batch.length;
      }
      const rest = writer.finish();
      if (rest.length > LARGE_FRAME_BYTES && !this.mayContinue(reply)) return undefined;
      pieces.push(this.count(reply, rest));
      return pieces;
    });
  }

  /** @param make returns the pieces of the reply; undefined if it has to wait for memory */
  private async encode(
    client: Client,
    make: (reply: LargeReply) => Promise<Uint8Array[] | undefined>,
  ): Promise<Pickled> {
    const reply = new LargeReply(client);
    try {
      let pieces = await make(reply);
      while (pieces === undefined) {
        await this.waitForMemory(reply);
        pieces = await make(reply);
      }
      this.finish(reply);
      return new Pickled(pieces);
    } catch (error) {
      this.release(reply);
      throw error;
    }
  }

  /** Ends a time slice. One list continues in each iteration of the event loop, however many are being encoded. */
  private yieldToEventLoop(): Promise<unknown> {
    this.lastYield = this.lastYield.then(() => nextIteration());
    return this.lastYield;
  }

  /** Treats a reply as a large one: from now on it is charged to the budget. */
  private charge(reply: LargeReply): void {
    if (reply.isDone || this.charged.has(reply)) return;
    this.charged.add(reply);
    void reply.replied().then(() => {
      this.release(reply);
    });
  }

  private count(reply: LargeReply, piece: Uint8Array): Uint8Array {
    // Not charged if the client has disconnected: its encoding ends soon.
    if (!this.charged.has(reply)) return piece;
    reply.size += piece.length;
    this.chargedSize += piece.length;
    return piece;
  }

  /** True if a large reply need not wait. @throws ConnectionClosedError where its client has disconnected */
  private mayContinue(reply: LargeReply): boolean {
    this.charge(reply);
    if (reply.isDone) throw new ConnectionClosedError(refusalText('CONNECTION_LOST'));
    return reply === this.granted || (this.waiting.size === 0 && this.chargedSize <= this.limit);
  }

  /** Waits for memory. What was encoded of the reply was dropped. @throws as `mayContinue` */
  private async waitForMemory(reply: LargeReply): Promise<void> {
    this.chargedSize -= reply.size;
    reply.size = 0;
    await new Promise<void>((resolve) => {
      reply.onGranted = resolve;
      this.waiting.add(reply);
      this.grantNext();
    });
    if (reply.isDone) throw new ConnectionClosedError(refusalText('CONNECTION_LOST'));
  }

  /**
   * Grants memory to a waiting reply, if the budget is not used up, or no reply is being sent whose end could free
   * some.
   */
  private grantNext(): void {
    const hasRoom = this.chargedSize <= this.limit || this.sending.size === 0;
    if (this.granted === undefined && hasRoom) this.granted = this.roundRobin.next(this.waiting);
    if (this.granted && this.waiting.delete(this.granted)) this.granted.onGranted();
    this.stallTimeout.setContended(this.waiting.size > 0);
  }

  private finish(reply: LargeReply): void {
    if (!this.charged.has(reply)) return;
    this.sending.add(reply);
    this.roundRobin.recordTurn(reply);
    this.stallTimeout.add(reply, reply.size);
    this.releaseGrant(reply);
  }

  private release(reply: LargeReply): void {
    reply.isDone = true;
    if (!this.charged.delete(reply)) return;
    this.chargedSize -= reply.size;
    this.sending.delete(reply);
    this.stallTimeout.remove(reply);
    if (this.waiting.delete(reply)) reply.onGranted();
    this.releaseGrant(reply);
  }

  private releaseGrant(reply: LargeReply): void {
    if (this.granted === reply) this.granted = undefined;
    this.grantNext();
  }
}

/** Splits an array into batches for `encodeList`. */
export function* inBatches<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += ITEMS_PER_SLICE) yield items.slice(start, start + ITEMS_PER_SLICE);
}
