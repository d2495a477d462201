/**
 * The rules of the history checker that concern one subscription: nothing lost, nothing delivered again
 * without a cause, no confirmed acknowledgement undone, attempts that only grow. Each delivery is judged
 * against the one before it of the same position and what was seen in between. Pure.
 */
import type { HistoryEvent } from './history.ts'
import {
  type Facts,
  positionKey,
  type Report,
  type SubscriptionFacts,
  type ValueRecord,
  type Verdict,
} from './history-verdict.ts'

type Delivery = Extract<HistoryEvent, { op: 'dlv' }>

/** What is known of one position on one subscription. */
interface Lease {
  delivered: number
  /** Of these, with an attempt above 1. */
  redelivered: number
  last: Delivery
  /** Index of the last delivery in the history. */
  lastIndex: number
  returned: 'nack' | 'release' | undefined
  ackSent: boolean
  /** Index of the event that confirmed an acknowledgement since the last seek, and its time and session. */
  confirmed: { index: number; t: number; session: number } | undefined
}

interface Session {
  openedIndex: number
  closedAt: number
}

/** What may cause redeliveries on the whole of a subscription. */
interface Disturbances {
  sessions: Map<number, Session>
  /** Indices of faults and seeks, ascending. */
  faults: number[]
}

type Counts = Pick<Verdict, 'delivered' | 'redelivered' | 'duplicates' | 'lost' | 'confirmed'>

export function checkDeliveries(
  events: readonly HistoryEvent[],
  facts: Facts,
  values: ReadonlyMap<string, ValueRecord>,
  positions: ReadonlyMap<string, string>,
  report: Report,
): Counts {
  const counts: Counts = { delivered: {}, redelivered: {}, duplicates: {}, lost: {}, confirmed: {} }
  const disturbances = collectDisturbances(events)
  for (const subscription of facts.subscriptions) {
    const leases = new Walk(events, subscription, facts, disturbances, report).run()
    const all = [...leases.values()]
    const delivered = all.reduce((sum, lease) => sum + lease.delivered, 0)
    counts.delivered[subscription.name] = delivered
    counts.redelivered[subscription.name] = all.reduce((sum, lease) => sum + lease.redelivered, 0)
    counts.duplicates[subscription.name] = delivered - leases.size
    counts.confirmed[subscription.name] = all.filter((lease) => lease.confirmed).length
    counts.lost[subscription.name] = facts.drained ? checkLost(subscription.name, leases, values, report) : 0
    if (facts.drained) checkDrained(events, subscription.name, leases, report)
    checkSkips(subscription.name, leases, positions, facts.drained, report)
  }
  return counts
}

function collectDisturbances(events: readonly HistoryEvent[]): Disturbances {
  const sessions = new Map<number, Session>()
  const faults: number[] = []
  events.forEach((event, index) => {
    if (event.op === 'open') sessions.set(event.session, { openedIndex: index, closedAt: Number.POSITIVE_INFINITY })
    else if (event.op === 'close') {
      const session = sessions.get(event.session)
      if (session) session.closedAt = event.t
    } else if (event.op === 'fault') faults.push(index)
  })
  return { sessions, faults }
}

/** One pass over the history of one subscription. */
class Walk {
  readonly #events: readonly HistoryEvent[]
  readonly #subscription: SubscriptionFacts
  readonly #facts: Facts
  readonly #disturbances: Disturbances
  readonly #report: Report
  readonly #leases = new Map<string, Lease>()
  /** Highest first delivery of each session and partition. */
  readonly #highest = new Map<string, number>()
  #anyClosed = false
  #faulted = false
  #seekIndex = -1

  constructor(
    events: readonly HistoryEvent[],
    subscription: SubscriptionFacts,
    facts: Facts,
    disturbances: Disturbances,
    report: Report,
  ) {
    this.#events = events
    this.#subscription = subscription
    this.#facts = facts
    this.#disturbances = disturbances
    this.#report = report
  }

