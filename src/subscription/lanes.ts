/**
 * All lanes of one subscription: by topic and partition, and which of them a pass has to look at. A
 * decision without time, owned by the runner.
 *
 * Must stay true: a lane that is not among the awake ones has nothing to deliver, to wait for or to
 * count, so that a pass over a pattern's thousands of topics costs by what is going on. Whatever can
 * change that wakes it: its partition, its ledger.
 */
import type { Lane } from './lane.ts'

export class Lanes {
  readonly #byTopic = new Map<string, Map<number, Lane>>()
  #all: readonly Lane[] | null = null
  #awake: Lane[] = []
  readonly #isAwake = new Set<Lane>()
  /** Where the next pass begins. */
  #turn = 0

  /** By name of topic, then in the order in which they came. */
  get all(): readonly Lane[] {
    if (!this.#all) {
      const topics = [...this.#byTopic].sort(([a], [b]) => (a < b ? -1 : 1))
      this.#all = topics.flatMap(([, lanes]) => [...lanes.values()])
    }
    return this.#all
  }

  /** Those that may have something to do, or messages that are not settled. */
  get awake(): readonly Lane[] {
    return this.#awake
  }

  find(topic: string, partition: number): Lane | undefined {
    return this.#byTopic.get(topic)?.get(partition)
  }

  of(topic: string): readonly Lane[] {
    return [...(this.#byTopic.get(topic)?.values() ?? [])]
  }

  topics(): string[] {
    return [...this.#byTopic.keys()]
  }

  add(lane: Lane): void {
    let lanes = this.#byTopic.get(lane.topic)
    if (!lanes) {
      lanes = new Map()
      this.#byTopic.set(lane.topic, lanes)
    }
    lanes.set(lane.partition.number, lane)
    this.#all = null
    this.wake(lane)
  }

  /** Takes the topic's lanes out and answers them. */
  remove(topic: string): readonly Lane[] {
    const lanes = this.of(topic)
    this.#byTopic.delete(topic)
    this.#all = null
    for (const lane of lanes) this.#isAwake.delete(lane)
    this.#awake = this.#awake.filter((lane) => this.#isAwake.has(lane))
    return lanes
  }

  wake(lane: Lane): void {
    if (this.#isAwake.has(lane) || this.find(lane.topic, lane.partition.number) !== lane) return
    this.#isAwake.add(lane)
    this.#awake.push(lane)
  }

  /**
   * Visits the awake lanes, beginning after the one that was served last, so that no lane always finds the
   * credit used up. `serve` answers whether the lane got something.
   */
  round(serve: (lane: Lane) => boolean): void {
    const lanes = this.#awake
    const count = lanes.length
    const first = this.#turn
    for (let step = 0; step < count; step++) {
      const at = (first + step) % count
      if (serve(lanes[at]!)) this.#turn = at + 1
    }
    if (!lanes.some((lane) => lane.isQuiet)) return
    this.#awake = lanes.filter((lane) => {
      if (lane.isQuiet) this.#isAwake.delete(lane)
      return this.#isAwake.has(lane)
    })
  }
}
