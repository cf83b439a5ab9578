import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Deadline } from '../../sync/index.js';
import type { EtcdClient } from './client.js';
import { EtcdError } from './client.js';
import type { Mirror, PendingWrite } from './mirror.js';
import type { Keys, TreeKeys } from './keys.js';
import type { Comparison, Operation, TransactionRequest, TransactionResponse } from './protocol.js';
import { LEASE_GRANT, TRANSACTION } from './protocol.js';

/** A change that is wanted: what must be true, and what is done then, in one step. */
export interface TransactionChange {
  /** What it is about: two changes of one name are not made in one transaction. */
  readonly name: string;
  /** It changes other names too, so it has a transaction for itself. */
  readonly alone?: boolean;
  /** The tree it is made in, as long as that one is served. */
  readonly tree: TreeKeys;
  readonly requires: readonly Comparison[];
  readonly does: readonly Operation[];
  /** One of the keys that it changes. */
  readonly changes: string;
}

/**
 * What came of a change: it was made; or it was not, as something it requires was not true, or for no reason (`not made`);
 * or etcd can't be asked to make it, or does not want to (`refused`); or nobody knows (`unknown`).
 */
export type Outcome =
  { readonly result: 'made' | 'not made' | 'unknown' } | { readonly result: 'refused'; readonly error: EtcdError };

interface PendingChange extends TransactionChange {
  readonly deadline: Deadline;
  readonly settle: (outcome: Outcome) => void;
}

type Batch = readonly [PendingChange, ...PendingChange[]];

const MADE: Outcome = { result: 'made' };
const NOT_MADE: Outcome = { result: 'not made' };
const UNKNOWN: Outcome = { result: 'unknown' };

/** How many transactions are under way at a time; what comes meanwhile goes into the next one together. */
const MAX_UNDER_WAY = 4;
/** Etcd takes 128 steps in a transaction by default. */
const MAX_BATCH_LENGTH = 100;
/** Etcd takes requests of 1.5 MiB by default; a change that is larger than this is sent alone. */
const MAX_BATCH_SIZE = 256 * 1024;
const RETRY_DELAY_MS = 50;
/** Longer than a request may be stuck in a member of the cluster that was suspended or cut off. */
const FENCE_SECONDS = 24 * 60 * 60;

/**
 * Makes changes, each in one transaction with what it requires; those that come at the same time share one request.
 *
 * When etcd does not answer, a request may have been done, or may still be done whenever the member that has it comes to
 * itself. So each carries a token, and requires that there is no fence of that token. To find out what came of it, the
 * fence is put up: from that revision on it can't be done any more, and if it was done before, the feed has seen the
 * token by then.
 */
export class Transactions {
  private queue: PendingChange[] = [];
  private underWay = 0;
  private whenIdle: (() => void) | undefined;
  private readonly source = randomBytes(6).toString('hex');
  private tokenCount = 0;

  constructor(
    private readonly client: EtcdClient,
    private readonly keys: Keys,
    private readonly mirror: Mirror,
  ) {}

  /**
   * Makes a change.
   * @returns what came of it. By then the feed has it if it was made, and what stood in its way if it was not: but if
   *   the feed does not come along until the deadline.
   */
  make(change: TransactionChange, deadline: Deadline): Promise<Outcome> {
    return new Promise((settle) => {
      this.queue.push({ ...change, deadline, settle });
      this.dispatch();
    });
  }

  /** Waits for what is under way. */
  async finish(): Promise<void> {
    if (this.underWay === 0) return;
    await new Promise<void>((resolve) => {
      this.whenIdle = resolve;
    });
  }

  private dispatch(): void {
    while (this.underWay < MAX_UNDER_WAY) {
      const batch = this.takeBatch();
      if (batch === undefined) break;
      this.underWay += 1;
      void this.send(batch).finally(() => {
        this.underWay -= 1;
        this.dispatch();
      });
    }
    if (this.underWay === 0) this.whenIdle?.();
  }

  /** Takes from the queue what may go into one transaction, where no key may be changed twice. */
  private takeBatch(): Batch | undefined {
    const [first, ...others] = this.queue;
    if (first === undefined) return undefined;
    const batch: [PendingChange, ...PendingChange[]] = [first];
    const left: PendingChange[] = [];
    const names = new Set([first.name]);
    let size = sizeOf(first);
    let full = first.alone === true;
    for (const pending of others) {
      full ||= pending.alone === true || batch.length === MAX_BATCH_LENGTH;
      if (!full && pending.tree === first.tree && !names.has(pending.name)) size += sizeOf(pending);
      full ||= size > MAX_BATCH_SIZE;
      if (full || pending.tree !== first.tree || names.has(pending.name)) {
        left.push(pending);
      } else {
        names.add(pending.name);
        batch.push(pending);
      }
    }
    this.queue = left;
    return batch;
  }

