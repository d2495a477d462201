/**
 * Random histories of a ledger: steps as data, and the player that takes them with the real ledger and
 * the model side by side, comparing every answer and afterwards everything that can be seen.
 */
import fc from 'fast-check'
import { AckLedger } from '../../src/subscription/ack-ledger.ts'
import type { Doomed, LeaseHolder, LedgerPolicy, Standing } from '../../src/subscription/ledger.ts'
import { durableOf, LedgerModel, perMessage } from './ledger-model.ts'

export type Step =
  | { do: 'publish'; count: number }
  | { do: 'pass'; ms: number }
  | { do: 'deliver'; who: number; max: number; room: number; ms: number | null }
  | { do: 'handOver'; who: number; heir: number; from: number; to: number; ms: number }
  | { do: 'ack' | 'release' | 'reject'; who: number; from: number; to: number }
  | { do: 'ackUpTo'; who: number; to: number; waitingToo: boolean }
  | { do: 'nack'; who: number; from: number; to: number; delayMs: number | null }
  | { do: 'extend'; who: number; from: number; to: number; ms: number }
  | { do: 'detach'; who: number }
  | { do: 'unstage' }
  | { do: 'skip'; max: number }
  | { do: 'skipTo'; start: number }
  | { do: 'seek'; to: number }
  | { do: 'bury' | 'revive'; from: number; to: number }
  | { do: 'limit'; maxDeliveries: number | null }

const HOLDERS = 3
const OFFSETS = 40
const who = fc.nat(HOLDERS - 1)
const small = fc.nat(OFFSETS)
const range = fc.tuple(small, small).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) + 1 }))
const ms = fc.integer({ min: 1, max: 60 })

const frequent: fc.Arbitrary<Step>[] = [
  fc.record({ do: fc.constant('publish'), count: fc.integer({ min: 1, max: 10 }) }),
  fc.record({ do: fc.constant('pass'), ms }),
  fc
    .tuple(who, fc.integer({ min: 1, max: 12 }), fc.nat(20), fc.option(ms))
    .map(([w, max, room, m]) => ({ do: 'deliver', who: w, max, room, ms: m })),
  fc.tuple(who, who, range, ms).map(([w, heir, r, m]) => ({ do: 'handOver', who: w, heir, ...r, ms: m })),
  fc.tuple(who, range).map(([w, r]) => ({ do: 'ack', who: w, ...r })),
  fc.tuple(who, range, fc.option(fc.nat(50))).map(([w, r, delayMs]) => ({ do: 'nack', who: w, ...r, delayMs })),
]
const rare: fc.Arbitrary<Step>[] = [
  fc.tuple(who, range).map(([w, r]) => ({ do: 'release', who: w, ...r })),
  fc.record({ do: fc.constant('ackUpTo'), who, to: small, waitingToo: fc.boolean() }),
  fc.tuple(who, range, ms).map(([w, r, m]) => ({ do: 'extend', who: w, ...r, ms: m })),
  fc.record({ do: fc.constant('detach'), who }),
  fc.constant<Step>({ do: 'unstage' }),
  fc.record({ do: fc.constant('skip'), max: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ do: fc.constant('skipTo'), start: small }),
  fc.record({ do: fc.constant('seek'), to: small }),
  fc.tuple(who, range).map(([w, r]) => ({ do: 'reject', who: w, ...r })),
  range.map((r) => ({ do: 'bury', ...r })),
  range.map((r) => ({ do: 'revive', ...r })),
  fc.option(fc.integer({ min: 1, max: 4 })).map((maxDeliveries) => ({ do: 'limit', maxDeliveries })),
]

/** Steps as they come in practice: much delivering and settling, now and then something else. */
export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof({ weight: 5, arbitrary: fc.oneof(...frequent) }, { weight: 1, arbitrary: fc.oneof(...rare) }),
  { minLength: 1, maxLength: 60, size: 'max' },
)

export class Player {
  readonly ledger: AckLedger
  readonly model: LedgerModel
  readonly holders: LeaseHolder[] = Array.from({ length: HOLDERS }, () => ({ outstanding: 0 }))
  #limit = 0
  #now = 1000

  constructor(policy: LedgerPolicy) {
    this.ledger = new AckLedger(policy, { next: 0, runs: [] })
    this.model = new LedgerModel(policy, 0)
  }

