/**
 * The decision about marks and in-sync replicas against a naive model: what everybody really has, what the store really
 * says, and transactions that are applied, lost or unknown for as long as chance will.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InSync, type InSyncReplica } from '../../../src/cluster/in-sync.ts'

const LOGS = 2
const LAG_MS = 3000
const FOLLOWERS = ['b', 'c', 'd'] as const

interface Follower {
  registered: number | null
  /** Under which it follows, null: it does not. */
  follows: number | null
  /** What it has told since. */
  told: (number | null)[]
  toldWritten: (number | null)[]
  written: number[]
  durable: number[]
}

interface Model {
  now: number
  minInSync: number
  local: { written: number; durable: number }[]
  epochStarts: number[]
  followers: Map<string, Follower>
  store: readonly InSyncReplica[]
  known: readonly InSyncReplica[]
  sent: readonly InSyncReplica[] | null
  registrations: number
  /** Marks as they were, of each log. */
  marks: { written: number; durable: number }[]
  counts: Record<string, number>
}

const ME: InSyncReplica = { node: 'a', brokerEpoch: 1 }

function begin(minInSync: number, ends: readonly number[]): { model: Model; inSync: InSync } {
  const followers = new Map(
    FOLLOWERS.map((node, at): [string, Follower] => [
      node,
      {
        registered: 10 + at,
        follows: null,
        told: ends.map(() => null),
        toldWritten: ends.map(() => null),
        written: ends.map((end) => Math.max(0, end - at)),
        durable: ends.map((end) => Math.max(0, end - at)),
      },
    ]),
  )
  const store = [ME, { node: 'b', brokerEpoch: 10 }]
  const model: Model = {
    now: 1000,
    minInSync,
    local: ends.map((end) => ({ written: end, durable: end })),
    epochStarts: [...ends],
    followers,
    store,
    known: store,
    sent: null,
    registrations: 100,
    marks: ends.map(() => ({ written: 0, durable: 0 })),
    counts: {},
  }
  const replicas = ['a', ...FOLLOWERS]
  const inSync = new InSync({ me: ME, minInSync, replicaLagMs: LAG_MS, replicas, inSync: store, now: model.now })
  for (const end of ends) inSync.addLog({ start: 0, written: end, durable: end })
  for (const [node, { registered }] of followers) inSync.registered(node, registered)
  return { model, inSync }
}

type Step = readonly [what: string, follower: number, log: number, amount: number]

function take(model: Model, inSync: InSync, [what, which, log, amount]: Step): void {
  const node = FOLLOWERS[which]!
  const follower = model.followers.get(node)!
  const local = model.local[log]!
  model.counts[what] = (model.counts[what] ?? 0) + 1
  switch (what) {
    case 'write':
      local.written += amount
      inSync.local(log, local.written, local.durable)
      break
    case 'sync':
      local.durable = local.written
      inSync.local(log, local.written, local.durable)
      break
    case 'copy':
      if (follower.follows === null) break
      follower.written[log] = Math.min(local.written, follower.written[log]! + amount)
      break
    case 'follower_syncs':
      follower.durable[log] = follower.written[log]!
      break
    case 'tell':
      tell(model, inSync, node, log)
      break
    case 'tell_all':
      for (let one = 0; one < LOGS; one++) tell(model, inSync, node, one)
      break
    case 'follow':
      if (follower.registered === null) break
      follower.follows = follower.registered
      follower.told.fill(null)
      follower.toldWritten.fill(null)
      inSync.followed(node, follower.follows, model.now)
      break
    case 'catch_up':
      follower.written = model.local.map(({ written }) => written)
      follower.durable = [...follower.written]
      take(model, inSync, ['tell_all', which, log, amount])
      break
    case 'gone':
      follower.follows = null
      follower.written = [...follower.durable]
      inSync.gone(node)
      break
    case 'registration_ends':
      follower.registered = null
      inSync.registered(node, null)
      break
    case 'registers':
      follower.registered = model.registrations++
      inSync.registered(node, follower.registered)
      break
    case 'time':
      model.now += amount * 100
      inSync.tick(model.now)
      break
    case 'apply':
      // The answer may be long in coming, or never.
      if (model.sent && guardsHold(model, model.sent)) model.store = model.sent
      break
    case 'settle': {
      if (!model.sent) break
      model.sent = null
      model.known = model.store
      inSync.settled(model.store)
    }
  }
}

function tell(model: Model, inSync: InSync, node: string, log: number): void {
  const follower = model.followers.get(node)!
  if (follower.follows === null) return
  follower.told[log] = follower.durable[log]!
  follower.toldWritten[log] = follower.written[log]!
  inSync.progress(node, log, follower.written[log]!, follower.durable[log]!, model.now)
}

function guardsHold(model: Model, proposed: readonly InSyncReplica[]): boolean {
  const isKnown = ({ node, brokerEpoch }: InSyncReplica): boolean =>
    model.store.some((one) => one.node === node && one.brokerEpoch === brokerEpoch)
  return proposed.every((one) => isKnown(one) || model.followers.get(one.node)?.registered === one.brokerEpoch)
}

