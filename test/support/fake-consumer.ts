/**
 * A consumer's connection that only writes down what it is handed, message by message: "0:5 #1" is
 * offset 5 of partition 0 at its first attempt.
 */
import { recordEnd, recordValueAt } from '@tidings/sdk/protocol'
import type { RecordBatch } from '../../src/log/record-batch.ts'
import type { ConsumerPort, Delivery, Gap } from '../../src/subscription/subscription.ts'

export class FakeConsumer implements ConsumerPort {
  readonly name: string
  readonly prefetch: number
  readonly weight = 1
  isReady = true
  got: string[] = []
  /** The values of everything that came, as text. */
  readonly values: string[] = []
  readonly gaps: Gap[] = []
  endedBecause: string | null = null

  constructor(name: string, prefetch = 256) {
    this.name = name
    this.prefetch = prefetch
  }

  deliver(delivery: Delivery): void {
    this.got.push(...messagesOf([delivery]))
    const { batch, from, to } = delivery
    for (let offset = from; offset < to; offset++) this.values.push(valueText(batch, offset))
  }

  gap(gap: Gap): void {
    this.gaps.push(gap)
  }

  ready(): boolean {
    return this.isReady
  }

  ended(why: 'deleted' | 'closing'): void {
    this.endedBecause = why
  }

  /** What came since the last look. */
  take(): string[] {
    return this.got.splice(0)
  }
}

export function messagesOf(deliveries: readonly Delivery[]): string[] {
  return deliveries.flatMap(({ partition, from, to, attempt }) =>
    Array.from({ length: to - from }, (_, i) => `${partition}:${from + i} #${attempt}`),
  )
}

/** The texts that FakeConsumer writes for offsets [from, to). */
export function messages(partition: number, from: number, to: number, attempt = 1): string[] {
  return Array.from({ length: to - from }, (_, i) => `${partition}:${from + i} #${attempt}`)
}

function valueText(batch: RecordBatch, offset: number): string {
  const { bytes } = batch
  const at = batch.positionOf(offset)
  return bytes.subarray(recordValueAt(bytes, at), recordEnd(bytes, at, bytes.length)).toString()
}