  run(): ReadonlyMap<string, Lease> {
    this.#events.forEach((event, index) => {
      if (event.op === 'fault') this.#faulted = true
      if ('sub' in event && event.sub === this.#subscription.name) this.#step(event, index)
    })
    return this.#leases
  }

  #step(event: HistoryEvent, index: number): void {
    if (event.op === 'dlv') this.#deliver(event, index)
    else if (event.op === 'close') this.#anyClosed = true
    else if (event.op === 'seek') this.#seek(index)
    else if (event.op === 'nack' || event.op === 'release') {
      for (const at of event.at) {
        const lease = this.#leases.get(positionKey(at))
        if (lease) lease.returned = event.op
      }
    } else if (event.op === 'ack') {
      for (const at of event.at) {
        const lease = this.#leases.get(positionKey(at))
        if (!lease) continue
        lease.ackSent = true
        if (event.ph === 'ok') lease.confirmed ??= { index, t: event.t, session: event.session }
      }
    }
  }

  #seek(index: number): void {
    this.#seekIndex = index
    this.#highest.clear()
    for (const lease of this.#leases.values()) lease.confirmed = undefined
  }

  #deliver(event: Delivery, index: number): void {
    const key = positionKey(event)
    const lease = this.#leases.get(key)
    this.#checkOrder(event)
    if (lease) {
      this.#checkConfirmed(event, lease)
      this.#checkAgain(event, lease)
      lease.delivered++
      if (event.attempt > 1) lease.redelivered++
      Object.assign(lease, { last: event, lastIndex: index, returned: undefined })
      return
    }
    if (event.attempt > 1 && !this.#anyClosed && !this.#faulted && this.#seekIndex === -1) {
      this.#report.add('UNACCOUNTED_REDELIVERY', `${this.#at(event)} begins at attempt ${event.attempt}`)
    }
    this.#leases.set(key, {
      delivered: 1,
      redelivered: event.attempt > 1 ? 1 : 0,
      last: event,
      lastIndex: index,
      returned: undefined,
      ackSent: false,
      confirmed: undefined,
    })
  }

  #checkOrder(event: Delivery): void {
    if (!this.#subscription.ordered || event.attempt > 1) return
    const key = `${event.session}/${event.partition}`
    const highest = this.#highest.get(key) ?? -1
    if (event.offset <= highest) this.#report.add('REORDER_PART', `${this.#at(event)} after ${highest}`)
    this.#highest.set(key, Math.max(highest, event.offset))
  }

  /** A frame may have been under way to another session when the acknowledgement was confirmed; not for long. */
  #checkConfirmed(event: Delivery, { confirmed }: Lease): void {
    if (!confirmed) return
    const session = this.#disturbances.sessions.get(event.session)
    const sure =
      event.session === confirmed.session ||
      (session !== undefined && session.openedIndex > confirmed.index) ||
      event.t - confirmed.t > this.#facts.flightMs
    if (sure)
      this.#report.add(
        'RESURRECTED',
        `${this.#at(event)} attempt ${event.attempt}, after its acknowledgement was confirmed`,
      )
  }

  /** The delivery before this one must have ended: handed back, expired, its session closed, or a fault between them. */
  #checkAgain(event: Delivery, lease: Lease): void {
    const { last, returned } = lease
    const sought = this.#seekIndex > lease.lastIndex
    const grew = returned === 'release' ? event.attempt >= last.attempt : event.attempt > last.attempt
    if (!sought && !grew) {
      this.#report.add('ATT_RESET', `${this.#at(event)} attempt ${event.attempt} after attempt ${last.attempt}`)
    }
    const closedAt = this.#disturbances.sessions.get(last.session)?.closedAt ?? Number.POSITIVE_INFINITY
    const ended =
      sought ||
      returned !== undefined ||
      this.#disturbances.faults.some((index) => index > lease.lastIndex && this.#events[index]!.t <= event.t) ||
      closedAt <= event.t + this.#facts.flightMs ||
      event.t - last.t >= this.#subscription.ackDeadlineMs - this.#facts.flightMs
    if (ended) return
    if (event.session !== last.session) {
      this.#report.add(
        'OVERLAP',
        `${this.#at(event)} on session ${event.session} while session ${last.session} holds it`,
      )
    }
    this.#report.add('UNACCOUNTED_REDELIVERY', `${this.#at(event)} attempt ${event.attempt} without a cause`)
  }

  #at(event: Delivery): string {
    return `${this.#subscription.name} ${positionKey(event)} (${event.value})`
  }
}

function checkLost(
  name: string,
  leases: ReadonlyMap<string, Lease>,
  values: ReadonlyMap<string, ValueRecord>,
  report: Report,
): number {
  const got = new Set([...leases.values()].map((lease) => lease.last.value))
  let lost = 0
  for (const [value, record] of values) {
    if (record.ok === 0 || got.has(value)) continue
    lost++
    report.add('LOST', `${name} never got ${value} (${[...record.receipts].join(', ')})`)
  }
  return lost
}

function checkDrained(
  events: readonly HistoryEvent[],
  name: string,
  leases: ReadonlyMap<string, Lease>,
  report: Report,
): void {
  for (const [key, lease] of leases) {
    if (!lease.ackSent) report.add('NOT_DRAINED', `${name} ${key} was delivered and never acknowledged`)
  }
  for (const event of events) {
    if (event.op === 'backlog' && event.sub === name && event.backlog > 0) {
      report.add('NOT_DRAINED', `${name} says that ${event.backlog} are left`)
    }
  }
}

/** Something known to be in the log was passed over while a later one of its partition was delivered. */
function checkSkips(
  name: string,
  leases: ReadonlyMap<string, Lease>,
  positions: ReadonlyMap<string, string>,
  drained: boolean,
  report: Report,
): void {
  if (!drained) return
  const highest = new Map<number, number>()
  for (const { last } of leases.values())
    highest.set(last.partition, Math.max(highest.get(last.partition) ?? -1, last.offset))
  for (const [key, value] of positions) {
    const [partition, offset] = key.split(':').map(Number) as [number, number]
    if (offset < (highest.get(partition) ?? -1) && !leases.has(key)) {
      report.add('SKIP', `${name} was never given ${key} (${value})`)
    }
  }
}
