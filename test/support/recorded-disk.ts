/**
 * A file system that records calls, to learn what a power cut after any of them may leave on the disk. The calls act on the
 * real file system; what they changed is recorded after each.
 *
 * What a power cut leaves is what POSIX promises, and no more: the content of a file is on the disk after an fsync of the file,
 * an entry of a directory after an fsync of the directory. What was not synced may be there or not, each on its own; a file may
 * have half of its content. `rename` is atomic: nothing has both names or none.
 */
import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import fc from 'fast-check';

/** A file or directory, whatever its names are. */
type Inode = number;

interface EntryChange {
  readonly directory: Inode;
  readonly name: string;
  /** What has the name now; undefined where nothing has. */
  readonly inode: Inode | undefined;
}

type Step =
  | { readonly kind: 'entries'; readonly changes: readonly EntryChange[]; readonly inode: Inode }
  | { readonly kind: 'content'; readonly inode: Inode; readonly content: Buffer; readonly seconds: number | undefined }
  | { readonly kind: 'synced'; readonly steps: readonly number[] }
  | { readonly kind: 'mark'; readonly mark: string };

interface Content {
  readonly bytes: Buffer;
  /** When it was modified, where that was set. */
  readonly seconds: number | undefined;
}

/** What is on a disk: files by their paths, null for directories. */
export type Image = ReadonlyMap<string, Content | null>;

/** What may be on the disk after a power cut. */
export interface PowerCut {
  /** The marks that were set before it. */
  readonly marks: readonly string[];
  /** The calls before it: which, as a text. */
  readonly calls: readonly string[];
  readonly images: readonly Image[];
}

const EMPTY: Content = { bytes: Buffer.alloc(0), seconds: undefined };

/** Up to how many images of one power cut are all looked at; of more, a sample. */
const MAX_IMAGES = 16;
const SAMPLE_SIZE = 4;

export class RecordedDisk {
  /** Lets a call fail: the error's code, undefined to let it be. */
  fault: (call: string, path: string) => string | undefined = () => undefined;
  /** The calls that changed or synced something, as texts. */
  readonly calls: string[] = [];

  private top = '';
  private isRecording = false;
  private inodes = 0;
  private steps: Step[] = [];
  private readonly callsBefore: number[] = [];
  private directories = new Map<Inode, Map<string, Inode>>();
  private contents = new Map<Inode, Content>();
  private start: { directories: Map<Inode, Map<string, Inode>>; contents: Map<Inode, Content> } | undefined;
  private readonly opened = new Map<number, { inode: Inode; path: string }>();

  /** What takes the place of `node:fs` and `node:fs/promises`, to be given to `jest.unstable_mockModule`. */
  readonly fs = { ...fs, ...this.callbackCalls() };
  readonly promises = { ...promises, ...this.promiseCalls() };

  /** Starts to record what happens in a directory; what is in it now is on the disk. */
  record(top: string): void {
    this.top = top;
    this.steps = [];
    this.calls.length = 0;
    this.callsBefore.length = 0;
    this.inodes = 0;
    this.directories = new Map();
    this.contents = new Map();
    this.opened.clear();
    this.scan(top, this.inodes++);
    this.start = { directories: copied(this.directories), contents: new Map(this.contents) };
    this.isRecording = true;
  }

  /** Records that something has come to pass, such as that a call was acknowledged. */
  mark(mark: string): void {
    this.add({ kind: 'mark', mark });
  }

  stop(): void {
    this.isRecording = false;
  }

  /** What a power cut may leave: one before the first call, and one after each. */
  *powerCuts(): Generator<PowerCut> {
    const predecessors = this.steps.map((step, index) => predecessorsOf(this.steps, step, index));
    for (let length = 0; length <= this.steps.length; length += 1) {
      const steps = this.steps.slice(0, length);
      const marks = steps.flatMap((step) => (step.kind === 'mark' ? [step.mark] : []));
      yield {
        marks,
        calls: this.calls.slice(0, this.callsBefore[length - 1] ?? 0),
        images: this.imagesOf(steps, predecessors),
      };
    }
  }