  play(step: Step): void {
    const { ledger, model } = this
    const holder = 'who' in step ? this.holders[step.who]! : this.holders[0]!
    switch (step.do) {
      case 'publish':
        this.#limit += step.count
        break
      case 'pass':
        this.#now += step.ms
        break
      case 'deliver':
        this.#deliver(holder, step.max, step.room, step.ms)
        break
      case 'handOver': {
        const heir = this.holders[step.heir]!
        const wanted = this.#now + step.ms
        const all = model.handOver(holder, step.from, step.to, wanted, heir)
        const held = ledger.handOver(holder, step.from, step.to, wanted, heir)
        same('handed over', held === null ? step.to - step.from : offsetsOf(held), held === null ? all.length : all)
        break
      }
      case 'ack':
      case 'release':
      case 'reject':
        same(step.do, ledger[step.do](holder, step.from, step.to), model[step.do](holder, step.from, step.to).length)
        break
      case 'ackUpTo': {
        const { to, waitingToo } = step
        same('acked', ledger.ackUpTo(holder, to, waitingToo), model.ackUpTo(holder, to, waitingToo).length)
        break
      }
      case 'nack': {
        const { from, to, delayMs } = step
        const count = ledger.nack(holder, from, to, this.#now, delayMs)
        same('nacked', count, model.nack(holder, from, to, delayMs).length)
        break
      }
      case 'extend': {
        const { from, to } = step
        const deadline = this.#now + step.ms
        const count = ledger.extend(holder, from, to, deadline)
        same('extended', count, model.extend(holder, from, to, deadline).length)
        break
      }
      case 'detach':
        same('detached', ledger.detach(holder), model.detach(holder).length)
        break
      case 'unstage':
        ledger.unstage()
        model.unstage()
        break
      case 'skip':
        this.#skip(step.max)
        break
      case 'skipTo': {
        const lost = ledger.skipTo(step.start)
        same('lost', lost && [lost.from, lost.to - 1], model.skipTo(step.start))
        this.#limit = Math.max(this.#limit, step.start)
        break
      }
      case 'seek':
        ledger.seek(Math.min(step.to, this.#limit))
        model.seek(Math.min(step.to, this.#limit))
        break
      case 'bury':
      case 'revive':
        same(step.do, ledger[step.do](step.from, step.to), model[step.do](step.from, step.to))
        break
      case 'limit':
        ledger.policy = { ...ledger.policy, maxDeliveries: step.maxDeliveries }
        model.limit(step.maxDeliveries)
        break
    }
    // Time is told before anything is asked, as the lane does.
    same('expired', ledger.advance(this.#now), model.advance(this.#now))
    this.#compare()
  }

  #deliver(holder: LeaseHolder, max: number, room: number, handOverMs: number | null): void {
    const { ledger, model } = this
    const offer = ledger.available(this.#limit, room)
    same('first to go out', offer?.from ?? null, model.first(this.#limit, room))
    if (!offer) return
    const { from, to, attempt } = offer
    same('an offer is not empty and stays within the room', to > from && to <= Math.max(model.next, this.#limit), true)
    const end = Math.min(to, from + max)
    for (let offset = from; offset < end; offset++) {
      same(`attempt of ${offset}`, attempt, model.deliverable(offset, this.#limit, room - (offset - from)))
      model.lease(holder, offset)
    }
    ledger.lease(holder, from, end)
    if (handOverMs === null) return
    const deadline = this.#now + handOverMs
    const all = model.handOver(holder, from, end, deadline, holder).length === end - from
    same('handed over at once', ledger.handOver(holder, from, end, deadline, holder) === null, all)
  }

  #skip(max: number): void {
    const offer = this.ledger.available(this.#limit, 100)
    if (!offer) return
    const end = Math.min(offer.to, offer.from + max)
    for (let offset = offer.from; offset < end; offset++) this.model.skip(offset)
    this.ledger.skip(offer.from, end)
  }

  #compare(): void {
    const { ledger, model, holders } = this
    const leased = model.count('leased')
    const waiting = model.count('waiting')
    same('next', ledger.next, model.next)
    same('floor', ledger.floor, model.floor)
    same('leased', ledger.leased, leased)
    same('waiting', ledger.waiting, waiting)
    const doomed = model.count('doomed')
    same('doomed', ledger.doomedCount, doomed)
    same('unsettled', ledger.unsettled, leased + waiting + doomed)
    same('all to give up on', linesOf(ledger.doomed(0, OFFSETS * 4)), model.doomed(0, OFFSETS * 4))
    same('some to give up on', linesOf(ledger.doomed(OFFSETS / 4, 3)), model.doomed(OFFSETS / 4, 3))
    same('acked ahead', ledger.ackedAhead, model.ackedAhead)
    for (const holder of holders) same('outstanding', holder.outstanding, model.outstanding(holder))
    same('wakes in time', ledger.wakeAt <= model.nextEvent, true)
    for (const offset of [0, model.floor, model.next - 1, model.next]) {
      same(`${offset} is acknowledged`, ledger.isAcknowledged(offset), model.isAcknowledged(offset))
      if (offset >= 0) same(`what ${offset} is`, lineOf(ledger.describe(offset)), model.describe(offset))
    }
    same('what a restart finds', perMessage(ledger.state()), durableOf(model))
  }
}

/** Cheaper than a matcher, since it is asked a million times. */
function same(what: string, actual: unknown, expected: unknown): void {
  if (actual === expected) return
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== e) throw new Error(`${what}: the ledger says ${a}, the model ${e}`)
}

function lineOf(standing: Standing): string {
  if (standing.state === 'acked' || standing.state === 'not_reached') return standing.state
  const failure = standing.failure ?? 'nobody knows'
  if (standing.state === 'outstanding') {
    const deadline = standing.isStaged ? 'staged' : `until ${standing.deadline}`
    return `outstanding, attempt ${standing.attempt}, ${deadline}, ${failure}`
  }
  const before = standing.state === 'waiting' ? `, not before ${standing.notBefore}` : ''
  return `${standing.state}, ${standing.attempts} attempts${before}, ${failure}`
}

function linesOf(runs: readonly Doomed[]): string[] {
  return runs.flatMap(({ from, to, attempts, failure }) =>
    Array.from({ length: to - from }, (_, i) => `${from + i}: ${attempts} attempts, ${failure ?? 'nobody knows'}`),
  )
}

function offsetsOf(runs: readonly { from: number; to: number }[]): number[] {
  return runs.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))
}
