/**
 * An honest broker with one partition and two subscriptions, and its clients, in one small model: writes the history
 * that they would see under crashes, refusals, lost answers and negative acknowledgements. The history checker must
 * find nothing in it. Pure, driven by the numbers it is given.
 */
import { History, type HistoryEvent, hashOf } from './history.ts'

interface Waiting {
  offset: number
  attempt: number
  value: string
}

export class HonestModel {
  #t = 0
  readonly history = new History(() => this.#t)
  readonly #next: (below: number) => number
  readonly #log: string[] = []
  readonly #waiting = new Map<string, Waiting[]>([
    ['work', []],
    ['audit', []],
  ])
  readonly #held = new Map<string, Waiting[]>([
    ['work', []],
    ['audit', []],
  ])
  readonly #sessions = new Map<string, number>()
  #published = 0

  constructor(next: (below: number) => number) {
    this.#next = next
  }

  run(steps: number): readonly HistoryEvent[] {
    for (let i = 0; i < steps; i++) this.#step(this.#next(12))
    for (const sub of this.#waiting.keys()) {
      while (this.#waiting.get(sub)!.length + this.#held.get(sub)!.length > 0) {
        this.#deliver(sub)
        this.#ack(sub, 'ok')
      }
      this.history.record({ op: 'backlog', sub, backlog: 0 })
    }
    this.history.record({ op: 'hw', ph: 'inv', id: 0 })
    this.history.record({ op: 'hw', ph: 'ok', id: 0, partition: 0, end: this.#log.length })
    return this.history.events
  }

  #step(choice: number): void {
    this.#t += 1 + this.#next(20)
    const sub = this.#next(2) === 0 ? 'work' : 'audit'
    if (choice < 4) this.#publish(this.#next(10))
    else if (choice < 7) this.#deliver(sub)
    else if (choice < 9) this.#ack(sub, 'ok')
    else if (choice === 9) this.#nack(sub)
    else if (choice === 10) this.#close(sub)
    else if (this.#next(4) === 0) this.#crash()
  }

  #publish(luck: number): void {
    const value = `p-${this.#published++}`
    const id = this.history.nextId()
    const hash = hashOf(value)
    this.history.record({ op: 'pub', ph: 'inv', id, value, hash, idempotent: true })
    if (luck === 0) return this.history.record({ op: 'pub', ph: 'fail', id, code: 'overloaded' })
    const offset = luck === 1 ? -1 : this.#log.push(value) - 1
    if (offset >= 0) for (const list of this.#waiting.values()) list.push({ offset, attempt: 0, value })
    if (luck > 2) return this.history.record({ op: 'pub', ph: 'ok', id, partition: 0, offset, duplicate: false })
    this.history.record({ op: 'pub', ph: 'info', id, code: 'reset' })
    if (luck === 1) return
    const again = this.history.nextId()
    this.history.record({ op: 'pub', ph: 'inv', id: again, value, hash, idempotent: true })
    this.history.record({ op: 'pub', ph: 'ok', id: again, partition: 0, offset, duplicate: true })
  }

  #session(sub: string): number {
    const known = this.#sessions.get(sub)
    if (known !== undefined) return known
    const session = this.history.nextId()
    this.#sessions.set(sub, session)
    this.history.record({ op: 'open', sub, session, consumer: 'c' })
    return session
  }

  #deliver(sub: string): void {
    const message = this.#waiting
      .get(sub)!
      .sort((a, b) => a.offset - b.offset)
      .shift()
    if (!message) return
    message.attempt++
    this.#held.get(sub)!.push(message)
    const { offset, attempt, value } = message
    this.history.record({
      op: 'dlv',
      sub,
      session: this.#session(sub),
      partition: 0,
      offset,
      attempt,
      value,
      hash: hashOf(value),
    })
  }

  #ack(sub: string, ph: 'ok' | 'info'): void {
    const message = this.#held.get(sub)!.shift()
    if (!message) return
    const id = this.history.nextId()
    const ack = {
      op: 'ack',
      id,
      sub,
      session: this.#session(sub),
      at: [{ partition: 0, offset: message.offset }],
    } as const
    this.history.record({ ...ack, ph: 'inv' })
    this.history.record({ ...ack, ph })
  }

  #nack(sub: string): void {
    const message = this.#held.get(sub)!.pop()
    if (!message) return
    this.history.record({
      op: 'nack',
      sub,
      session: this.#session(sub),
      at: [{ partition: 0, offset: message.offset }],
    })
    this.#waiting.get(sub)!.push(message)
  }

  #close(sub: string): void {
    const session = this.#sessions.get(sub)
    if (session === undefined) return
    this.#sessions.delete(sub)
    this.history.record({ op: 'close', sub, session, consumer: 'c' })
    this.#waiting.get(sub)!.push(...this.#held.get(sub)!.splice(0))
  }

  #crash(): void {
    this.history.record({ op: 'fault', kind: 'kill' })
    for (const sub of this.#waiting.keys()) this.#close(sub)
  }
}
