import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Disk } from '../../../src/base/disk.ts'
import type { LogOptions } from '../../../src/log/log.ts'
import { verifyLog } from '../../../src/log/verify.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { type Message, Story, TOMBSTONE_MS, WINDOW_MS } from '../../support/compaction-story.ts'
import { settle } from '../../support/settle.ts'
import { TAG } from '../../support/storage.ts'

const message: fc.Arbitrary<Message> = fc.record({
  key: fc.option(
    fc.integer({ min: 0, max: 12 }).map((n) => `k${n}`),
    { freq: 8 },
  ),
  value: fc.oneof(
    fc.constant(''),
    fc.integer({ min: 1, max: 400 }).map((n) => 'v'.repeat(n)),
  ),
  idempotent: fc.boolean(),
})

type Step =
  | { do: 'publish'; messages: Message[] }
  | { do: 'wait'; ms: number }
  | { do: 'compact'; keysMax: number; operations: number | null; crash: 'process' | 'power' }
  | { do: 'crash'; kind: 'process' | 'power' }

const kind = fc.constantFrom('process' as const, 'power' as const)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      messages: fc.array(message, { minLength: 1, maxLength: 8 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 800 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('compact' as const),
      keysMax: fc.integer({ min: 1, max: 20 }),
      operations: fc.option(fc.integer({ min: 1, max: 120 })),
      crash: kind,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), kind }) },
)

/** About nine of them fill a segment. */
const value = (n: number): string => `${n} ${'v'.repeat(300)}`

