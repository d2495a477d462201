import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeEpochs, encodeEpochs } from '../../../src/log/epoch-file.ts'
import { agreement, type EpochEntry, EpochHistory } from '../../../src/log/epoch-history.ts'

/** A log, record by record: who appended it, under which epoch. */
interface Model {
  start: number
  records: { epoch: number; id: number }[]
}

function historyOf({ start, records }: Model): EpochHistory {
  const history = new EpochHistory()
  records.forEach(({ epoch }, i) => history.appended(epoch, start + i))
  return history
}

function endOf({ start, records }: Model): number {
  return start + records.length
}

/** The epochs of a log that begins at 0. */
function entries(...epochs: number[]): EpochEntry[] {
  return [...historyOf({ start: 0, records: epochs.map((epoch) => ({ epoch, id: 0 })) }).entries]
}

function agree(follower: number[], leader: number[]): number {
  return agreement(entries(...follower), follower.length, entries(...leader), leader.length)
}

/** The naive way: record by record, from where both have any. */
function naive(
  mine: Model,
  theirs: Model,
  isSame: (a: Model['records'][0], b: Model['records'][0]) => boolean,
): number {
  const end = Math.min(endOf(mine), endOf(theirs))
  for (let offset = Math.max(mine.start, theirs.start); offset < end; offset++) {
    if (!isSame(mine.records[offset - mine.start]!, theirs.records[offset - theirs.start]!)) return offset
  }
  return end
}

const ascending = fc
  .tuple(fc.nat(6), fc.array(fc.integer({ min: 0, max: 1 }), { maxLength: 14 }), fc.integer({ min: 1, max: 4 }))
  .map(([start, steps, first]): Model => {
    let epoch = first
    return { start, records: steps.map((step) => ({ epoch: (epoch += step), id: 0 })) }
  })

describe('the agreement of two logs (R2)', () => {
  it('case A: the follower is behind, in the same epoch', () => expect(agree([1, 1], [1, 1, 1, 1])).toBe(2))
  it('case B: the follower is behind, the leader has more of a later epoch', () =>
    expect(agree([1, 1], [1, 1, 2, 2])).toBe(2))
  it('case C: the follower has more of the same epoch', () => expect(agree([1, 1, 1, 1], [1, 1])).toBe(2))
  it('case D: the follower has more, of an epoch that the leader never saw', () =>
    expect(agree([1, 1, 2, 2], [1, 1])).toBe(2))
  it('case E: both went on in epochs of their own', () => expect(agree([1, 1, 2, 2], [1, 1, 3, 3])).toBe(2))
  it('case F: the follower went on in a later epoch where the leader has more of the earlier', () =>
    expect(agree([1, 2, 2], [1, 1])).toBe(1))
  it('case G: they have no epoch in common', () => expect(agree([2, 2], [1, 1, 3])).toBe(0))

  it('keeps what a follower has that did not learn of its commitment before it restarted (KIP-101)', () => {
    expect(agree([1, 1], [1, 1])).toBe(2)
  })

  it('finds what diverged over two fast elections, of which the leader saw none (KIP-279)', () => {
    // Epochs 1 and 2 wrote on one broker, 1 and 3 on the other: an end offset of epoch 2 tells the leader nothing.
    expect(agree([1, 1, 2], [1, 1, 1, 3])).toBe(2)
    expect(agree([1, 2, 4], [1, 3, 3, 5])).toBe(1)
  })

  it('is the end of the one, where it ends before the other begins', () => {
    expect(agreement(entries(1, 1), 2, [{ epoch: 1, startOffset: 5 }], 9)).toBe(2)
    expect(agreement([{ epoch: 1, startOffset: 5 }], 9, entries(1, 1), 2)).toBe(2)
    expect(agreement([], 0, entries(1, 1), 2)).toBe(0)
    expect(agreement([], 7, [], 7)).toBe(7)
  })

  it('is what a comparison record by record finds, whatever the two are', () => {
    fc.assert(
      fc.property(ascending, ascending, (mine, theirs) => {
        const found = agreement(historyOf(mine).entries, endOf(mine), historyOf(theirs).entries, endOf(theirs))
        expect(found).toBe(naive(mine, theirs, (a, b) => a.epoch === b.epoch))
      }),
      { numRuns: 2000 },
    )
  })

  it('is the longest common beginning of records, however leaders came and went', () => {
    const step = fc.record({
      do: fc.constantFrom('elect', 'append', 'append', 'copy', 'copy', 'trim'),
      who: fc.nat(2),
      count: fc.integer({ min: 1, max: 3 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const logs: Model[] = [0, 1, 2].map(() => ({ start: 0, records: [] }))
        let leader = 0
        let epoch = 1
        let ids = 0
        for (const { do: what, who, count } of steps) {
          const [log, lead] = [logs[who]!, logs[leader]!]
          if (what === 'elect') {
            leader = who
            epoch += 1
          } else if (what === 'append') {
            for (let i = 0; i < count; i++) lead.records.push({ epoch, id: ids++ })
          } else if (what === 'trim') {
            const gone = Math.min(count, log.records.length)
            log.records.splice(0, gone)
            log.start += gone
          } else if (who !== leader) {
            const at = agreement(historyOf(log).entries, endOf(log), historyOf(lead).entries, endOf(lead))
            expect(at).toBe(naive(log, lead, (a, b) => a.id === b.id))
            if (lead.start > endOf(log) || at < log.start) Object.assign(log, { start: lead.start, records: [] })
            else log.records.length = at - log.start
            log.records.push(...lead.records.slice(endOf(log) - lead.start).slice(0, count))
          }
        }
      }),
      { numRuns: 1000 },
    )
  })
})

describe('the history of epochs', () => {
  it('names the epoch of every record, and nothing else, through appends, cuts and retention (R-EPOCH)', () => {
    const step = fc.record({ do: fc.constantFrom('append', 'append', 'epoch', 'cut', 'drop'), at: fc.nat(20) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const model: Model = { start: 0, records: [] }
        const history = new EpochHistory()
        let epoch = 1
        for (const { do: what, at } of steps) {
          const offset = model.start + Math.min(at, model.records.length)
          if (what === 'epoch') epoch += 1
          else if (what === 'append') {
            history.appended(epoch, endOf(model))
            model.records.push({ epoch, id: 0 })
          } else if (what === 'cut') {
            history.truncated(offset)
            model.records.length = offset - model.start
          } else if (offset < endOf(model)) {
            history.droppedBelow(offset)
            model.records.splice(0, offset - model.start)
            model.start = offset
          }
          for (let i = 0; i < model.records.length; i++) {
            expect(history.epochAt(model.start + i)).toBe(model.records[i]!.epoch)
          }
          expect(history.entries).toEqual(historyOf(model).entries)
        }
      }),
    )
  })

  it('refuses an epoch that goes back', () => {
    const history = new EpochHistory(entries(1, 3))
    expect(() => history.appended(2, 5)).toThrow('epoch 2')
  })
})

describe('the file of epochs', () => {
  const file = { seen: 7, coveredTo: 1_000_000_000_000, entries: entries(1, 1, 4) }

  it('gives back what was put in', () => expect(decodeEpochs(encodeEpochs(file))).toEqual(file))

  it('is nothing where any byte is wrong, or missing', () => {
    const bytes = encodeEpochs(file)
    for (let i = 0; i < bytes.length; i++) {
      const damaged = Buffer.from(bytes)
      damaged[i]! ^= 1
      expect(decodeEpochs(damaged)).toBeNull()
      expect(decodeEpochs(bytes.subarray(0, i))).toBeNull()
    }
  })
})
