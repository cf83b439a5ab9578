import type { Change } from './change.js';

/** A change of the namespace: what was done, to which name (absolute), and the URI where an object was registered. */
export interface NameChange {
  readonly operation: 'register' | 'unregister' | 'createGroup' | 'deleteGroup' | 'setMeta';
  readonly name: string;
  readonly uri?: string | undefined;
}

/** What a watcher gets to know: the changes after the position it knew, and the position to ask for next. */
export interface ChangesSince {
  readonly position: number;
  /** Undefined where they aren't known any more, or never were: the watcher must look at the names themselves. */
  readonly changes: readonly NameChange[] | undefined;
}

/** How many changes are remembered for watchers that are late. */
const MAX_REMEMBERED = 10_000;

/** How many characters the names and URIs of those may have. */
const MAX_REMEMBERED_CHARACTERS = 8 * 1024 * 1024;

/** How long a watcher is kept waiting: less than networks let a silent connection live. */
const MAX_WAIT_MS = 25_000;

/**
 * The latest changes of a namespace, for those who want to know of each without asking again and again: a watcher tells
 * up to where it knows, and is answered as soon as there is more.
 */
export class ChangeFeed {
  private readonly remembered: NameChange[] = [];
  private rememberedCharacters = 0;
  /** The position after the last change. It begins with the time, so that a position of an earlier server is none here. */
  private position = Date.now() * 1000;
  private readonly waiting = new Set<() => void>();
  private closed = false;

  /** Tells of a change. Of system metadata nobody is told. */
  append(change: Change): void {
    if (change.kind === 'setSystemMeta') return;
    const uri = change.kind === 'register' ? change.uri.toString() : undefined;
    this.position += 1;
    this.remember({ operation: change.kind, name: change.name.toString(), uri });
    this.wakeAll();
  }

  /** Tells that anything may have changed. */
  skip(): void {
    this.position += 1;
    this.remembered.length = 0;
    this.rememberedCharacters = 0;
    this.wakeAll();
  }

  /** Answers at once where there are changes after this position, or it is none of ours; else waits for a while. */
  async since(position: number | undefined): Promise<ChangesSince> {
    if (position === this.position && !this.closed) await this.more();
    return this.sinceNow(position);
  }

  /** As `since`, without waiting. */
  sinceNow(position: number | undefined): ChangesSince {
    const missed = position === undefined ? Infinity : this.position - position;
    if (missed < 0 || missed > this.remembered.length) return { position: this.position, changes: undefined };
    return { position: this.position, changes: missed === 0 ? [] : this.remembered.slice(-missed) };
  }

  /** Lets nobody wait any longer. */
  close(): void {
    this.closed = true;
    this.wakeAll();
  }

  /** Where there are too many, the older half is forgotten. */
  private remember(change: NameChange): void {
    this.remembered.push(change);
    this.rememberedCharacters += charactersOf(change);
    if (this.remembered.length <= MAX_REMEMBERED && this.rememberedCharacters <= MAX_REMEMBERED_CHARACTERS) return;
    for (const forgotten of this.remembered.splice(0, Math.floor(this.remembered.length / 2))) {
      this.rememberedCharacters -= charactersOf(forgotten);
    }
  }

  private more(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, MAX_WAIT_MS);
      this.waiting.add(wake);
    });
  }

  private wakeAll(): void {
    for (const wake of this.waiting) wake();
  }
}

const charactersOf = ({ name, uri }: NameChange): number => name.length + (uri?.length ?? 0);