  private imagesOf(steps: readonly Step[], predecessors: readonly (readonly number[])[]): Image[] {
    const durable = durableOf(steps);
    const pending = steps.flatMap((step, index) => (step.kind === 'entries' && !durable.has(index) ? [index] : []));
    const files = unsyncedFiles(steps, durable);
    const radices = [...pending.map(() => 2), ...files.map(() => 3)];
    return choicesOf(radices).map((choice) => {
      const chosen = new Set(durable);
      for (const [position, index] of pending.entries()) if (choice[position] === 1) chosen.add(index);
      const extents = new Map(files.map((inode, position) => [inode, choice[pending.length + position] ?? 0]));
      return this.imageOf(steps, withPredecessors(chosen, predecessors), extents);
    });
  }

  private imageOf(steps: readonly Step[], chosen: ReadonlySet<number>, extents: ReadonlyMap<Inode, number>): Image {
    const directories = copied(this.start?.directories ?? new Map<Inode, Map<string, Inode>>());
    const contents = new Map(this.start?.contents);
    for (const [index, step] of steps.entries()) {
      if (step.kind === 'entries' && chosen.has(index)) applyChanges(directories, step.changes);
      if (step.kind !== 'content') continue;
      const extent = extents.get(step.inode) ?? 0;
      const { content: bytes, seconds } = step;
      if (chosen.has(index) || extent === 2) contents.set(step.inode, { bytes, seconds });
      else if (extent === 1)
        contents.set(step.inode, { bytes: bytes.subarray(0, bytes.length >> 1), seconds: undefined });
    }
    const image = new Map<string, Content | null>();
    const visit = (path: string, inode: Inode) => {
      for (const [name, child] of directories.get(inode) ?? []) {
        const isDirectory = this.directories.has(child);
        image.set(`${path}${name}`, isDirectory ? null : (contents.get(child) ?? EMPTY));
        if (isDirectory) visit(`${path}${name}/`, child);
      }
    };
    visit('', 0);
    return image;
  }

  private callbackCalls() {
    type Done = (error: NodeJS.ErrnoException | null) => void;
    type DoneWith = (error: NodeJS.ErrnoException | null, value?: number) => void;
    return {
      open: (path: string, flags: string | number, done: DoneWith) => {
        if (this.failing('open', path, done)) return;
        fs.open(path, flags, (error, file) => {
          if (error === null) this.hasOpened(file, path, flags === 'wx');
          done(error, file);
        });
      },
      write: (file: number, content: Uint8Array, done: DoneWith) => {
        if (this.failing('write', this.pathOf(file), done)) return;
        fs.write(file, content, (error, count) => {
          if (error === null) this.hasWritten(file, content.subarray(0, count));
          done(error, count);
        });
      },
      writeSync: (file: number, content: Uint8Array) => {
        this.throwFault('write', this.pathOf(file));
        const count = fs.writeSync(file, content);
        this.hasWritten(file, content.subarray(0, count));
        return count;
      },
      futimes: (file: number, accessed: number, modified: number, done: Done) => {
        fs.futimes(file, accessed, modified, (error) => {
          const inode = this.opened.get(file)?.inode;
          const bytes = inode === undefined ? undefined : this.contents.get(inode)?.bytes;
          if (error === null && inode !== undefined && bytes) this.setContent(inode, { bytes, seconds: modified });
          done(error);
        });
      },
      fsync: (file: number, done: Done) => {
        if (this.failing('fsync', this.pathOf(file), done)) return;
        // What changes while it runs may have come too late.
        const steps = this.stepsOf(this.opened.get(file)?.inode);
        // That nothing waits for a real disk here, saves most of the time.
        setImmediate(() => {
          this.add({ kind: 'synced', steps }, `fsync ${this.shown(this.pathOf(file))}`);
          done(null);
        });
      },
      unlink: (path: string, done: Done) => {
        fs.unlink(path, (error) => {
          if (error === null) this.hasRemoved(path);
          done(error);
        });
      },
      unlinkSync: (path: string) => {
        this.throwFault('unlink', path);
        fs.unlinkSync(path);
        this.hasRemoved(path);
      },
      linkSync: (from: string, to: string) => {
        this.throwFault('link', to);
        fs.linkSync(from, to);
        this.hasMoved('link', undefined, from, to);
      },
    };
  }

