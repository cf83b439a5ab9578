import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Deadline } from '../../sync/index.js';
import type { EtcdClient } from './client.js';
import { EtcdError } from './client.js';
import type { Mirror, PendingWrite } from './mirror.js';
import type { Keys, TreeKeys } from './keys.js';
import type { Comparison, Operation, TransactionRequest, TransactionResponse } from './protocol.js';
import { LEASE_GRANT, TRANSACTION } from './protocol.js';

/** A change to make: preconditions, and operations that are done atomically if all of them hold. */
export interface TransactionChange {
  /** The name that it changes. A transaction never has two changes of the same name. */
  readonly name: string;
  /** True if it changes other names too: it gets a transaction of its own. */
  readonly alone?: boolean;
  /** The tree that it changes. Nothing is done if that tree is no longer the served one. */
  readonly tree: TreeKeys;
  /** The preconditions. */
  readonly requires: readonly Comparison[];
  /** The operations. */
  readonly does: readonly Operation[];
  /** One of the keys that it changes. An event of this key shows that the change was made. */
  readonly changes: string;
}

/**
 * The outcome of a change:
 * - `made`;
 * - `not made`: a precondition did not hold, or the request was lost. Nothing was changed;
 * - `refused`: etcd could not be reached, or answered with an error. Nothing was changed;
 * - `unknown`: the change may have been made.
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

/** Maximum number of transactions in flight. Changes that come meanwhile are batched into the next one. */
const MAX_IN_FLIGHT = 4;
/** Changes in a transaction. Etcd accepts 128 operations by default. */
const MAX_BATCH_LENGTH = 100;
/** Bytes in a batch: etcd accepts requests of 1.5 MiB by default. A change that is larger than this is sent alone. */
const MAX_BATCH_BYTES = 256 * 1024;
const RETRY_DELAY_MS = 50;
/** TTL of a fence: longer than a request may be stuck in a member of the cluster that was suspended or cut off. */
const FENCE_SECONDS = 24 * 60 * 60;

/**
 * Makes changes in etcd. Changes that come at the same time are batched into one transaction, where each keeps its own
 * preconditions.
 *
 * When etcd does not answer, the request may have been executed, or may still be executed whenever the member that has it
 * resumes. So each request carries a token, and has the precondition that no fence with that token exists. To find out the
 * outcome, the fence is created: from its revision on, the request can't be executed any more. If it was executed before,
 * the mirror has seen the token once it reaches that revision.
 */
export class Transactions {
  private queue: PendingChange[] = [];
  private inFlight = 0;
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
   * @returns its outcome. By then the mirror contains the change if it was made, or else the state that the precondition failed
   *   on. If the mirror does not get so far by the deadline, a change that was not made is reported as `refused`.
   */
  make(change: TransactionChange, deadline: Deadline): Promise<Outcome> {
    return new Promise((settle) => {
      this.queue.push({ ...change, deadline, settle });
      this.dispatch();
    });
  }

  /** Waits for the transactions in flight. */
  async finish(): Promise<void> {
    if (this.inFlight === 0) return;
    await new Promise<void>((resolve) => {
      this.whenIdle = resolve;
    });
  }

  private dispatch(): void {
    while (this.inFlight < MAX_IN_FLIGHT) {
      const batch = this.takeBatch();
      if (batch === undefined) break;
      this.inFlight += 1;
      void this.send(batch).finally(() => {
        this.inFlight -= 1;
        this.dispatch();
      });
    }
    if (this.inFlight === 0) this.whenIdle?.();
  }

  /** Takes a batch from the queue, in order. A transaction must not change a key twice, so no name comes twice in it. */
  private takeBatch(): Batch | undefined {
    const [first, ...others] = this.queue;
    if (first === undefined) return undefined;
    const batch: [PendingChange, ...PendingChange[]] = [first];
    const remaining: PendingChange[] = [];
    const names = new Set([first.name]);
    let size = sizeOf(first);
    let full = first.alone === true;
    for (const pending of others) {
      full ||= pending.alone === true || batch.length === MAX_BATCH_LENGTH;
      if (!full && pending.tree === first.tree && !names.has(pending.name)) size += sizeOf(pending);
      full ||= size > MAX_BATCH_BYTES;
      if (full || pending.tree !== first.tree || names.has(pending.name)) {
        remaining.push(pending);
      } else {
        names.add(pending.name);
        batch.push(pending);
      }
    }
    this.queue = remaining;
    return batch;
  }

  /** Sends a batch, with retries until etcd has received it, and settles each change with its outcome. */
  private async send(batch: Batch): Promise<void> {
    const token = this.newToken();
    const pendingWrite = this.mirror.trackWrite(token);
    const [{ deadline, alone }] = batch;
    const attemptTimeoutMs = alone ? deadline.remainingMs / 2 : undefined;
    try {
      for (;;) {
        try {
          const response = await this.client.call(
            TRANSACTION,
            this.transactionOf(batch, token),
            deadline,
            attemptTimeoutMs,
          );
          void this.settleAnswered(batch, response);
          return;
        } catch (error) {
          if (!(error instanceof EtcdError)) throw error;
          if (error.outcome === 'unknown') {
            await this.determineOutcome(batch, token, pendingWrite);
            return;
          }
          if (error.outcome === 'refused' && batch.length > 1) {
            // The reason may be one of the changes, or their number: send each one alone.
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
      this.mirror.untrackWrite(token);
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

  /** Settles a batch with etcd's answer, once the mirror is at the revision of that answer. */
  private async settleAnswered(
    batch: Batch,
    { succeeded, revision, transactions, ranges }: TransactionResponse,
  ): Promise<void> {
    const lastChange = ranges[0]?.keyValues[0]?.modRevision ?? 0;
    const [{ deadline }] = batch;
    const isMirrored = await this.mirror.reached(succeeded ? revision : lastChange, deadline);
    for (const [index, { settle }] of batch.entries()) {
      if (succeeded && transactions[index]?.succeeded === true) settle(MADE);
      else
        settle(
          isMirrored ? NOT_MADE : { result: 'refused', error: new EtcdError('the watch is behind etcd', 'refused') },
        );
    }
  }

  /** Finds out the outcome of a batch that etcd has not answered, and settles it. */
  private async determineOutcome(batch: Batch, token: string, pendingWrite: PendingWrite): Promise<void> {
    const [{ deadline }] = batch;
    const isFenced = await this.fence(token, pendingWrite, deadline);
    const { events } = pendingWrite;
    if (events !== undefined) {
      const changed = new Set(
        events.filter((event) => event.modRevision === pendingWrite.revision).map(({ key }) => key),
      );
      for (const { changes, settle } of batch) settle(changed.has(changes) ? MADE : NOT_MADE);
    } else {
      settleAll(batch, isFenced && !pendingWrite.hasGap ? NOT_MADE : UNKNOWN);
    }
  }

  /**
   * Creates the fence of a token, unless the mirror sees the change first: after that, the change can't be made any more.
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
        const { succeeded, revision, ranges } = await this.client.callWithRetry(TRANSACTION, request, deadline);
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

/** The approximate size of a change in a request, in bytes. */
function sizeOf({ does }: TransactionChange): number {
  return does.reduce(
    (size, operation) => size + ('put' in operation ? operation.put.length + operation.value.length : 0),
    0,
  );
}
