/**
 * The Disk port: every file operation that the broker makes, as few as can be. `node-disk.ts` is the
 * real one; the simulated one forgets what was not synced. Paths use `/` and are relative to the
 * disk's root (the data directory).
 *
 * Errors are Error objects with a `code` as Node spells it (ENOENT, EEXIST, ENOSPC, EIO, …).
 * Durability: bytes survive a power cut once a `sync` that began after their `write` ended has
 * succeeded; a created, renamed or removed name survives once `syncDirectory` of its parent has.
 */

import { assert } from './invariant.ts'

export interface DiskFile {
  /** Bytes in the file, as the operating system sees them now. */
  size(): Promise<number>
  /** Up to `length` bytes from `position`; fewer only where the file ends. */
  read(position: number, length: number): Promise<Buffer>
  /**
   * Writes the bytes at `position`, all of them or an error. After an error the range holds anything.
   * Several writes to different ranges may be under way at once.
   */
  write(position: number, bytes: Uint8Array): Promise<void>
  /**
   * Writes like `write`, and these bytes are on stable storage when it resolves, whatever became of those written
   * before. One journey to the disk instead of two. After any error but a full disk the same as after a failed `sync`.
   */
  writeDurably(position: number, bytes: Uint8Array): Promise<void>
  /** fdatasync. After a failure nothing is known and it must never be tried again on this file. */
  sync(): Promise<void>
  truncate(size: number): Promise<void>
  close(): Promise<void>
}

/** `create` refuses an existing file (EEXIST), `edit` and `read` a missing one (ENOENT). */
export type OpenMode = 'create' | 'edit' | 'read'

export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>
  /** Names in a directory, sorted; ENOENT when it is missing. */
  list(path: string): Promise<string[]>
  /** Makes one directory; its parent must exist. EEXIST when it is there. */
  makeDirectory(path: string): Promise<void>
  /** Replaces an existing file at `to`. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file. */
  remove(path: string): Promise<void>
  /** Removes a directory and all that is in it. */
  removeTree(path: string): Promise<void>
  syncDirectory(path: string): Promise<void>
  /** Bytes that can still be written. */
  freeBytes(): Promise<number>
}

/**
 * The names that a path consists of, none for the root itself. Paths are made of ids and numbers by
 * our own code: one that could leave the root is our bug, never an answer to a user.
 */
export function pathNames(path: string): string[] {
  if (path === '') return []
  const names = path.split('/')
  for (const name of names) {
    const isPlain = name !== '' && name !== '.' && name !== '..' && !name.includes('\\') && !name.includes('\0')
    assert(isPlain, `path ${JSON.stringify(path)} stays below the data directory`)
  }
  return names
}

export function errorCode(error: unknown): string | undefined {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : undefined
}

/** The disk is full or over quota: nothing is broken, room may come back. */
export function isFull(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/** No handle was to be had: nothing was changed, and some may come free. */
export function isOutOfHandles(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'EMFILE' || code === 'ENFILE'
}

export function isMissing(error: unknown): boolean {
  return errorCode(error) === 'ENOENT'
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash === -1 ? '' : path.slice(0, slash)
}

/**
 * Replaces a small file as a whole: after a crash at any point the old or the new content is there.
 * (write aside, sync, rename, sync the directory)
 */
export async function replaceFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const aside = `${path}.new`
  await disk.remove(aside).catch((error: unknown) => {
    if (!isMissing(error)) throw error
  })
  const file = await disk.open(aside, 'create')
  try {
    await file.write(0, bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(aside, path)
  await disk.syncDirectory(parentOf(path))
}

/** A small file's content, or null when it is missing. */
export async function readWhole(disk: Disk, path: string): Promise<Buffer | null> {
  let file: DiskFile
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
  try {
    return await file.read(0, await file.size())
  } finally {
    await file.close()
  }
}