  private promiseCalls() {
    return {
      mkdir: async (path: string, options?: fs.MakeDirectoryOptions) => {
        this.throwFault('mkdir', path);
        const isThere = fs.existsSync(path);
        const first = await promises.mkdir(path, options);
        if (!isThere) this.hasMade(path, true);
        return first;
      },
      rename: async (from: string, to: string) => {
        this.throwFault('rename', from);
        this.throwFault('rename to', to);
        await promises.rename(from, to);
        this.hasMoved('rename', from, from, to);
      },
      link: async (from: string, to: string) => {
        this.throwFault('link', to);
        await promises.link(from, to);
        this.hasMoved('link', undefined, from, to);
      },
      unlink: async (path: string) => {
        this.throwFault('unlink', path);
        await promises.unlink(path);
        this.hasRemoved(path);
      },
      rmdir: async (path: string) => {
        this.throwFault('rmdir', path);
        await promises.rmdir(path);
        this.hasRemoved(path);
      },
      rm: async (path: string, options?: fs.RmOptions) => {
        await promises.rm(path, options);
        this.hasRemoved(path);
      },
    };
  }

  private scan(path: string, inode: Inode): void {
    const entries = new Map<string, Inode>();
    this.directories.set(inode, entries);
    for (const entry of fs.readdirSync(path, { withFileTypes: true })) {
      const child = this.inodes++;
      const childPath = `${path}/${entry.name}`;
      entries.set(entry.name, child);
      if (entry.isDirectory()) this.scan(childPath, child);
      else this.contents.set(child, { bytes: fs.readFileSync(childPath), seconds: undefined });
    }
  }

  /** What has a path now, undefined where it isn't in the directory that is recorded. */
  private find(path: string): Inode | undefined {
    if (!this.isRecording) return undefined;
    if (path === this.top) return 0;
    const parent = path.startsWith(`${this.top}/`) ? this.find(dirname(path)) : undefined;
    return parent === undefined ? undefined : this.directories.get(parent)?.get(basename(path));
  }

  private hasOpened(file: number, path: string, isNew: boolean): void {
    if (isNew) this.hasMade(path, false);
    const inode = this.find(path);
    if (inode === undefined) this.opened.delete(file);
    else this.opened.set(file, { inode, path });
  }

  private hasMade(path: string, isDirectory: boolean): void {
    const directory = this.find(dirname(path));
    if (!this.isRecording || directory === undefined) return;
    const inode = this.inodes++;
    if (isDirectory) this.directories.set(inode, new Map());
    else this.contents.set(inode, EMPTY);
    this.change([{ directory, name: basename(path), inode }], inode, `make ${this.shown(path)}`);
  }

  private hasMoved(call: string, removed: string | undefined, from: string, to: string): void {
    const [inode, directory] = [this.find(from), this.find(dirname(to))];
    if (inode === undefined || directory === undefined) return;
    const changes: EntryChange[] = [{ directory, name: basename(to), inode }];
    const source = removed === undefined ? undefined : this.find(dirname(removed));
    if (source !== undefined) changes.unshift({ directory: source, name: basename(from), inode: undefined });
    this.change(changes, inode, `${call} ${this.shown(from)} ${this.shown(to)}`);
  }

  private hasRemoved(path: string): void {
    const [inode, directory] = [this.find(path), this.find(dirname(path))];
    if (inode === undefined || directory === undefined) return;
    this.change([{ directory, name: basename(path), inode: undefined }], inode, `remove ${this.shown(path)}`);
  }

  private hasWritten(file: number, written: Uint8Array): void {
    const inode = this.opened.get(file)?.inode;
    if (inode === undefined) return;
    const bytes = Buffer.concat([this.contents.get(inode)?.bytes ?? Buffer.alloc(0), written]);
    this.setContent(inode, { bytes, seconds: undefined });
  }

  private setContent(inode: Inode, content: Content): void {
    this.contents.set(inode, content);
    this.add({ kind: 'content', inode, content: content.bytes, seconds: content.seconds }, 'write');
  }

  private change(changes: readonly EntryChange[], inode: Inode, call: string): void {
    applyChanges(this.directories, changes);
    this.add({ kind: 'entries', changes, inode }, call);
  }

  private add(step: Step, call?: string): void {
    if (!this.isRecording) return;
    if (call !== undefined) this.calls.push(call);
    this.steps.push(step);
    this.callsBefore.push(this.calls.length);
  }