  /** Sends a batch until etcd has it, and tells each change what came of it. */
  private async send(batch: Batch): Promise<void> {
    const token = this.newToken();
    const pendingWrite = this.mirror.expect(token);
    const [{ deadline, alone }] = batch;
    const patience = alone ? deadline.remainingMs / 2 : undefined;
    try {
      for (;;) {
        try {
          const response = await this.client.call(TRANSACTION, this.transactionOf(batch, token), deadline, patience);
          void this.answer(batch, response);
          return;
        } catch (error) {
          if (!(error instanceof EtcdError)) throw error;
          if (error.outcome === 'unknown') {
            await this.findOut(batch, token, pendingWrite);
            return;
          }
          if (error.outcome === 'refused' && batch.length > 1) {
            // The fault may be in one of them, or in their number.
            for (const pending of batch) await this.send([pending]);
            return;
          }
          if (error.outcome === 'refused' || deadline.remainingMs <= RETRY_DELAY_MS) {
            settleAll(batch, { result: 'refused', error });
            return;
          }
        }
        await pause(RETRY_DELAY_MS);
      }
    } finally {
      this.mirror.forget(token);
    }
  }

  private transactionOf(batch: Batch, token: string): TransactionRequest {
    const { keys } = this;
    const [{ tree }] = batch;
    return {
      compare: [
        { key: keys.tree, result: 'equal', operand: { value: String(tree.number) } },
        { key: keys.fence(token), result: 'equal', operand: { version: 0 } },
      ],
      success: [
        ...batch.map(({ requires, does }) => ({ transaction: { compare: requires, success: does, failure: [] } })),
        { put: keys.change, value: token },
      ],
      failure: [{ range: { key: keys.change } }],
    };
  }

  /** Tells what etcd has answered, when the feed has it too. */
  private async answer(
    batch: Batch,
    { succeeded, revision, transactions, ranges }: TransactionResponse,
  ): Promise<void> {
    const lastChange = ranges[0]?.keyValues[0]?.modRevision ?? 0;
    const [{ deadline }] = batch;
    const isKnown = await this.mirror.reached(succeeded ? revision : lastChange, deadline);
    for (const [index, { settle }] of batch.entries()) {
      if (succeeded && transactions[index]?.succeeded === true) settle(MADE);
      else
        settle(isKnown ? NOT_MADE : { result: 'refused', error: new EtcdError('the watch stays behind', 'refused') });
    }
  }

  /** Finds out what came of a batch that etcd has not answered, and tells. */
  private async findOut(batch: Batch, token: string, pendingWrite: PendingWrite): Promise<void> {
    const [{ deadline }] = batch;
    const isFenced = await this.fence(token, pendingWrite, deadline);
    const { events } = pendingWrite;
    if (events !== undefined) {
      const changed = new Set(
        events.filter((event) => event.modRevision === pendingWrite.revision).map(({ key }) => key),
      );
      for (const { changes, settle } of batch) settle(changed.has(changes) ? MADE : NOT_MADE);
    } else {
      settleAll(batch, isFenced && !pendingWrite.gap ? NOT_MADE : UNKNOWN);
    }
  }

  /**
   * Makes sure that the change of this token has been seen, or can't be made any more.
   * @returns false if that could not be done by the deadline
   */
  private async fence(token: string, pendingWrite: PendingWrite, deadline: Deadline): Promise<boolean> {
    const key = this.keys.fence(token);
    while (pendingWrite.events === undefined && deadline.remainingMs > RETRY_DELAY_MS) {
      try {
        const lease = randomInt(1, 2 ** 47);
        await this.client.call(LEASE_GRANT, { id: lease, seconds: FENCE_SECONDS }, deadline);
        const request: TransactionRequest = {
          compare: [{ key, result: 'equal', operand: { version: 0 } }],
          success: [{ put: key, value: '', lease }],
          failure: [{ range: { key } }],
        };
        const { succeeded, revision, ranges } = await this.client.ask(TRANSACTION, request, deadline);
        const fenced = succeeded ? revision : (ranges[0]?.keyValues[0]?.modRevision ?? 0);
        return await this.mirror.reached(fenced, deadline);
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error;
      }
      await pause(RETRY_DELAY_MS);
    }
    return false;
  }

  private newToken(): string {
    this.tokenCount += 1;
    return `${this.source}-${this.tokenCount}`;
  }
}

function settleAll(batch: Batch, outcome: Outcome): void {
  for (const { settle } of batch) settle(outcome);
}

/** About how many bytes a change takes in a request. */
function sizeOf({ does }: TransactionChange): number {
  return does.reduce(
    (size, operation) => size + ('put' in operation ? operation.put.length + operation.value.length : 0),
    0,
  );
}
