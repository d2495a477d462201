/** Who lets operations happen: any order under a driver, the same order for the same seed. */
import { describe, expect, it } from 'vitest'
import type { Disk } from '../../../src/base/disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { driven, machineOf, SEEDS } from '../../support/disk-story.ts'
import { settle } from '../../support/settle.ts'

describe('sync', () => {
  it('covers what was written before it was asked for, and perhaps what came meanwhile', async () => {
    const seen = new Set<string>()
    for (const seed of SEEDS) {
      const machine = machineOf(seed, { schedule: 'manual' })
      const file = await driven(machine, machine.mount().open('f', 'create'))
      await driven(machine, machine.mount().syncDirectory(''))
      await driven(machine, file.write(0, Buffer.from('abc')))
      const sync = file.sync()
      const syncId = machine.pending.at(-1)!.id
      const write = file.write(3, Buffer.from('def'))
      machine.perform(machine.pending.at(-1)!.id)!.deliver()
      machine.perform(syncId)!.deliver()
      await Promise.all([sync, write])
      seen.add(machine.durableContent('f')!.toString())
    }
    expect([...seen].sort()).toEqual(['abc', 'abcdef'])
  })

  it('of a directory covers the names that were there before it was asked for, perhaps later ones', async () => {
    const seen = new Set<string>()
    for (const seed of SEEDS) {
      const machine = machineOf(seed, { schedule: 'manual' })
      const disk = machine.mount()
      await driven(machine, disk.open('a', 'create'))
      void disk.syncDirectory('')
      const syncId = machine.pending.at(-1)!.id
      void disk.open('b', 'create')
      machine.perform(machine.pending.at(-1)!.id)
      machine.perform(syncId)
      machine.crash('power', 'none')
      seen.add(machine.files().join(' '))
    }
    expect([...seen].sort()).toEqual(['a', 'a b'])
  })
})

describe('driver', () => {
  it('interleaves what is under way in any order', async () => {
    const seen = new Set<string>()
    for (const seed of SEEDS) {
      const machine = machineOf(seed, { schedule: 'manual' })
      const disk = machine.mount()
      const order: string[] = []
      for (const name of ['a', 'b', 'c']) void disk.makeDirectory(name).then(() => order.push(name))
      await settle()
      expect(order).toEqual([])
      while (machine.step()) await settle()
      seen.add(order.join(''))
    }
    expect([...seen].sort()).toEqual(['abc', 'acb', 'bac', 'bca', 'cab', 'cba'])
  })

  it('performs the removal of a tree name by name', async () => {
    const machine = machineOf(1, { schedule: 'manual' })
    const disk = machine.mount()
    await driven(machine, disk.makeDirectory('d'))
    for (const name of ['a', 'b', 'c']) await driven(machine, disk.open(`d/${name}`, 'create'))
    const removal = disk.removeTree('d')
    const left: number[] = []
    while (machine.step()) left.push(machine.files().length)
    await removal
    expect(left).toEqual([2, 1, 0, 0])
  })

  it('gets the same disk and journal for the same seed, and others for others', async () => {
    const first = await trace(7)
    expect(await trace(7)).toEqual(first)
    expect(first.length).toBeGreaterThan(50)
    const others = new Set(await Promise.all([8, 9, 10].map(async (seed) => (await trace(seed)).join('\n'))))
    expect(others.size).toBe(3)
    expect(others).not.toContain(first.join('\n'))
  })
})

/** The journal of a busy machine with a little of everything. */
async function trace(seed: number): Promise<string[]> {
  const lines: string[] = []
  const machine = machineOf(seed, { schedule: 'manual', capacityBytes: 40_000, journal: (line) => lines.push(line) })
  const random = new SimRandom(seed).split('story')
  for (let life = 0; life < 5; life++) {
    const disk = machine.mount()
    if (random.chance(0.5)) machine.fail({ on: 'sync', after: random.integer(4), code: 'EIO' })
    for (let i = 0; i < 3; i++) void work(disk, `${life}-${i}`, random).catch(() => undefined)
    for (let steps = 10 + random.integer(40); steps > 0 && machine.step(); steps--) await settle()
    machine.crash(random.pick(['power', 'process']))
    machine.heal()
  }
  return lines
}

async function work(disk: Disk, name: string, random: SimRandom): Promise<void> {
  const file = await disk.open(name, 'create')
  for (let i = 0; i < 6; i++) {
    await file.write(i * 1_500, Buffer.alloc(random.integer(3_000), i + 1))
    if (random.chance(0.5)) await file.sync()
  }
  await disk.rename(name, `${name}.done`)
  await disk.syncDirectory('')
}