  /** The steps that an fsync of a file or directory brings to the disk. */
  private stepsOf(inode: Inode | undefined): number[] {
    return this.steps.flatMap((step, index) => {
      const isContent = step.kind === 'content' && step.inode === inode;
      const isEntry = step.kind === 'entries' && step.changes.some(({ directory }) => directory === inode);
      return isContent || isEntry ? [index] : [];
    });
  }

  private pathOf(file: number): string {
    return this.opened.get(file)?.path ?? '';
  }

  /** A path without what differs each time. */
  private shown(path: string): string {
    return path.slice(this.top.length + 1).replace(/[0-9a-f]{8}-\d+/, 'staged');
  }

  private failing(call: string, path: string, done: (error: NodeJS.ErrnoException) => void): boolean {
    const error = this.faultOf(call, path);
    if (error !== undefined) setImmediate(done, error);
    return error !== undefined;
  }

  private throwFault(call: string, path: string): void {
    const error = this.faultOf(call, path);
    if (error !== undefined) throw error;
  }

  private faultOf(call: string, path: string): NodeJS.ErrnoException | undefined {
    const code = this.fault(call, path);
    return code === undefined ? undefined : Object.assign(new Error(`${code}: ${call} failed`), { code });
  }
}

/** Makes real what a power cut left. */
export function writeImage(image: Image, top: string): void {
  fs.mkdirSync(top);
  for (const [path, content] of image) {
    if (content === null) {
      fs.mkdirSync(`${top}/${path}`);
      continue;
    }
    fs.writeFileSync(`${top}/${path}`, content.bytes);
    if (content.seconds !== undefined) fs.utimesSync(`${top}/${path}`, content.seconds, content.seconds);
  }
}

function copied(directories: ReadonlyMap<Inode, ReadonlyMap<string, Inode>>): Map<Inode, Map<string, Inode>> {
  return new Map([...directories].map(([inode, entries]) => [inode, new Map(entries)]));
}

function applyChanges(directories: Map<Inode, Map<string, Inode>>, changes: readonly EntryChange[]): void {
  for (const { directory, name, inode } of changes) {
    const entries = directories.get(directory) ?? new Map<string, Inode>();
    directories.set(directory, entries);
    if (inode === undefined) entries.delete(name);
    else entries.set(name, inode);
  }
}

function durableOf(steps: readonly Step[]): Set<number> {
  return new Set(steps.flatMap((step) => (step.kind === 'synced' ? step.steps : [])));
}

/** Where something was moved that was moved before: then that came to pass, too. */
function withPredecessors(chosen: ReadonlySet<number>, predecessors: readonly (readonly number[])[]): Set<number> {
  return new Set([...chosen].flatMap((index) => [index, ...(predecessors[index] ?? [])]));
}

/** What a move rests on: where the same thing was made and moved before. */
function predecessorsOf(steps: readonly Step[], step: Step, index: number): number[] {
  if (step.kind !== 'entries' || step.changes.length < 2) return [];
  return steps
    .slice(0, index)
    .flatMap((before, position) => (before.kind === 'entries' && before.inode === step.inode ? [position] : []));
}

function unsyncedFiles(steps: readonly Step[], durable: ReadonlySet<number>): Inode[] {
  const inodes = steps.flatMap((step, index) => (step.kind === 'content' && !durable.has(index) ? [step.inode] : []));
  return [...new Set(inodes)];
}

/** All ways to choose one of several for each place, or a sample where they are many: with each place alone, and all but it. */
function choicesOf(radices: readonly number[]): number[][] {
  const total = radices.reduce((product, radix) => product * radix, 1);
  if (total <= MAX_IMAGES) {
    return radices.reduce<number[][]>(
      (choices, radix) => choices.flatMap((choice) => Array.from({ length: radix }, (_, value) => [...choice, value])),
      [[]],
    );
  }
  const none = radices.map(() => 0);
  const all = radices.map((radix) => radix - 1);
  const alone = radices.flatMap((radix, place) =>
    Array.from({ length: radix - 1 }, (_, value) => none.with(place, value + 1)),
  );
  const without = radices.map((_, place) => all.with(place, 0));
  const sample = fc.sample(fc.tuple(...radices.map((radix) => fc.nat(radix - 1))), { numRuns: SAMPLE_SIZE, seed: 1 });
  return [none, all, ...alone, ...without, ...sample];
}
