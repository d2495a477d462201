import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Change } from '../../../src/cluster/coordinator.ts'
import type { WatchMessage } from '../../../src/cluster/etcd-codec.ts'
import { WatchPosition } from '../../../src/cluster/etcd-watch-position.ts'

const deletion = (revision: number, key = 'k'): Change => ({ deleted: key, revision })
const message = (changes: Change[], revision: number, more = false): WatchMessage => ({
  kind: 'changes',
  changes,
  revision,
  more,
})

describe('the position of a watch', () => {
  it('tells changes, and goes on behind them', () => {
    const position = new WatchPosition(4)
    expect(position.take({ kind: 'created' })).toEqual({ kind: 'nothing' })
    expect(position.take(message([deletion(5)], 5))).toEqual({ kind: 'tell', changes: [deletion(5)] })
    expect(position.revision).toBe(5)
  })

  it('goes on behind a notice of progress', () => {
    const position = new WatchPosition(4)
    expect(position.take(message([], 90))).toEqual({ kind: 'nothing' })
    expect(position.revision).toBe(90)
  })

  it('holds the parts of a revision until it is whole, and forgets them when the stream breaks off', () => {
    const position = new WatchPosition(4)
    expect(position.take(message([deletion(5, 'a')], 5, true))).toEqual({ kind: 'nothing' })
    expect(position.revision).toBe(4)
    position.restart()
    position.take(message([deletion(5, 'a')], 5, true))
    expect(position.take(message([deletion(5, 'b')], 5))).toEqual({
      kind: 'tell',
      changes: [deletion(5, 'a'), deletion(5, 'b')],
    })
  })

  it('is lost by compaction, and begins again when the stream is ended', () => {
    expect(new WatchPosition(4).take({ kind: 'lost' })).toEqual({ kind: 'lost' })
    expect(new WatchPosition(4).take({ kind: 'ended', reason: 'no leader' })).toEqual({
      kind: 'again',
      reason: 'no leader',
    })
  })

  it('tells every change once and in order, and no revision by halves, wherever streams break off', () => {
    /** Sizes of revisions from 1 on; how many go into one message; after how many messages each stream breaks off. */
    const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 20 })
    const cuts = fc.array(fc.nat({ max: 6 }), { maxLength: 10 })
    fc.assert(
      fc.property(
        sizes,
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        cuts,
        (revisions, perMessage, isParted, breaks) => {
          const all = revisions.map((size, i) => Array.from({ length: size }, (_, n) => deletion(i + 1, `k${n}`)))
          const position = new WatchPosition(0)
          const told: Change[][] = []
          for (const limit of [...breaks, Number.POSITIVE_INFINITY]) {
            position.restart()
            // A member may also say again what is known already.
            const from = Math.max(0, position.revision - 1)
            for (const next of streamOf(all, from, perMessage, isParted).slice(0, limit)) {
              const step = position.take(next)
              if (step.kind === 'tell') told.push(step.changes)
            }
          }
          expect(told.flat()).toEqual(all.flat())
          for (const changes of told) {
            const { revision } = changes.at(-1) as { revision: number }
            expect(changes.filter((change) => (change as { revision: number }).revision === revision)).toHaveLength(
              revisions[revision - 1]!,
            )
          }
        },
      ),
    )
  })
})

/** The messages of a stream: whole revisions, several in one, or each change in a part of its own. */
function streamOf(all: readonly Change[][], from: number, perMessage: number, isParted: boolean): WatchMessage[] {
  const messages: WatchMessage[] = [{ kind: 'created' }]
  for (let at = from; at < all.length; at += perMessage) {
    const changes = all.slice(at, at + perMessage).flat()
    const revision = Math.min(all.length, at + perMessage)
    if (!isParted) messages.push(message(changes, revision))
    else {
      for (const [i, change] of changes.entries()) {
        messages.push(message([change], (change as { revision: number }).revision, i < changes.length - 1))
      }
    }
  }
  return messages
}
