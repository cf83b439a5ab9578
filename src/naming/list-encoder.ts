import { setImmediate as nextTurn } from 'node:timers/promises';
import { ConnectionClosedError } from '../errors.js';
import { PickleWriter, type PythonWritable } from '../pickle/index.js';
import { HostRoundRobin, StallTimeout } from '../sync/index.js';
import { EncodedBody, type PickleProtocol, type ServerConnection } from '../wire/index.js';

/** How many items are pickled before others run: some milliseconds' work. It is also as many as Python puts in one batch. */
const ITEMS_PER_TURN = 1000;

/** Who is to get a list. */
type Client = Pick<ServerConnection, 'replied' | 'destroy' | 'remoteAddress'>;

/** A list that is being made, or that waits for its client to take it. */
class HeldReply {
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
}

/**
 * Pickles lists of any length without keeping others waiting: a little of one list in each turn of the event loop, however
 * many are wanted at the same time. Lists of more than a thousand items share a bounded memory until their clients have
 * taken them: where it is used up, the rest are made one after the other, as there is room, and one of any size where no client
 * has a list to take. Clients that make others wait for room have the time that `StallTimeout` gives.
 */
export class ListEncoder {
  private turn: Promise<unknown> = Promise.resolve();
  private readonly held = new Set<HeldReply>();
  private heldSize = 0;
  /** Those of them that are made, and are to be taken. */
  private readonly made = new Set<HeldReply>();
  /** Those that wait for room, and the one among them whose turn it is: that is made without more waiting. */
  private readonly waiting = new Set<HeldReply>();
  private next: HeldReply | undefined;
  private readonly roundRobin = new HostRoundRobin();
  private readonly stallTimeout: StallTimeout;

  /**
   * @param protocol the pickle protocol to write; where it is 0, a list is put together with an opcode of 1, as all readers know it
   * @param limit how many bytes long lists may take together
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
   * Pickles what comes in batches of at most a thousand items as one list.
   * @param client who is to get it, as the reply to the call that is being answered
   * @throws PickleError; what the batches throw; ConnectionClosedError where the client is gone before it is made
   */
  async pickle<Item>(
    batches: AsyncIterable<readonly Item[]> | Iterable<readonly Item[]>,
    toPython: (item: Item) => PythonWritable,
    client: Client,
  ): Promise<EncodedBody> {
    const writer = new PickleWriter({ protocol: this.protocol, fast: true }).start().write([]);
    const pieces: Uint8Array[] = [];
    let list: HeldReply | undefined;
    let written = 0;
    try {
      for await (const batch of batches) {
        if (written + batch.length > ITEMS_PER_TURN) {
          list ??= this.hold(client);
          pieces.push(this.count(list, writer.take()));
          written = 0;
          await this.othersRan();
          await this.reserve(list);
        }
        writer.opcode('MARK');
        for (const item of batch) writer.write(toPython(item));
        writer.opcode('APPENDS');
        written += batch.length;
      }
      const rest = writer.finish();
      pieces.push(list === undefined ? rest : this.count(list, rest));
      if (list) this.finish(list);
      return new EncodedBody(pieces);
    } catch (error) {
      if (list) this.release(list);
      throw error;
    }
  }

  private othersRan(): Promise<unknown> {
    this.turn = this.turn.then(() => nextTurn());
    return this.turn;
  }

  private hold(client: Client): HeldReply {
    const list = new HeldReply(client);
    this.held.add(list);
    void client.replied().then(() => {
      this.release(list);
    });
    return list;
  }

  private count(list: HeldReply, piece: Uint8Array): Uint8Array {
    // What goes on without a client is on nobody's account, and ends soon.
    if (list.isOver) return piece;
    list.size += piece.length;
    this.heldSize += piece.length;
    return piece;
  }

  /** Waits until a list may go on. @throws ConnectionClosedError where nobody is there to get it */
  private async reserve(list: HeldReply): Promise<void> {
    const isFree = this.waiting.size === 0 && this.heldSize <= this.limit;
    if (!isFree && !list.isOver && list !== this.next) {
      await new Promise<void>((resolve) => {
        list.onGranted = resolve;
        this.waiting.add(list);
        this.grantNext();
      });
    }
    if (list.isOver) throw new ConnectionClosedError('connection lost');
  }

  /** Has one that waits made, where there is room, or where nothing that is held will make some. */
  private grantNext(): void {
    const hasRoom = this.heldSize <= this.limit || this.made.size === 0;
    if (this.next === undefined && hasRoom) this.next = this.roundRobin.next(this.waiting);
    if (this.next && this.waiting.delete(this.next)) this.next.onGranted();
    this.stallTimeout.setContended(this.waiting.size > 0);
  }

  private finish(list: HeldReply): void {
    if (list.isOver) return;
    this.made.add(list);
    this.roundRobin.recordTurn(list);
    this.stallTimeout.add(list, list.size);
    this.leaveTurn(list);
  }

  private release(list: HeldReply): void {
    list.isOver = true;
    if (!this.held.delete(list)) return;
    this.heldSize -= list.size;
    this.made.delete(list);
    this.stallTimeout.remove(list);
    if (this.waiting.delete(list)) list.onGranted();
    this.leaveTurn(list);
  }

  private leaveTurn(list: HeldReply): void {
    if (this.next === list) this.next = undefined;
    this.grantNext();
  }
}

/** An array in batches, to be pickled. */
export function* inBatches<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += ITEMS_PER_TURN) yield items.slice(start, start + ITEMS_PER_TURN);
}
