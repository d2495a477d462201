/**
 * Looks into a stopped broker's data directory from outside: finds segments by the form of their names and damages
 * them as a power cut or a bad disk would.
 */
import { closeSync, openSync, readdirSync, readFileSync, statSync, truncateSync, writeSync } from 'node:fs'
import { join } from 'node:path'

export interface SegmentFile {
  path: string
  baseOffset: number
  /** Bytes up to the last one that is not zero: segments may be allocated ahead. */
  usedBytes: number
}

/** All segments below a directory, by folder and base offset. */
export function segmentFiles(dataDir: string): SegmentFile[] {
  return readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
    .filter((name) => /(^|\/)\d{20}\.log$/.test(name))
    .sort()
    .map((name) => {
      const path = join(dataDir, name)
      return { path, baseOffset: Number(name.slice(-24, -4)), usedBytes: usedBytes(path) }
    })
}

/** The segments of the partition that holds this text. */
export function segmentsHolding(dataDir: string, text: string): SegmentFile[] {
  const all = segmentFiles(dataDir)
  const found = all.find((segment) => readFileSync(segment.path).includes(text))
  if (!found) throw new Error(`no segment under ${dataDir} holds ${JSON.stringify(text)}`)
  const folder = found.path.slice(0, found.path.lastIndexOf('/') + 1)
  return all.filter((segment) => segment.path.startsWith(folder) && !segment.path.slice(folder.length).includes('/'))
}

export function overwrite(path: string, position: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+')
  writeSync(file, bytes, 0, bytes.length, position)
  closeSync(file)
}

export function flipBit(path: string, position: number): void {
  overwrite(path, position, Uint8Array.of(readFileSync(path)[position]! ^ 1))
}

/** Cuts the file and, where it was longer, gives it its length back as zeros. */
export function tear(path: string, position: number): void {
  const { size } = statSync(path)
  truncateSync(path, position)
  truncateSync(path, size)
}

function usedBytes(path: string): number {
  const bytes = readFileSync(path)
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return end
}