describe('a compacted log', () => {
  it('keeps the last value of each key and raises none from its tombstone, over any crashes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.array(step, { minLength: 5, maxLength: 40 }), async (seed, steps) => {
        const story = new Story(seed)
        await story.create()
        for (const one of steps) {
          if (one.do === 'publish') await story.publish(one.messages)
          else if (one.do === 'wait') story.now += one.ms
          else if (one.do === 'crash') await story.crash(one.kind)
          else if (one.do === 'compact') {
            const report = await story.compact({
              keysMax: one.keysMax,
              ...(one.operations === null ? {} : { operations: one.operations }),
            })
            if (report === null) await story.crash(one.crash)
          }
          await story.check()
        }
        await story.drive(story.log.close())
        const { findings } = (await story.drive(verifyLog(story.disk.mount(), 'log', TAG)))!
        expect(findings).toEqual([])
        expect(story.disk.files()).not.toContain('log/compacting')
      }),
      { numRuns: 40 },
    )
  }, 120_000)

  it('survives a crash after any operation of a round, whatever the disk then has', async () => {
    const dead = { tombstoneMs: 0, windowMs: 0, framesMs: 0 }
    // Tombstones lie segments behind what they hide, so that the order in which segments change counts.
    const messages = ['a', 'b', 'c', 'd'].flatMap((key) =>
      [key, key, key].map((one) => ({ key: one, value: 'v'.repeat(900) })),
    )
    const graves = ['a', 'b', 'c', 'd'].map((key) => ({ key, value: '' }))
    let isOver = false
    for (let operations = 1; !isOver; operations += 1) {
      for (const survival of ['none', 'all', 'scatter'] as const) {
        const story = await storyOf([...messages, ...graves, { key: 'e' }, { key: null }], operations)
        expect(story.log.segments().length).toBeGreaterThan(3)
        story.now += TOMBSTONE_MS + 1
        isOver = (await story.compact({ policy: dead, operations })) !== null
        story.disk.crash('power', survival)
        await story.open()
        await story.check()
        await story.compact({ policy: dead })
        expect([...(await story.check()).keys()]).toEqual([16, 17])
      }
    }
  }, 60_000)

  it('is found whole after a crash anywhere in a round, also with a checkpoint from before its segment was sealed', async () => {
    const messages = Array.from({ length: 8 }, () => ({ key: 'a', value: 'v'.repeat(300), idempotent: false }))
    let isOver = false
    for (let operations = 1; !isOver; operations += 1) {
      const story = new Story(operations)
      await story.create()
      await story.publish(messages)
      await story.drive(story.log.checkpoint())
      await story.roll()
      story.now += WINDOW_MS
      isOver = (await story.compact({ operations })) !== null
      story.disk.crash('power', 'all')
      await story.open()
      const { findings } = (await story.drive(verifyLog(story.disk.mount(), 'log', TAG)))!
      expect(findings).toEqual([])
    }
  }, 60_000)

  async function storyOf(messages: readonly Partial<Message>[], seed = 1): Promise<Story> {
    const story = new Story(seed)
    await story.create()
    for (const patch of messages) await story.publish([{ key: null, value: value(0), idempotent: false, ...patch }])
    await story.roll()
    return story
  }

  it('has nothing left that a later record hides, and says what it removed', async () => {
    const story = await storyOf(Array.from({ length: 100 }, (_, i) => ({ key: `k${i % 7}`, value: value(i) })))
    const before = story.log.bytes
    const report = await story.compact()
    expect(report).toMatchObject({ removedRecords: 93, keptYoung: false, state: { through: 100 } })
    expect(before - story.log.bytes).toBe(report!.removedBytes)
    expect([...(await story.check()).keys()]).toEqual([93, 94, 95, 96, 97, 98, 99])
    // Ninety batches of a record each are a few empty ones now.
    expect(story.log.bytes).toBeLessThan(before / 5)
  })

  it('leaves what is still to be committed, which might be cut off, and hides nothing behind it', async () => {
    const story = new Story(2)
    await story.create()
    for (let i = 0; i < 40; i++) await story.publish([{ key: 'k', value: value(i), idempotent: false }])
    await story.roll()
    const { baseOffset: committed } = story.log.segments()[2]!
    story.log.committed = () => committed
    story.now += WINDOW_MS
    await story.compact()
    const offsets = [...(await story.present()).keys()]
    expect(offsets[0]).toBe(committed - 1)
    expect(offsets).toEqual(Array.from({ length: 41 - committed }, (_, i) => committed - 1 + i))
    expect(story.log.compaction.state.through).toBe(committed)
    await story.drive(story.log.truncate(committed))
    await story.crash('power')
    expect([...(await story.present()).keys()]).toEqual([committed - 1])
  })

  it('keeps a tombstone for its time, then removes it', async () => {
    const story = await storyOf([{ key: 'a' }, { key: 'b' }, { key: 'a', value: '' }])
    await story.compact()
    expect([...(await story.check()).keys()]).toEqual([1, 2])
    expect(story.log.compaction.isDue({ tombstoneMs: TOMBSTONE_MS, windowMs: 0, framesMs: 0 }, story.now, 10_000)).toBe(
      false,
    )
    story.now += TOMBSTONE_MS + 1
    expect(story.log.compaction.isDue({ tombstoneMs: TOMBSTONE_MS, windowMs: 0, framesMs: 0 }, story.now, 10_000)).toBe(
      true,
    )
    await story.compact()
    expect([...(await story.check()).keys()]).toEqual([1])
    expect(story.log.compaction.state).toEqual({ through: 3, oldestTombstone: 0 })
  })

  it('keeps what an idempotency key within the window hangs on, and the tombstone that hides it', async () => {
    const story = await storyOf([
      { key: 'a', idempotent: true },
      { key: 'a', value: '' },
    ])
    const policy = { tombstoneMs: 0, windowMs: WINDOW_MS, framesMs: 0 }
    story.now += 1
    expect(await story.compact({ policy })).toMatchObject({ keptYoung: true, state: { through: 0 } })
    expect((await story.present()).size).toBe(2)
    story.now += WINDOW_MS
    await story.compact({ policy })
    expect((await story.present()).size).toBe(0)
    expect(story.log.nextOffset).toBe(2)
  })

  it('takes what was brought back for one subscription for no value of its key', async () => {
    const story = await storyOf([
      { key: 'a' },
      { key: 'b', addressee: 'billing' },
      { key: 'b' },
      { key: 'a', addressee: 'billing' },
      { key: 'a', value: '', addressee: 'billing' },
      { key: null },
    ])
    story.now += TOMBSTONE_MS + 1
    await story.compact()
    expect([...(await story.present()).keys()]).toEqual([0, 2, 3, 4, 5])
  })

  it('reads on for whoever had begun before, and gives the new bytes to whoever comes after', async () => {
    const story = await storyOf(Array.from({ length: 60 }, (_, i) => ({ key: `k${i % 3}`, value: value(i) })))
    const sealed = (await story.drive(story.log.openSealed(0)))!
    const old = (await story.drive(sealed.read(0, sealed.bytes)))!
    const seen: number[] = []
    const reading = (async () => {
      for await (const batch of story.log.all()) seen.push(...batch.offsets())
    })()
    for (let i = 0; i < 3; i++) {
      await settle()
      story.disk.step()
    }
    await story.compact()
    await story.drive(reading)
    expect(seen.slice(-3)).toEqual([57, 58, 59])
    expect((await story.drive(sealed.read(0, sealed.bytes)))!.equals(old)).toBe(true)
    const again = (await story.drive(story.log.openSealed(0)))!
    expect(await story.drive(again.contentHash())).not.toBe(await story.drive(sealed.contentHash()))
    for (let offset = 0; offset < 60; offset++) {
      const [batch] = (await story.drive(story.log.read(offset)))!
      expect(batch!.baseOffset).toBeLessThanOrEqual(offset)
      expect(batch!.nextOffset).toBeGreaterThan(offset)
      expect(batch!.has(offset)).toBe(offset >= 57)
    }
    expect(await story.drive(story.log.offsetAt(0))).toBe(0)
  })

  it('is not done again before half of it is new', async () => {
    const story = await storyOf(Array.from({ length: 40 }, (_, i) => ({ key: `k${i}`, value: value(i) })))
    const due = (): boolean => story.log.compaction.isDue({ tombstoneMs: 0, windowMs: 0, framesMs: 0 }, story.now, 0)
    expect(due()).toBe(true)
    await story.compact()
    expect(due()).toBe(false)
    for (let i = 0; i < 20; i++) await story.publish([{ key: 'k0', value: value(i), idempotent: false }])
    await story.roll()
    expect(due()).toBe(false)
    await story.crash('power')
    expect(due()).toBe(false)
    for (let i = 0; i < 30; i++) await story.publish([{ key: 'k1', value: value(i), idempotent: false }])
    await story.roll()
    expect(due()).toBe(true)
    await story.compact()
    await story.check()
  })

  it('goes on where there was no room, when there is', async () => {
    const story = await storyOf(Array.from({ length: 40 }, (_, i) => ({ key: 'k', value: value(i) })))
    story.disk.capacityBytes = story.disk.usedBytes
    await expect(story.compact()).rejects.toThrow('ENOSPC')
    story.disk.capacityBytes = 2 ** 40
    await story.check()
    await story.compact()
    expect((await story.check()).size).toBe(1)
  })

  it('reads what is there when there is no room to make a new segment’s name durable', async () => {
    let failures = 0
    for (let after = 0; after >= 0; after = failures === after + 1 ? after + 1 : -1) {
      // More segments than may be open: what is read next is opened by its name.
      const story = await storyOf(Array.from({ length: 80 }, (_, i) => ({ key: `k${i % 2}`, value: value(i) })))
      story.disk.fail({ on: 'syncDirectory', after, code: 'ENOSPC' })
      const report = await story.compact().catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'ENOSPC' })
        failures += 1
        return null
      })
      await story.check()
      story.disk.heal()
      if (report === null) await story.compact()
      expect([...(await story.check()).keys()]).toEqual([78, 79])
      await story.crash('power')
      expect([...(await story.check()).keys()]).toEqual([78, 79])
      await story.drive(story.log.close())
      expect((await story.drive(verifyLog(story.disk.mount(), 'log', TAG)))!.findings).toEqual([])
    }
    expect(failures).toBeGreaterThan(5)
  }, 60_000)

  it('does not bring back a segment that retention removes meanwhile', async () => {
    const story = await storyOf(Array.from({ length: 60 }, (_, i) => ({ key: `k${i % 3}`, value: value(i) })))
    for (let operations = 1; operations < 60; operations += 7) {
      const compacting = story.log.compaction.run(
        {
          policy: { tombstoneMs: 0, windowMs: 0, framesMs: 0 },
          now: story.now,
          random: new SimRandom(operations),
          keysMax: 100,
          pause: () => Promise.resolve(),
          mayGoOn: () => true,
        },
        0,
      )
      const second = story.log.segments()[1]
      for (let i = 0; i < operations; i++) {
        await settle()
        story.disk.step()
      }
      if (second) await story.drive(story.log.removeBelow(second.baseOffset))
      await story.drive(compacting)
      expect(story.disk.files().filter((path) => path.endsWith('.log'))).toHaveLength(story.log.segments().length)
      const present = await story.present()
      expect(Math.min(...present.keys())).toBeGreaterThanOrEqual(story.log.startOffset)
    }
  })

  it('keeps as few files open as its readers do', async () => {
    const story = new CountingStory(1)
    await story.create()
    for (let i = 0; i < 12; i++) {
      await story.publish([{ key: `k${i}`, value: value(i), idempotent: false }])
      await story.roll()
      story.now += 1
    }
    await story.compact()
    // Four sealed ones at most (storage.ts), and the one that is written to.
    expect(story.openFiles).toBeLessThanOrEqual(5)
    for (let at = 10_000; at < story.now; at++) await story.drive(story.log.offsetAt(at))
    expect(story.openFiles).toBeLessThanOrEqual(5)
    await story.check()
  })
})

/** Counts the files that its log holds open. */
class CountingStory extends Story {
  openFiles = 0

  override options(): LogOptions {
    const options = super.options()
    const { disk } = options
    const open: Disk['open'] = async (path, mode) => {
      const file = await disk.open(path, mode)
      this.openFiles += 1
      const close = async (): Promise<void> => {
        this.openFiles -= 1
        await file.close()
      }
      return { ...file, close }
    }
    return { ...options, disk: { ...disk, open } }
  }
}
