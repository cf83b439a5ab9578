import { setImmediate as nextTurn } from 'node:timers/promises';
import { PickleWriter, type PythonWritable } from '../pickle/index.js';
import { Pickled, type PickleProtocol } from '../wire/index.js';

/** How many items are pickled before others run: some milliseconds' work. It is also as many as Python puts in one batch. */
const ITEMS_AT_ONCE = 1000;

/**
 * Pickles lists of any length without keeping others waiting: a little of one list in each turn of the event loop, however
 * many are wanted at the same time.
 */
export class LongLists {
  private turn: Promise<unknown> = Promise.resolve();

  /** @param protocol the pickle protocol to write; where it is 0, a list is put together with an opcode of 1, as all readers know it */
  constructor(private readonly protocol: PickleProtocol) {}

  /** Pickles what comes in batches of at most a thousand items as one list. @throws PickleError; what the batches throw */
  async pickle<Item>(
    batches: AsyncIterable<readonly Item[]> | Iterable<readonly Item[]>,
    toPython: (item: Item) => PythonWritable,
  ): Promise<Pickled> {
    const writer = new PickleWriter({ protocol: this.protocol, fast: true }).start().write([]);
    const pieces: Uint8Array[] = [];
    let written = 0;
    for await (const batch of batches) {
      if (written + batch.length > ITEMS_AT_ONCE) {
        pieces.push(writer.take());
        written = 0;
        await this.othersRan();
      }
      writer.opcode('MARK');
      for (const item of batch) writer.write(toPython(item));
      writer.opcode('APPENDS');
      written += batch.length;
    }
    pieces.push(writer.finish());
    return new Pickled(pieces);
  }

  private othersRan(): Promise<unknown> {
    this.turn = this.turn.then(() => nextTurn());
    return this.turn;
  }
}

/** An array in batches, to be pickled. */
export function* inBatches<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let start = 0; start < items.length; start += ITEMS_AT_ONCE) yield items.slice(start, start + ITEMS_AT_ONCE);
}