function propose(model: Model, inSync: InSync): void {
  const marks = model.local.map((_, log) => ({ ...inSync.mark(log) }))
  const next = inSync.propose(model.now)
  if (!next) return
  hold(model.sent === null, 'one proposal at a time')
  hold(next.filter(({ node }) => node === 'a').length === 1, 'the leader is never out')
  for (const one of next) {
    if (model.known.some(({ node, brokerEpoch }) => node === one.node && brokerEpoch === one.brokerEpoch)) continue
    const follower = model.followers.get(one.node)!
    model.counts['expand'] = (model.counts['expand'] ?? 0) + 1
    hold(follower.follows === one.brokerEpoch, 'R-EXPAND: follows in this epoch')
    hold(follower.registered === one.brokerEpoch, 'R-EXPAND: under the registration that is valid')
    for (let log = 0; log < LOGS; log++) {
      const told = follower.told[log] ?? -1
      hold(told >= marks[log]!.durable, 'R-EXPAND: told that it has what is committed')
      hold(told >= model.epochStarts[log]!, 'R-EXPAND: told that it has what the epoch began with')
      hold((follower.toldWritten[log] ?? -1) >= marks[log]!.written, 'has what counts as written')
    }
  }
  if (next.length < model.known.length) model.counts['shrink'] = (model.counts['shrink'] ?? 0) + 1
  model.sent = next
}

function check(model: Model, inSync: InSync): void {
  for (let log = 0; log < LOGS; log++) {
    const mark = inSync.mark(log)
    const before = model.marks[log]!
    hold(mark.durable >= before.durable && mark.written >= before.written, 'never back')
    if (mark.durable > before.durable || mark.written > before.written) {
      hold(model.known.length >= model.minInSync, 'R-HW: only with enough in sync')
      hold(model.local[log]!.durable >= mark.durable, 'R-HW: the leader too')
      for (const { node } of [...model.known, ...(model.sent ?? [])]) {
        if (node === 'a') continue
        const { durable, written } = model.followers.get(node)!
        hold(mark.durable === before.durable || durable[log]! >= mark.durable, `R-HW: ${node} has it`)
        hold(mark.written === before.written || written[log]! >= mark.written, `R-HW: ${node} has it written`)
      }
    }
    for (const { node } of model.store) {
      // Whatever the store really says, also before anybody has heard of it.
      const has = node === 'a' ? mark.durable : model.followers.get(node)!.durable[log]!
      hold(has >= mark.durable, `R-CANDIDATE, R-SUPERSET: ${node}`)
    }
    model.marks[log] = { ...mark }
  }
}

/** Cheaper than `expect`, of which there would be millions. */
function hold(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(`not so: ${what}`)
}

const WHAT = (
  'write write sync copy copy copy follower_syncs follower_syncs tell tell_all catch_up ' +
  'follow follow gone registration_ends registers time time apply settle'
).split(' ')

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.tuple(
    fc.constantFrom(...WHAT),
    fc.nat({ max: FOLLOWERS.length - 1 }),
    fc.nat({ max: LOGS - 1 }),
    fc.integer({ min: 1, max: 20 }),
  ),
  { minLength: 10, maxLength: 300, size: 'max' },
)

describe('the decision who is in sync', () => {
  it('R-HW, R-SUPERSET, R-EXPAND, R-CANDIDATE: holds against what everybody really has', () => {
    const counts: Record<string, number> = {}
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat({ max: 9 }), { minLength: LOGS, maxLength: LOGS }),
        steps,
        (min, ends, list) => {
          const { model, inSync } = begin(min, ends)
          for (const step of list) {
            take(model, inSync, step)
            check(model, inSync)
            propose(model, inSync)
            check(model, inSync)
          }
          for (const [what, count] of Object.entries(model.counts)) counts[what] = (counts[what] ?? 0) + count
        },
      ),
      { numRuns: 600 },
    )
    for (const what of ['expand', 'shrink', 'settle']) expect(counts[what], what).toBeGreaterThan(50)
  })

  it('ends, when everybody is there, with all in sync and everything committed', () => {
    fc.assert(
      fc.property(steps, (list) => {
        const { model, inSync } = begin(2, [3, 5])
        for (const step of list) {
          take(model, inSync, step)
          propose(model, inSync)
        }
        for (const node of FOLLOWERS) {
          const at = FOLLOWERS.indexOf(node)
          take(model, inSync, ['registers', at, 0, 1])
          take(model, inSync, ['follow', at, 0, 1])
          const { written, durable } = model.followers.get(node)!
          model.local.forEach((local, log) => {
            local.durable = local.written
            inSync.local(log, local.written, local.durable)
            written[log] = local.written
            durable[log] = local.written
          })
          take(model, inSync, ['tell_all', at, 0, 1])
        }
        for (let round = 0; round < 6; round++) {
          take(model, inSync, ['time', 0, 0, 5])
          propose(model, inSync)
          take(model, inSync, ['apply', 0, 0, 1])
          take(model, inSync, ['settle', 0, 0, 1])
        }
        expect(inSync.inSync.map(({ node }) => node).sort()).toEqual(['a', 'b', 'c', 'd'])
        model.local.forEach(({ written }, log) => expect(inSync.mark(log)).toEqual({ written, durable: written }))
        expect(inSync.isOpen).toBe(true)
      }),
      { numRuns: 200 },
    )
  })
})
