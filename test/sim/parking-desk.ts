/**
 * Whoever looks after the parked keys of a simulated run: lets them go on, in one of the ways there are, and
 * tells the witness what was asked for and what was answered. One at a time per subscription.
 */
import type { Doing, ParkedKey } from '../../src/subscription/subscription.ts'
import type { SimRandom } from '../../src/testing/sim-random.ts'
import type { Life } from './machine.ts'
import type { Seat, Stage } from './stage.ts'
import type { Witness } from './witness.ts'

const ACTIONS = ['resume', 'resume', 'replace', 'replace', 'skip', 'discard'] as const
/** Keys that one visit deals with. */
const KEYS_MAX = 3

export class ParkingDesk {
  readonly #stage: Stage
  readonly #witness: Witness
  readonly #random: SimRandom
  readonly #busy: Set<Seat> = new Set()
  #replacements = 0

  constructor(stage: Stage, witness: Witness, random: SimRandom) {
    this.#stage = stage
    this.#witness = witness
    this.#random = random
  }

  /** Visits every subscription that parks keys; none of them twice at a time. */
  attend(life: Life): void {
    for (const seat of this.#stage.seats.values()) {
      if (!seat.role.parks || this.#busy.has(seat)) continue
      this.#busy.add(seat)
      void this.#visit(life, seat).finally(() => this.#busy.delete(seat))
    }
  }

  /** Nobody will answer those who ask now. */
  crashed(): void {
    this.#busy.clear()
  }

  async #visit(life: Life, seat: Seat): Promise<void> {
    const { parking } = this.#stage.subscription(life, seat.role)
    try {
      for (const parked of (await parking.list(KEYS_MAX)).parked) {
        if (life.state === 'over') return
        await this.#decide(life, seat, parked)
      }
    } catch {
      this.#witness.count('parking refused')
    }
  }

  async #decide(life: Life, { role, seen }: Seat, { key, topic, partition, offset }: ParkedKey): Promise<void> {
    const place = { topic: topic ?? role.topic, partition, offset }
    const doing = this.#doing(place.topic, key)
    const value = doing.action === 'replace' ? Buffer.from(doing.value).toString('latin1') : null
    const { seeks } = seen
    seen.parking.deciding(place, doing.action, value)
    const { parking } = this.#stage.subscription(life, role)
    // The message that was looked at, and no other: the key may wait for an earlier one by now.
    const where = topic === undefined ? { partition, offset } : { topic, partition, offset }
    const done = await parking.act(key, where, doing)
    if (life.state === 'over' || seen.seeks !== seeks) return
    this.#witness.count(`parked key ${doing.action}`)
    this.#witness.answered()
    if (done.offset !== offset)
      throw this.#witness.violated('D-REPL', `${key} was decided at ${done.offset}, not ${offset}`)
    seen.parking.decided(place, doing.action, value)
  }

  #doing(topic: string, key: string): Doing {
    const action = this.#random.pick(ACTIONS)
    if (action !== 'replace') return { action }
    const text = `r${this.#replacements++}.replaced`
    // It may come back as a dead letter's copy, and is no phantom then.
    const scene = this.#witness.topic(topic)
    const what = { value: text, key, color: 'blue', idempotencyKey: null, expires: false, deliverAt: null }
    scene.attempt({ ...what, isReplacement: true }).outcome = 'unknown'
    return {
      action,
      value: Buffer.from(text, 'latin1'),
      contentType: 'application/octet-stream',
      valueChecked: true,
    }
  }
}
