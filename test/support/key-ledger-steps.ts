/**
 * Random histories of a key ledger: steps as data, and the player that takes them with the real ledger and
 * the model side by side, comparing every answer and afterwards everything that can be seen.
 */
import fc from 'fast-check'
import type { KeyPolicy } from '../../src/subscription/key-book.ts'
import { KeyLedger } from '../../src/subscription/key-ledger.ts'
import type { LeaseHolder } from '../../src/subscription/ledger.ts'
import { ANYBODY, type KeyOwners } from '../../src/subscription/ready-keys.ts'
import { ANY, KeyLedgerModel, line } from './key-ledger-model.ts'

type Keyed = 'resume' | 'replace' | 'discard' | 'skipped' | 'parking_full'

type Settling =
  | { do: 'ack' | 'release' | 'reject'; who: number; from: number; to: number }
  | { do: 'nack'; who: number; from: number; to: number; delayMs: number | null }
  | { do: 'extend'; who: number; from: number; to: number; ms: number }

type ConsumerStep =
  | Settling
  | { do: 'look' | 'deliver'; who: number; count: number }
  | { do: 'handOver'; who: number; from: number; to: number; ms: number }
  | { do: 'ackUpTo'; who: number; to: number; waitingToo: boolean }
  | { do: 'detach'; who: number }
  | { do: 'unstage' }

export type KeyStep =
  | ConsumerStep
  | { do: 'publish'; keys: (string | null)[] }
  | { do: 'pass'; ms: number }
  | { do: 'owner'; key: number; who: number | null }
  | { do: 'restart' }
  | { do: 'learn'; count: number }
  | { do: 'parked'; key: number; how: Keyed }
  | { do: 'bury' | 'revive'; from: number; to: number }
  | { do: 'skipTo' | 'seek'; to: number }
  | { do: 'policy'; maxDeliveries: number | null; parks: boolean }

const KEYS = ['a', 'b', 'c']
const OFFSETS = 40
/** Two consumers, a pull, and whoever speaks for what pulls were answered. */
const HOLDERS = 4
const who = fc.nat(HOLDERS - 1)
const receiver = fc.nat(HOLDERS - 2)
const small = fc.nat(OFFSETS)
const range = fc.tuple(small, small).map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) + 1 }))
const ms = fc.integer({ min: 1, max: 60 })
const count = fc.integer({ min: 1, max: 8 })
const key = fc.nat(KEYS.length - 1)
const ranged = <K extends string>(what: K): fc.Arbitrary<{ do: K; who: number; from: number; to: number }> =>
  fc.tuple(who, range).map(([w, r]) => ({ do: what, who: w, ...r }))

const frequent: fc.Arbitrary<KeyStep>[] = [
  fc.record({
    do: fc.constant('publish'),
    keys: fc.array(fc.constantFrom('a', 'a', 'b', 'b', 'c', null), { minLength: 1, maxLength: 8 }),
  }),
  fc.record({ do: fc.constant('pass'), ms }),
  fc.record({ do: fc.constant('look'), who: receiver, count }),
  fc.record({ do: fc.constant('deliver'), who: receiver, count }),
  fc.tuple(receiver, range, ms).map(([w, r, m]) => ({ do: 'handOver', who: w, ...r, ms: m })),
  ranged('ack'),
  fc.tuple(who, range, fc.option(fc.nat(50))).map(([w, r, delayMs]) => ({ do: 'nack', who: w, ...r, delayMs })),
  fc.record({ do: fc.constant('learn'), count: fc.constant(OFFSETS) }),
]
const rare: fc.Arbitrary<KeyStep>[] = [
  ranged('release'),
  ranged('reject'),
  fc.record({ do: fc.constant('ackUpTo'), who, to: small, waitingToo: fc.boolean() }),
  fc.tuple(who, range, ms).map(([w, r, m]) => ({ do: 'extend', who: w, ...r, ms: m })),
  fc.record({ do: fc.constant('detach'), who }),
  fc.tuple(key, fc.option(receiver)).map(([k, w]) => ({ do: 'owner', key: k, who: w })),
  fc.tuple(key, fc.option(receiver)).map(([k, w]) => ({ do: 'owner', key: k, who: w })),
  fc.constantFrom<KeyStep[]>({ do: 'unstage' }, { do: 'restart' }),
  fc.record({ do: fc.constant('learn'), count }),
  fc.record({
    do: fc.constant('parked'),
    key,
    how: fc.constantFrom<Keyed>('resume', 'replace', 'discard', 'skipped', 'parking_full'),
  }),
  fc.tuple(fc.constantFrom('bury', 'revive'), range).map(([what, r]): KeyStep => ({ do: what, ...r })),
  fc.record({ do: fc.constantFrom('skipTo', 'seek'), to: small }),
  fc
    .tuple(fc.option(fc.integer({ min: 1, max: 4 })), fc.boolean())
    .map(([maxDeliveries, parks]) => ({ do: 'policy', maxDeliveries, parks })),
]

