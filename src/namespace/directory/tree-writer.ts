import { mkdir, rename, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { DirectorySync } from './directory-sync.js';
import type { FsErrors } from './fs-errors.js';
import { saysAbsent } from './files.js';
import type { Reader } from './reader.js';
import type { Staging } from './staging.js';

/**
 * How names come into a tree, change and leave it. Each change is seen at once or not at all, and on the disk when its promise
 * resolves; what can't be brought there is undone.
 *
 * Metadata is a file beside what it is about, so the two can't come or go at once. A name leaves before its metadata, and comes
 * after metadata that has no name is removed: whenever the server dies, nobody sees the metadata of another.
 */
export class TreeWriter {
  constructor(
    private readonly reader: Reader,
    private readonly staging: Staging,
    private readonly directorySync: DirectorySync,
    private readonly fsErrors: FsErrors,
  ) {}

  /**
   * Makes a file.
   * @param metaPath where metadata that has lost its name may be; undefined if there is none
   * @throws the system's error, EEXIST if there is anything at the path
   */
  async addFile(path: string, content: Uint8Array, metaPath: string | undefined): Promise<void> {
    const staged = await this.staging.write(content);
    try {
      await this.withoutOrphanedMetadata(metaPath, () => this.staging.publish(staged, path));
    } catch (error) {
      this.staging.deleteLater(staged);
      throw error;
    }
    await this.makeDurable(path, () => this.removeFile(path));
  }

  /** Makes a directory. @throws the system's error, EEXIST if there is anything at the path */
  async addDirectory(path: string, metaPath: string): Promise<void> {
    await this.withoutOrphanedMetadata(metaPath, () => mkdir(path));
    await this.makeDurable(path, () => rmdir(path));
  }

  /** Removes a file, or a directory with all its contents, and its metadata. @throws the system's error */
  async remove(path: string, metaPath: string): Promise<void> {
    const taken = [{ from: path, now: await this.staging.detach(path) }];
    const undo = () => Promise.all(taken.map(({ from, now }) => rename(now, from)));
    try {
      if (await this.reader.inspect(metaPath)) {
        // Else a power cut may leave the name without its metadata.
        await this.sync(path);
        taken.push({ from: metaPath, now: await this.staging.detach(metaPath) });
      }
    } catch (error) {
      await undo();
      throw error;
    }
    await this.makeDurable(path, undo);
    for (const { now } of taken) this.staging.deleteLater(now);
  }

  /**
   * Gives a file another content, or makes it.
   * @param before its content until now, undefined if there was no such file
   * @throws the system's error
   */
  async writeFile(path: string, content: Uint8Array, before: Uint8Array | undefined): Promise<void> {
    await this.replaceFile(path, content);
    await this.makeDurable(path, () => (before === undefined ? this.removeFile(path) : this.replaceFile(path, before)));
  }

  private async replaceFile(path: string, content: Uint8Array): Promise<void> {
    const staged = await this.staging.write(content);
    try {
      await rename(staged, path);
    } catch (error) {
      this.staging.deleteLater(staged);
      throw error;
    }
  }

  private async removeFile(path: string): Promise<void> {
    this.staging.deleteLater(await this.staging.detach(path));
  }

  /** Runs an action that makes a name, without the metadata that Pyro 3, or who removed a file by hand, may have left there. */
  private async withoutOrphanedMetadata(metaPath: string | undefined, action: () => Promise<void>): Promise<void> {
    if (metaPath === undefined || !(await this.reader.inspect(metaPath))) return action();
    const orphan = await this.staging.detach(metaPath);
    try {
      // Else a power cut may leave the name with the metadata of another.
      await this.sync(metaPath);
      await action();
    } catch (error) {
      // It may be no orphan any more.
      await rename(orphan, metaPath);
      throw error;
    }
    this.staging.deleteLater(orphan);
  }

  /** Waits until what happened to a path is on the disk, and undoes it if it can't be brought there. */
  private async makeDurable(path: string, undo: () => Promise<unknown>): Promise<void> {
    try {
      await this.sync(path);
    } catch (error) {
      await undo().catch((reason: unknown) => {
        this.fsErrors.report('a change could not be undone:', reason, 'Look at the database directory.');
      });
      throw error;
    }
  }

  /** Waits until what happened to a path is on the disk. */
  private async sync(path: string): Promise<void> {
    await this.directorySync.sync(dirname(path)).catch((error: unknown) => {
      // The directory has gone meanwhile, with all that was in it: that was another change, after this one.
      if (!saysAbsent(error)) throw error;
    });
  }
}
