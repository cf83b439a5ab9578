import { setImmediate as nextTurn } from 'node:timers/promises';
import { ConnectionClosedError } from '../errors.js';
import { PickleWriter, type PythonWritable } from '../pickle/index.js';
import { Pickled, type PickleProtocol, type ServerConnection } from '../wire/index.js';

/** How many items are pickled before others run: some milliseconds' work. It is also as many as Python puts in one batch. */
const ITEMS_AT_ONCE = 1000;

/** A list that is being made, or that waits for its client to take it. */
interface HeldList {
  /** In bytes, as far as it is made. */
  size: number;
  /** True once the client has it, or is gone. */
  isOver: boolean;
}

/**
 * Pickles lists of any length without keeping others waiting: a little of one list in each turn of the event loop, however
 * many are wanted at the same time. Lists of more than a thousand items share a bounded memory until their clients have
 * taken them: where it is used up, the others wait, but for the oldest, which may take as much as it needs.
 */
export class LongLists {
  private turn: Promise<unknown> = Promise.resolve();
  /** The oldest first. */
  private readonly held = new Set<HeldList>();
  private heldSize = 0;
  private waiting: (() => void)[] = [];

  /**
   * @param protocol the pickle protocol to write; where it is 0, a list is put together with an opcode of 1, as all readers know it
   * @param limit how many bytes long lists may take together
   */
  constructor(
    private readonly protocol: PickleProtocol,
    private readonly limit: number,
  ) {}

  /**
   * Pickles what comes in batches of at most a thousand items as one list.
   * @param client who is to get it, as the reply to the call that is being answered
   * @throws PickleError; what the batches throw; ConnectionClosedError where the client is gone before it is made
   */
  async pickle<Item>(
    batches: AsyncIterable<readonly Item[]> | Iterable<readonly Item[]>,
    toPython: (item: Item) => PythonWritable,
    client: Pick<ServerConnection, 'replied'>,
  ): Promise<Pickled> {
    const writer = new PickleWriter({ protocol: this.protocol, fast: true }).start().write([]);
    const pieces: Uint8Array[] = [];
    let list: HeldList | undefined;
    let written = 0;
    try {
      for await (const batch of batches) {
        if (written + batch.length > ITEMS_AT_ONCE) {
          list ??= this.hold(client);
          pieces.push(this.count(list, writer.take()));
          written = 0;
          await this.othersRan();
          await this.room(list);
        }
        writer.opcode('MARK');
        for (const item of batch) writer.write(toPython(item));
        writer.opcode('APPENDS');
        written += batch.length;
      }
      const rest = writer.finish();
      pieces.push(list === undefined ? rest : this.count(list, rest));
      return new Pickled(pieces);
    } catch (error) {
      if (list) this.release(list);
      throw error;
    }
  }

  private othersRan(): Promise<unknown> {
    this.turn = this.turn.then(() => nextTurn());
    return this.turn;
  }

  private hold(client: Pick<ServerConnection, 'replied'>): HeldList {
    const list: HeldList = { size: 0, isOver: false };
    this.held.add(list);
    void client.replied().then(() => {
      this.release(list);
    });
    return list;
  }

  private count(list: HeldList, piece: Uint8Array): Uint8Array {
    list.size += piece.length;
    this.heldSize += piece.length;
    return piece;
  }

  /** Waits until a list may go on. @throws ConnectionClosedError where nobody is there to get it */
  private async room(list: HeldList): Promise<void> {
    while (!list.isOver && this.heldSize > this.limit && !this.isOldest(list)) {
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
      });
    }
    if (list.isOver) throw new ConnectionClosedError('connection lost');
  }

  private isOldest(list: HeldList): boolean {
    const [oldest] = this.held;
    return oldest === list;
  }

  private release(list: HeldList): void {
    list.isOver = true;
    if (!this.held.delete(list)) return;
    this.heldSize -= list.size;
    const { waiting } = this;
    this.waiting = [];
    for (const goOn of waiting) goOn();
  }
}

/** An array in batches, to be pickled. */
export function* inBatches<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += ITEMS_AT_ONCE) yield items.slice(start, start + ITEMS_AT_ONCE);
}
