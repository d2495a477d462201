import { encodeRecord, partitionOf, type TidingsError } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ProducedReceipt } from '../../../src/partition/topic.ts'
import { type ProducerRig, producerRig } from '../../support/producer-rig.ts'
import { settle } from '../../support/settle.ts'

const PARTITIONS = 2
const KEYS = ['a', 'c', 'd', null] as const
const REMEMBERED = 8

type Step =
  | { do: 'send'; keys: (typeof KEYS)[number][] }
  | { do: 'repeat'; back: number }
  | { do: 'full'; partition: number }
  | { do: 'answers' | 'turn' | 'maintain' }
  | { do: 'crash' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      keys: fc.array(fc.constantFrom(...KEYS), { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('repeat' as const), back: fc.nat(REMEMBERED - 1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('full' as const), partition: fc.nat(PARTITIONS - 1) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('answers' as const, 'turn' as const, 'maintain' as const) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
)

interface Frame {
  sequence: number
  records: { key: string | null; value: string }[]
  /** Where each record is, once answered. */
  places: string[] | null
}

/** A client that keeps the rules, over a topic of two partitions; and the log as it must be. */
class Story {
  readonly #rig: ProducerRig
  readonly #frames: Frame[] = []
  #open: Promise<void>[] = []
  #life = 0

  constructor(rig: ProducerRig) {
    this.#rig = rig
  }

  async take(one: Step): Promise<void> {
    const last = this.#frames.at(-1)
    const first = this.#frames.find(({ places }) => places === null)
    if (one.do === 'send') {
      if (first && this.#frames.length - first.sequence >= REMEMBERED) return
      const records = one.keys.map((key, i) => ({ key, value: `${this.#frames.length}.${i}`.padEnd(400, '.') }))
      const frame = { sequence: this.#frames.length, records, places: null }
      this.#frames.push(frame)
      this.#send(frame)
    } else if (one.do === 'repeat' && last && last.sequence >= one.back) {
      this.#send(this.#frames[last.sequence - one.back]!)
    } else if (one.do === 'full') {
      const path = (name: string): boolean => name.includes(`topic-${one.partition}/data`) && name.endsWith('.log')
      this.#rig.disk.fail({ on: 'write', code: 'ENOSPC', path })
    } else if (one.do === 'turn') await settle()
    else if (one.do === 'answers') await this.#answers()
    else if (one.do === 'maintain') {
      await this.#answers()
      await this.#rig.maintain()
    } else if (one.do === 'crash') {
      this.#life += 1
      this.#open = []
      this.#rig.disk.heal()
      await this.#rig.crash()
      this.#sendOpen()
    }
  }

  /** Everything is sent until it is answered; then the log must be what the client meant. */
  async end(): Promise<void> {
    this.#rig.disk.heal()
    for (let round = 0; round < 3; round++) await this.#answers()
    expect(this.#frames.every(({ places }) => places !== null)).toBe(true)
    const meant: string[][] = Array.from({ length: PARTITIONS }, () => [])
    for (const { sequence, records, places } of this.#frames) {
      records.forEach(({ key, value }, i) => {
        const partition = key === null ? (7 + sequence) % PARTITIONS : partitionOf(Buffer.from(key), PARTITIONS)
        expect(places![i]).toBe(`${partition}:${meant[partition]!.length}`)
        meant[partition]!.push(value)
      })
    }
    const values = await this.#rig.values()
    for (const [partition, { startOffset }] of this.#rig.topic.partitions.entries()) {
      expect(values[partition]).toEqual(meant[partition]!.slice(startOffset))
    }
    expect(this.#rig.poison).toEqual([])
  }

  async #answers(): Promise<void> {
    await Promise.all(this.#open.splice(0))
    await this.#rig.space.check()
    this.#sendOpen()
    await Promise.all(this.#open.splice(0))
  }

  /** What is not answered, in order, as after a refusal or a lost connection. */
  #sendOpen(): void {
    for (const frame of this.#frames) if (frame.places === null) this.#send(frame)
  }

  #send(frame: Frame): void {
    const { sequence, records } = frame
    const bytes = Buffer.concat(records.map(encode))
    const made = { producerId: 7, sequence, partitionCount: PARTITIONS, count: records.length, records: bytes }
    const life = this.#life
    this.#open.push(
      new Promise((resolve) => {
        this.#rig.topic.produce(made, (error, receipt) => {
          if (life === this.#life) this.#answered(frame, error, receipt)
          resolve()
        })
      }),
    )
  }

  #answered(frame: Frame, error: TidingsError | null, receipt: ProducedReceipt | undefined): void {
    if (error) {
      expect(error.retryable, error.message).toBe(true)
      return
    }
    const { parts, partOf } = receipt!
    const next = parts.map(({ baseOffset }) => baseOffset)
    const places = frame.records.map((_, i) => {
      const part = partOf?.[i] ?? 0
      return `${parts[part]!.partition}:${next[part]!++}`
    })
    if (frame.places) expect(places).toEqual(frame.places)
    frame.places = places
  }
}

function encode({ key, value }: { key: string | null; value: string }): Uint8Array {
  return encodeRecord({
    key: key === null ? null : Buffer.from(key),
    value: Buffer.from(value),
    contentType: 'text/plain',
    headers: [],
    idempotencyKey: null,
    expiresAt: null,
    valueChecked: true,
  })
}

describe('a producer that keeps the rules', () => {
  it('has each record in the log once and in order, over full disks, retention and crashes', {
    timeout: 120_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), fc.nat(), async (steps, seed) => {
        const retention = { maxAgeMs: null, maxBytes: 8192, untilAcked: false }
        const rig = await producerRig({ partitions: PARTITIONS, seed, settings: { segmentBytes: 4096, retention } })
        const story = new Story(rig)
        for (const one of steps) await story.take(one)
        await story.end()
      }),
      { numRuns: 150 },
    )
  })
})
