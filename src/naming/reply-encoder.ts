import { setImmediate as nextTurn } from 'node:timers/promises';
import pLimit from 'p-limit';
import { ConnectionClosedError } from '../errors.js';
import { refusalText } from '../refusals.js';
import { dumps, PickleWriter, type PythonWritable } from '../pickle/index.js';
import { HostRoundRobin, StallTimeout } from '../sync/index.js';
import { Pickled, LARGE_FRAME_BYTES, type PickleProtocol, type ServerConnection } from '../wire/index.js';

/** How many items are pickled before others run: some milliseconds' work. It is also as many as Python puts in one batch. */
const ITEMS_PER_TURN = 1000;

/** How many values are read at the same time: a few more than the file system reads. */
const READ_CONCURRENCY = 8;

/** Who is to get a reply. */
type Client = Pick<ServerConnection, 'replied' | 'destroy' | 'remoteAddress'>;

type Batches<Item> = AsyncIterable<readonly Item[]> | Iterable<readonly Item[]>;

/** A large reply that is being made, that waits for room, or that its client has to take. */
class LargeReply {
  /** In bytes, as far as it is made. */
  size = 0;
  /** True once the client has it, or is gone. */
  isOver = false;
  /** Ends its waiting for room. */
  onGranted: () => void = () => undefined;

  constructor(private readonly client: Client) {}

  get remoteAddress(): string | undefined {
    return this.client.remoteAddress;
  }

  destroy(): void {
    this.client.destroy();
  }

  /** Resolves when the client has it, or is gone. */
  replied(): Promise<void> {
    return this.client.replied();
  }
}

/**
 * Pickles replies of any size, within a memory budget. Replies of more than 64 kB or a thousand items share it until their
 * clients have taken them. Where it is used up, a reply that does not fit is dropped and made again when it is its turn:
 * who waits takes no memory. Those that waited are made one after the other, as there is room, and one of any size where
 * no client has a large reply to take. Clients that make others wait have the time that `StallTimeout` gives.
 *
 * A long list is made a little in each turn of the event loop, so that it keeps nobody waiting.
 */
export class ReplyEncoder {
  private turn: Promise<unknown> = Promise.resolve();
  private readonly held = new Set<LargeReply>();
  private heldSize = 0;
  /** Those of them that are made, and are to be taken. */
  private readonly made = new Set<LargeReply>();
  /** Those that wait for room, and the one among them whose turn it is: that is made without more waiting. */
  private readonly waiting = new Set<LargeReply>();
  private next: LargeReply | undefined;
  private readonly roundRobin = new HostRoundRobin();
  private readonly stallTimeout: StallTimeout;
  private readonly readLimit = pLimit(READ_CONCURRENCY);

  /**
   * @param protocol the pickle protocol to write; where it is 0, a list is put together with an opcode of 1, as all readers know it
   * @param limit how many bytes large replies may take together
   * @param stallTimeoutMs how long a client may make others wait
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
   * @param read gives it; called again where the reply had to wait
   * @param client who is to get it, as the reply to the call that is being answered
   * @throws PickleError; what `read` throws; ConnectionClosedError where the client is gone before it is made
   */
  encodeValue(read: () => Promise<PythonWritable>, client: Client): Promise<Pickled> {
    const pickled = (): Promise<Uint8Array> =>
      this.readLimit(async () => dumps(await read(), { protocol: this.protocol }));
    return this.encode(client, async (reply) => {
      const body = await pickled();
      if (body.length > LARGE_FRAME_BYTES && !this.mayGoOn(reply)) return undefined;
      return [this.count(reply, body)];
    });
  }

