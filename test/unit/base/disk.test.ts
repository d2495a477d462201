/** What the Disk port builds on itself: a small file that is replaced as a whole, under crashes. */
import { describe, expect, it } from 'vitest'
import { readWhole, replaceFile } from '../../../src/base/disk.ts'
import { driven, durableFile, machineOf, SEEDS, show } from '../../support/disk-story.ts'
import { settle } from '../../support/settle.ts'

describe('replaced file', () => {
  it.each(['process', 'power'] as const)('is the old or the new one after a %s crash at any effect', async (kind) => {
    const seen = new Set<string>()
    for (const seed of SEEDS) {
      for (let effects = 0; ; effects++) {
        const machine = machineOf(seed, { schedule: 'manual' })
        const disk = machine.mount()
        await driven(machine, durableFile(disk, 'config', Buffer.from('old')))
        let isDone = false
        void replaceFile(disk, 'config', Buffer.from('new')).then(() => (isDone = true))
        for (let i = 0; i < effects && machine.step(); i++) await settle()
        machine.crash(kind)
        const content = show(machine, 'config')
        seen.add(content)
        if (isDone) {
          expect(content).toBe('new')
          break
        }
      }
    }
    expect([...seen].sort()).toEqual(['new', 'old'])
  })

  it('can be replaced again after a crash in the middle', async () => {
    for (const seed of SEEDS) {
      const machine = machineOf(seed, { schedule: 'manual' })
      const disk = machine.mount()
      await driven(machine, durableFile(disk, 'config', Buffer.from('old')))
      void replaceFile(disk, 'config', Buffer.from('torn'))
      for (let i = 0; i < seed % 8 && machine.step(); i++) await settle()
      machine.crash('power')
      const again = machine.mount()
      await driven(machine, replaceFile(again, 'config', Buffer.from('new')))
      expect((await driven(machine, readWhole(again, 'config')))?.toString()).toBe('new')
      expect(machine.files()).toEqual(['config'])
    }
  })
})
