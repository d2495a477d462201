import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { complaints, type Fate, ScheduleRig } from '../../support/schedule-rig.ts'
import { settle } from '../../support/settle.ts'

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('schedule' as const), delayMs: fc.nat(6000), keyed: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('cancel' as const), which: fc.nat(999) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('repeat' as const), which: fc.nat(999) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constant('disk' as const), steps: fc.integer({ min: 1, max: 12 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.nat(2500) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('full' as const), steps: fc.integer({ min: 1, max: 12 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('crash' as const),
      kind: fc.constantFrom('process' as const, 'power' as const),
    }),
  },
)

async function run(
  rig: ScheduleRig,
  steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[],
): Promise<void> {
  let serial = 0
  const booted = rig.boot()
  await rig.quiesce()
  await booted
  for (const one of steps) {
    const fate: Fate | undefined = 'which' in one ? rig.fates[one.which % Math.max(1, rig.fates.length)] : undefined
    switch (one.do) {
      case 'schedule':
        serial += 1
        rig.schedule(`m${serial}`, one.delayMs, one.keyed ? `k${serial}` : null)
        break
      case 'cancel':
        if (fate) rig.cancel(fate)
        break
      case 'repeat':
        if (fate) rig.repeat(fate)
        break
      case 'disk':
        for (let i = 0; i < one.steps; i++) await rig.stepDisk()
        break
      case 'time':
        rig.clock.advance(one.ms)
        break
      case 'full': {
        const { capacityBytes } = rig.disk
        rig.disk.capacityBytes = rig.disk.usedBytes + 40
        for (let i = 0; i < one.steps; i++) await rig.stepDisk()
        rig.disk.capacityBytes = capacityBytes
        break
      }
      case 'crash':
        rig.crash(one.kind)
        rig.boot().catch(() => undefined)
    }
    await settle()
  }
}

/** A crash after so many operations of the disk, for every number up to where all has come to its end. */
async function crashEverywhere(
  story: (rig: ScheduleRig) => Promise<void>,
  judge: (rig: ScheduleRig, where: string) => Promise<void>,
): Promise<number> {
  let longest = 0
  for (const kind of ['process', 'power'] as const) {
    for (let steps = 0, isOver = false; !isOver; steps++) {
      const rig = new ScheduleRig(steps, 0)
      const booted = rig.boot()
      await rig.quiesce()
      await booted
      await story(rig)
      for (let i = 0; i < steps && !isOver; i++) {
        let idle = 0
        while (idle < 5 && !(await rig.stepDisk())) idle += 1
        isOver = idle === 5
      }
      longest = Math.max(longest, steps)
      rig.crash(kind)
      await judge(rig, `${kind} after ${steps}`)
    }
  }
  return longest
}

describe('a scheduler that crashes at any step', () => {
  it('while it makes its log and schedules the first messages', async () => {
    const story = async (rig: ScheduleRig): Promise<void> => {
      for (let i = 0; i < 3; i++) rig.schedule(`m${i}`, 1000, null)
    }
    const steps = await crashEverywhere(story, async (rig, where) => {
      expect(complaints(rig.fates, await rig.finish()), where).toEqual([])
    })
    expect(steps).toBeGreaterThan(15)
  }, 60_000)

  it('while it fires', async () => {
    let times = 0
    const story = async (rig: ScheduleRig): Promise<void> => {
      for (let i = 0; i < 6; i++) rig.schedule(`m${i}`, 1000 + i, null)
      await rig.quiesce()
      rig.clock.advance(2000)
    }
    await crashEverywhere(story, async (rig, where) => {
      const stored = await rig.finish()
      expect(complaints(rig.fates, stored), where).toEqual([])
      expect(stored).toHaveLength(6)
      times += 1
    })
    expect(times).toBeGreaterThan(10)
  }, 60_000)

  it('while it cancels what is due at the same moment', async () => {
    const seen = new Set<string>()
    const story = async (rig: ScheduleRig): Promise<void> => {
      for (let i = 0; i < 4; i++) rig.schedule(`m${i}`, 1000, null)
      await rig.quiesce()
      if (rig.clock.monotonic() % 2 === 0) rig.clock.advance(1500)
      for (const fate of rig.fates) rig.cancel(fate)
      rig.clock.advance(1500)
    }
    await crashEverywhere(story, async (rig, where) => {
      for (const { cancelling } of rig.fates) seen.add(cancelling)
      expect(complaints(rig.fates, await rig.finish()), where).toEqual([])
    })
    expect(seen).toContain('cancelled')
    expect(seen).toContain('unknown')
  }, 60_000)

  it('while it compacts its log', async () => {
    let before = 0
    const story = async (rig: ScheduleRig): Promise<void> => {
      for (let i = 0; i < 24; i++) {
        rig.schedule(`m${i}`, i % 6 === 0 ? 3_000_000 : 1000 + i, i % 4 === 0 ? `k${i}` : null)
        if (i % 3 === 0) await rig.quiesce()
      }
      await rig.quiesce()
      for (const fate of rig.fates.slice(13)) rig.cancel(fate)
      before = scheduleSegments(rig)
    }
    let fewest = Number.POSITIVE_INFINITY
    await crashEverywhere(story, async (rig, where) => {
      fewest = Math.min(fewest, scheduleSegments(rig))
      const stored = await rig.finish(4_000_000)
      expect(complaints(rig.fates, stored), where).toEqual([])
    })
    expect(fewest).toBeLessThan(before)
  }, 60_000)
})

function scheduleSegments(rig: ScheduleRig): number {
  return rig.disk.files().filter((path) => path.startsWith('partitions/topic-schedule/') && path.endsWith('.log'))
    .length
}

describe('a scheduler', () => {
  it('answers a repetition with the last message of its key, when a longer window has revived an earlier one', async () => {
    for (let fillers = 4; fillers < 16; fillers++) {
      const rig = new ScheduleRig(fillers, 1000)
      const reboot = async (): Promise<void> => {
        rig.crash('process')
        const booted = rig.boot()
        await rig.quiesce()
        await booted
      }
      const scheduled = async (value: string, delayMs: number, key: string | null): Promise<Fate> => {
        rig.schedule(value, delayMs, key)
        await rig.quiesce()
        return rig.fates.at(-1)!
      }
      const booted = rig.boot()
      await rig.quiesce()
      await booted
      await scheduled('first', 100, 'k')
      for (let i = 0; i < 4; i++) {
        rig.clock.advance(1000)
        await rig.quiesce()
      }
      for (let i = 0; i < fillers; i++) await scheduled(`filler ${i}`, 3_000_000, null)
      const second = await scheduled('second', 3_000_000, 'k')
      rig.windowMs = 3_600_000
      await reboot()
      for (const fate of rig.fates.slice(1, -1)) {
        rig.cancel(fate)
        await rig.quiesce()
      }
      await reboot()
      expect((await scheduled('repeated', 3_000_000, 'k')).scheduling, `${fillers}`).toBe(second.scheduling)
    }
  }, 60_000)

  it('brings every message into the log once or cancels it, whatever happens when', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.constantFrom(0, 3_600_000),
        fc.array(step, { minLength: 5, maxLength: 60 }),
        async (seed, windowMs, steps) => {
          const rig = new ScheduleRig(seed, windowMs)
          await run(rig, steps)
          expect(complaints(rig.fates, await rig.finish())).toEqual([])
        },
      ),
      { numRuns: 200 },
    )
  }, 120_000)
})