  /**
   * Pickles what comes in batches of at most a thousand items as one list.
   * @param batchesOf gives them; called again where the reply had to wait
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
        if (written + batch.length > ITEMS_PER_TURN) {
          this.hold(reply);
          pieces.push(this.count(reply, writer.take()));
          written = 0;
          await this.othersRan();
          if (!this.mayGoOn(reply)) return undefined;
        }
        writer.opcode('MARK');
        for (const item of batch) writer.write(toPython(item));
        writer.opcode('APPENDS');
        written += batch.length;
      }
      const rest = writer.finish();
      if (rest.length > LARGE_FRAME_BYTES && !this.mayGoOn(reply)) return undefined;
      pieces.push(this.count(reply, rest));
      return pieces;
    });
  }

  /** @param make gives the pieces of the reply; undefined where it has to wait for room */
  private async encode(
    client: Client,
    make: (reply: LargeReply) => Promise<Uint8Array[] | undefined>,
  ): Promise<Pickled> {
    const reply = new LargeReply(client);
    try {
      let pieces = await make(reply);
      while (pieces === undefined) {
        await this.waitForTurn(reply);
        pieces = await make(reply);
      }
      this.finish(reply);
      return new Pickled(pieces);
    } catch (error) {
      this.release(reply);
      throw error;
    }
  }

  private othersRan(): Promise<unknown> {
    this.turn = this.turn.then(() => nextTurn());
    return this.turn;
  }

  /** Notes that a reply is a large one: from now on it takes room. */
  private hold(reply: LargeReply): void {
    if (reply.isOver || this.held.has(reply)) return;
    this.held.add(reply);
    void reply.replied().then(() => {
      this.release(reply);
    });
  }

  private count(reply: LargeReply, piece: Uint8Array): Uint8Array {
    // What goes on without a client is on nobody's account, and ends soon.
    if (!this.held.has(reply)) return piece;
    reply.size += piece.length;
    this.heldSize += piece.length;
    return piece;
  }

  /** True where a large reply need not wait. @throws ConnectionClosedError where nobody is there to get it */
  private mayGoOn(reply: LargeReply): boolean {
    this.hold(reply);
    if (reply.isOver) throw new ConnectionClosedError(refusalText('CONNECTION_LOST'));
    return reply === this.next || (this.waiting.size === 0 && this.heldSize <= this.limit);
  }

  /** Waits until a reply may be made, of which nothing is held meanwhile. @throws as `mayGoOn` */
  private async waitForTurn(reply: LargeReply): Promise<void> {
    this.heldSize -= reply.size;
    reply.size = 0;
    await new Promise<void>((resolve) => {
      reply.onGranted = resolve;
      this.waiting.add(reply);
      this.grantNext();
    });
    if (reply.isOver) throw new ConnectionClosedError(refusalText('CONNECTION_LOST'));
  }

  /** Has one that waits made, where there is room, or where nothing that is held will make some. */
  private grantNext(): void {
    const hasRoom = this.heldSize <= this.limit || this.made.size === 0;
    if (this.next === undefined && hasRoom) this.next = this.roundRobin.next(this.waiting);
    if (this.next && this.waiting.delete(this.next)) this.next.onGranted();
    this.stallTimeout.setContended(this.waiting.size > 0);
  }

  private finish(reply: LargeReply): void {
    if (!this.held.has(reply)) return;
    this.made.add(reply);
    this.roundRobin.recordTurn(reply);
    this.stallTimeout.add(reply, reply.size);
    this.leaveTurn(reply);
  }

  private release(reply: LargeReply): void {
    reply.isOver = true;
    if (!this.held.delete(reply)) return;
    this.heldSize -= reply.size;
    this.made.delete(reply);
    this.stallTimeout.remove(reply);
    if (this.waiting.delete(reply)) reply.onGranted();
    this.leaveTurn(reply);
  }

  private leaveTurn(reply: LargeReply): void {
    if (this.next === reply) this.next = undefined;
    this.grantNext();
  }
}

/** An array in batches, to be pickled. */
export function* inBatches<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += ITEMS_PER_TURN) yield items.slice(start, start + ITEMS_PER_TURN);
}
