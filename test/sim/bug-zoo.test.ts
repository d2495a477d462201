import { describe, expect, it } from 'vitest'
import type { Disk, DiskFile } from '../../src/base/disk.ts'
import { DECISION_BUGS } from './decision-bugs.ts'
import { Scenario, type ScenarioOptions } from './scenario.ts'
import { Violation } from './witness.ts'

/** Seeds in which a bug must have shown. */
const SEEDS_MAX = 40

type Bend = (file: DiskFile, path: string) => Partial<DiskFile>

/** A disk whose files do some things differently. */
function bent(bend: Bend, directories: Partial<Disk> = {}): (disk: Disk) => Disk {
  return (disk) => ({
    ...disk,
    ...directories,
    open: async (path, mode) => {
      const file = await disk.open(path, mode)
      return { ...file, ...bend(file, path) }
    },
  })
}

const isData = (path: string): boolean => path.includes('/data/') && path.endsWith('.log')
const isCursors = (path: string): boolean => path.includes('/cursors/') && path.endsWith('.log')
const nothing = async (): Promise<void> => undefined
/** Bends what is written, however it is. */
const writing = (
  file: DiskFile,
  bend: (write: DiskFile['write'], position: number, bytes: Uint8Array) => Promise<void>,
): Partial<DiskFile> => ({
  write: (position, bytes) => bend(file.write, position, bytes),
  writeDurably: (position, bytes) => bend(file.writeDurably, position, bytes),
})

/** Deliberate bugs between the broker and its disk: each one breaks a promise that the scenario watches. */
const DISKS: Record<string, (disk: Disk) => Disk> = {
  'a sync of messages that lies': bent((file, path) =>
    isData(path) ? { sync: nothing, writeDurably: file.write } : {},
  ),
  'a sync of acknowledgements that lies': bent((_, path) => (isCursors(path) ? { sync: nothing } : {})),
  'a sync of directories that lies': bent(() => ({}), { syncDirectory: nothing }),
  'a write that drops its last sector': bent((file, path) =>
    writing(file, (write, position, bytes) =>
      write(position, isData(path) && bytes.length > 512 ? bytes.subarray(0, bytes.length - 512) : bytes),
    ),
  ),
  'a write that is never made': bent((file, path) =>
    writing(file, (write, position, bytes) => (isData(path) && position > 1000 ? nothing() : write(position, bytes))),
  ),
  'a write that lands a sector further on': bent((file, path) => ({
    write: (position, bytes) => file.write(isCursors(path) && position > 64 ? position + 512 : position, bytes),
  })),
  'a truncation that does nothing': bent(() => ({ truncate: nothing })),
  'a read that gives zeros for what was written': bent((file, path) => ({
    read: async (position, length) => {
      const bytes = await file.read(position, length)
      return isData(path) && position > 64 ? Buffer.alloc(bytes.length) : bytes
    },
  })),
  'a read that ends early': bent((file, path) => ({
    read: (position, length) => file.read(position, isData(path) ? Math.min(length, 700) : length),
  })),
  'a failed sync that is called a success': bent((file) => ({
    sync: () => file.sync().catch(() => undefined),
    writeDurably: (position, bytes) => file.writeDurably(position, bytes).catch(() => undefined),
  })),
}

interface Catch {
  seed: number
  what: string
}

async function hunt(options: Omit<ScenarioOptions, 'seed'>): Promise<Catch | null> {
  for (let seed = 1; seed <= SEEDS_MAX; seed++) {
    try {
      await new Scenario({ seed, ...options }).run()
    } catch (error) {
      return { seed, what: error instanceof Violation ? error.message : String(error) }
    }
  }
  return null
}

function expectCaught(bug: string, caught: Catch | null): void {
  console.log(`${bug}: ${caught ? `seed ${caught.seed}: ${caught.what.slice(0, 110)}` : 'not caught'}`)
  expect(caught, `not caught within ${SEEDS_MAX} seeds`).not.toBeNull()
}

describe('the bug zoo', () => {
  for (const [bug, wrapDisk] of Object.entries(DISKS)) {
    it(`catches ${bug}`, async () => expectCaught(bug, await hunt({ wrapDisk })))
  }

  for (const [bug, { theme, breaks }] of Object.entries(DECISION_BUGS)) {
    it(`catches ${bug}`, async () => {
      const repairs = breaks()
      try {
        expectCaught(bug, await hunt({ theme }))
      } finally {
        for (const repair of repairs) repair()
      }
    })
  }
})
