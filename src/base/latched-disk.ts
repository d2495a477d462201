/**
 * A Disk that trips the latch: the first failed sync of a file or directory, and any error that leaves
 * in doubt what a file holds, ends all writing in the process, wherever in the broker it happened.
 * From then on every change is refused here with the first cause, so that nothing is ever synced
 * again on a file whose sync failed (S-LATCH). A full disk is no such error while writing; while syncing it is.
 */
import { type Disk, type DiskFile, errorCode, isFull, isOutOfHandles } from './disk.ts'
import type { Latch } from './latch.ts'

/** What a name that exists already, or does not, means: nothing was changed. */
const HARMLESS = new Set(['ENOENT', 'EEXIST', 'EISDIR', 'ENOTDIR', 'ENOTEMPTY', 'EACCES', 'EPERM'])

export function latchedDisk(disk: Disk, latch: Latch): Disk {
  const guard = async <T>(change: () => Promise<T>, isHarmless: (error: unknown) => boolean): Promise<T> => {
    if (latch.cause) throw latch.cause
    try {
      return await change()
    } catch (error) {
      if (!isHarmless(error)) latch.trip(error)
      throw error
    }
  }
  const change = <T>(run: () => Promise<T>): Promise<T> => guard(run, leavesNoDoubt)
  const sync = (run: () => Promise<void>): Promise<void> => guard(run, () => false)
  const writeDurably = (run: () => Promise<void>): Promise<void> => guard(run, isFull)
  return {
    open: async (path, mode) => {
      const opened = mode === 'create' ? await change(() => disk.open(path, mode)) : await disk.open(path, mode)
      return guardFile(opened, change, sync, writeDurably)
    },
    list: (path) => disk.list(path),
    makeDirectory: (path) => change(() => disk.makeDirectory(path)),
    rename: (from, to) => change(() => disk.rename(from, to)),
    remove: (path) => change(() => disk.remove(path)),
    removeTree: (path) => change(() => disk.removeTree(path)),
    syncDirectory: (path) => sync(() => disk.syncDirectory(path)),
    freeBytes: () => disk.freeBytes(),
  }
}

function leavesNoDoubt(error: unknown): boolean {
  return isFull(error) || isOutOfHandles(error) || HARMLESS.has(errorCode(error) ?? '')
}

function guardFile(
  file: DiskFile,
  change: (run: () => Promise<void>) => Promise<void>,
  sync: (run: () => Promise<void>) => Promise<void>,
  writeDurably: (run: () => Promise<void>) => Promise<void>,
): DiskFile {
  return {
    size: () => file.size(),
    read: (position, length) => file.read(position, length),
    write: (position, bytes) => change(() => file.write(position, bytes)),
    writeDurably: (position, bytes) => writeDurably(() => file.writeDurably(position, bytes)),
    sync: () => sync(() => file.sync()),
    truncate: (size) => change(() => file.truncate(size)),
    close: () => file.close(),
  }
}
