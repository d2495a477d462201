/**
 * Stories of the simulated disk, told under many seeds: what may happen must be among the endings,
 * what must not happen must not.
 */
import type { Disk, DiskFile } from '../../src/base/disk.ts'
import { SimDisk, type SimDiskOptions } from '../../src/testing/sim-disk.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { settle } from './settle.ts'

/** Enough for every outcome that is tested for to come up. */
export const SEEDS = Array.from({ length: 150 }, (_, seed) => seed)

export function machineOf(seed: number, options: Partial<SimDiskOptions> = {}): SimDisk {
  return new SimDisk({ random: new SimRandom(seed), ...options })
}

/** Runs one story on many seeds; what they ended with, each ending once. */
export async function endings(story: (machine: SimDisk, disk: Disk) => Promise<string>): Promise<Set<string>> {
  const seen = new Set<string>()
  for (const seed of SEEDS) {
    const machine = machineOf(seed)
    seen.add(await story(machine, machine.mount()))
  }
  return seen
}

/** A file whose name is durable, and its content as given. */
export async function durableFile(disk: Disk, path: string, content: Uint8Array): Promise<DiskFile> {
  const file = await disk.open(path, 'create')
  await file.write(0, content)
  await file.sync()
  await disk.syncDirectory('')
  return file
}

/** A file's content as text. */
export function show(machine: SimDisk, path: string): string {
  return machine.content(path)?.toString() ?? 'missing'
}

/** Performs what is pending until this promise is answered. */
export async function driven<T>(machine: SimDisk, asked: Promise<T>): Promise<T> {
  while (machine.step()) await settle()
  return asked
}