export const keySteps: fc.Arbitrary<KeyStep[]> = fc.array(
  fc.oneof({ weight: 5, arbitrary: fc.oneof(...frequent) }, { weight: 1, arbitrary: fc.oneof(...rare) }),
  { minLength: 1, maxLength: 60, size: 'max' },
)

export class KeyPlayer implements KeyOwners {
  readonly #policy: KeyPolicy
  #start = 0
  readonly #receivers: LeaseHolder[]
  readonly #holders: LeaseHolder[]
  readonly #owners = new Map<string, LeaseHolder | null>()
  readonly model: KeyLedgerModel
  ledger: KeyLedger
  generation = 0
  #log: (string | null)[] = []
  readonly #replaced = new Map<number, string>()
  #replacements = 0
  #now = 1000

  constructor(policy: KeyPolicy) {
    const speaker: LeaseHolder = { outstanding: 0 }
    const heir: LeaseHolder = { outstanding: 0, speaker }
    this.#receivers = [{ outstanding: 0 }, { outstanding: 0 }, { outstanding: 0, heir }]
    this.#holders = [...this.#receivers, speaker]
    KEYS.forEach((name, i) => this.#owners.set(name, this.#receivers[i]!))
    this.#policy = policy
    this.model = new KeyLedgerModel(policy, (name) => this.#owners.get(name) ?? null)
    this.ledger = new KeyLedger(policy, this, { next: 0, runs: [] })
  }

  ownerOf(slot: number): LeaseHolder | null {
    return this.#owners.get(KEYS[slot]!) ?? null
  }

  play(step: KeyStep): void {
    const { model } = this
    switch (step.do) {
      case 'publish':
        this.#log.push(...step.keys)
        break
      case 'pass':
        this.#now += step.ms
        break
      case 'owner':
        this.#owners.set(KEYS[step.key]!, step.who === null ? null : this.#receivers[step.who]!)
        this.generation++
        break
      case 'restart':
        model.restart()
        for (const holder of this.#everybody) holder.outstanding = 0
        this.ledger = new KeyLedger(model.policy, this, structuredClone(this.ledger.state()))
        break
      case 'policy': {
        const policy = { ...this.#policy, maxDeliveries: step.maxDeliveries, parks: step.parks }
        this.ledger.policy = policy
        model.setPolicy(policy)
        break
      }
      case 'learn':
        this.#learn(step.count)
        break
      case 'parked':
        this.#parked(KEYS[step.key]!, step.how)
        break
      case 'bury': {
        const buried = model.all.filter(
          ({ kind, offset }) => kind === 'doomed' && offset >= step.from && offset < step.to,
        )
        for (const { offset } of buried) model.messages.delete(offset)
        same('buried', this.ledger.bury(step.from, step.to), buried.length)
        break
      }
      case 'revive':
        this.#revive(step.from, step.to)
        break
      case 'skipTo': {
        // The start of a log never goes back.
        this.#start = Math.max(this.#start, step.to)
        while (this.#log.length < this.#start) this.#log.push('a')
        const lost = this.ledger.skipTo(this.#start)
        same('lost', lost && [lost.from, lost.to - 1], model.skipTo(this.#start))
        break
      }
      case 'seek':
        model.messages.clear()
        model.next = Math.min(step.to, this.#log.length)
        this.ledger.seek(model.next)
        break
      default:
        this.#consume(step)
    }
    // Time is told before anything is asked, as the lane does.
    same('expired', this.ledger.advance(this.#now), model.advance(this.#now))
    this.#compare()
  }

  get #everybody(): LeaseHolder[] {
    return this.#holders.flatMap((holder) => (holder.heir ? [holder, holder.heir] : [holder]))
  }

  #consume(step: ConsumerStep): void {
    const { ledger, model } = this
    const holder = this.#holders['who' in step ? step.who : 0]!
    switch (step.do) {
      case 'look':
        this.#look(holder, step.count)
        break
      case 'deliver':
        this.#deliver(holder, step.count)
        break
      case 'handOver': {
        const deadline = this.#now + step.ms
        const all = model.handOver(holder, step.from, step.to, deadline)
        const gone = ledger.handOver(holder, step.from, step.to, deadline, holder.heir ?? holder)
        same('handed over', gone ? offsetsOf(gone) : step.to - step.from, gone ? all : all.length)
        break
      }
      case 'ackUpTo':
        same('acked', ledger.ackUpTo(holder, step.to, step.waitingToo), model.ackUpTo(holder, step.to, step.waitingToo))
        break
      case 'detach':
        this.#detach(holder)
        break
      case 'unstage':
        for (const message of model.all) if (message.isStaged) model.giveBack(message)
        ledger.unstage()
        break
      case 'ack':
      case 'release':
      case 'reject':
      case 'nack':
      case 'extend':
        this.#settle(holder, step)
        break
    }
  }

  #settle(holder: LeaseHolder, step: Settling): void {
    const { ledger, model } = this
    const { from, to } = step
    const held = model.heldBy(holder, from, to)
    for (const message of held) {
      if (step.do === 'ack') model.messages.delete(message.offset)
      else if (step.do === 'release') model.giveBack(message)
      else if (step.do === 'reject') model.fail(message, 'rejected', 0)
      else if (step.do === 'extend') message.deadline = this.#now + step.ms
      else if (step.do === 'nack') {
        const delay = step.delayMs ?? model.backoff(message.attempts)
        model.fail(message, 'nack', delay === 0 ? 0 : this.#now + delay)
      }
    }
    if (step.do === 'nack') same('nacked', ledger.nack(holder, from, to, this.#now, step.delayMs), held.length)
    else if (step.do === 'extend') same('extended', ledger.extend(holder, from, to, this.#now + step.ms), held.length)
    else same(step.do, ledger[step.do](holder, from, to), held.length)
  }

  #detach(holder: LeaseHolder): void {
    const lost = this.model.all.filter((message) => {
      const is = message.holder === holder || message.holder?.speaker === holder
      return is && !message.isStaged
    }).length
    this.model.detach(holder)
    same('detached', this.ledger.detach(holder), lost)
  }

  #look(holder: LeaseHolder, count: number): void {
    const { ledger, model } = this
    ledger.refresh()
    for (let left = count; left > 0 && ledger.next < this.#log.length && !ledger.unread; left--) {
      const name = this.#log[ledger.next]!
      const queue = ledger.queueOf(name, name === null ? -1 : KEYS.indexOf(name))
      const group = ledger.groupOf(queue)
      same('who gets the next', named(group, this.#receivers), named(model.groupOfNext(name), this.#receivers))
      if (!group && this.#policy.ordered && queue.parked === 0) return
      const message = model.arrive(name)
      if (!group) ledger.passOver(queue, name)
      else {
        const taker = group === ANYBODY ? holder : (group as LeaseHolder)
        ledger.leaseNext(taker, queue, name)
        model.lease(taker, message, true)
      }
    }
  }

  #deliver(holder: LeaseHolder, count: number): void {
    const { ledger, model } = this
    ledger.refresh()
    for (const group of [holder, ANYBODY]) {
      for (let left = count; left > 0; left--) {
        const expected = model.first(group === ANYBODY ? ANY : holder)
        const message = ledger.first(group)
        same('first', message?.from, expected?.offset)
        if (!message || !expected) break
        ledger.lease(holder, message)
        model.lease(holder, expected, false)
        same('attempt', message.attempts, expected.attempts)
      }
    }
  }

  #learn(count: number): void {
    for (let left = count; left > 0; left--) {
      const run = this.ledger.unread
      const unread = this.model.all.find(({ kind }) => kind === 'unread')
      same('unread', run?.from, unread?.offset)
      if (!run || !unread) return
      const name = this.#log[run.from]!
      this.model.learn(unread, name)
      this.ledger.learn(run.from, name, name === null ? -1 : KEYS.indexOf(name))
    }
  }

  #parked(name: string, how: Keyed): void {
    const { ledger, model } = this
    const message = ledger.parked.get(name)?.parkedFirst
    const expected = model.parkedFirst(name)
    same('parked', message?.from, expected?.offset)
    if (!message || !expected) return
    if (how === 'replace') {
      const record = Buffer.from(`instead of ${message.from}, ${this.#replacements++}`)
      ledger.replace(message, record)
      this.#replaced.set(message.from, record.toString())
    }
    if (how === 'resume' || how === 'replace') {
      ledger.resume(message)
      model.back(expected, { attempts: 0, failed: false, failure: null, notBefore: 0 })
    } else if (how === 'discard') {
      ledger.discard(message)
      model.messages.delete(expected.offset)
    } else {
      ledger.doom(message, how)
      model.back(expected, { failure: how })
    }
  }

  #revive(from: number, to: number): void {
    let revived = 0
    for (let offset = from; offset < Math.min(to, this.model.next); offset++) {
      if (this.model.messages.has(offset)) continue
      const { next } = this.model
      this.model.next = offset
      this.model.arrive(null).kind = 'unread'
      this.model.next = next
      revived++
    }
    same('revived', this.ledger.revive(from, to), revived)
  }

  #compare(): void {
    const { ledger, model } = this
    const { size } = model.messages
    same('next', ledger.next, model.next)
    same('floor', ledger.floor, model.floor)
    same('leased', ledger.leased, model.count('leased'))
    same('doomed', ledger.doomedCount, model.count('doomed'))
    same('held', ledger.held, model.held)
    same('unsettled', ledger.unsettled, size - model.held)
    same('acked ahead', ledger.ackedAhead, model.next - model.floor - size)
    same('parked keys', [...ledger.parked.keys()].sort(), model.parkedKeys)
    for (const holder of this.#everybody) same('outstanding', holder.outstanding, model.outstanding(holder))
    for (const message of model.all) {
      const standing = ledger.describe(message.offset)
      if (message.kind === 'leased') same(`state of ${message.offset}`, standing.state, 'outstanding')
      if (message.kind === 'doomed' || message.kind === 'parked') same('state', standing.state, message.kind)
    }
    const lasting = ledger
      .state()
      .runs.flatMap(({ from, to, attempts, failed, notBefore }) =>
        Array.from({ length: to - from }, (_, i) => line(from + i, attempts, failed, notBefore)),
      )
    same('what a restart finds', lasting, model.durable())
    for (const offset of this.#replaced.keys()) if (!model.messages.has(offset)) this.#replaced.delete(offset)
    const replaced = (ledger.state().replaced ?? []).map(({ offset, record }) => [
      offset,
      Buffer.from(record).toString(),
    ])
    same('replaced', replaced, [...this.#replaced])
    this.#checkKeys()
  }

  /** Of one key, only one holds messages. */
  #checkKeys(): void {
    if (this.#policy.ordered) return
    const seats = new Map<string, LeaseHolder>()
    for (const { key: name, holder } of this.model.all) {
      if (!holder || name === null) continue
      const seat = holder.heir ?? holder
      same(`one holder of ${name}`, (seats.get(name) ?? seat) === seat, true)
      seats.set(name, seat)
    }
  }
}

function named(group: unknown, receivers: readonly LeaseHolder[]): string {
  if (group === null) return 'nobody'
  return group === ANYBODY || group === ANY ? 'anybody' : String(receivers.indexOf(group as LeaseHolder))
}

function same(what: string, actual: unknown, expected: unknown): void {
  if (actual === expected) return
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== e) throw new Error(`${what}: the ledger says ${a}, the model ${e}`)
}

function offsetsOf(runs: readonly { from: number; to: number }[]): number[] {
  return runs.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i))
}
