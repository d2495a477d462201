import { beforeEach, describe, expect, it } from 'vitest'
import { type Published, TopicWitness } from '../../sim/topic-witness.ts'
import type { Witness } from '../../sim/witness.ts'

let topic: TopicWitness
let count = 0

function send(more: Partial<Published> = {}): Published {
  const fixed = { key: 'a', color: 'red', idempotencyKey: null, expires: false, deliverAt: null }
  return topic.attempt({ ...fixed, value: `v${count++}`, ...more })
}

beforeEach(() => {
  const witness = {
    note: () => undefined,
    counts: new Map(),
    violated: (...what: string[]) => new Error(what.join(' ')),
  }
  topic = new TopicWitness(witness as unknown as Witness, 'orders')
  topic.isCompacted = true
})

/** Whether the last of what was sent, stored at offset 5, may be gone. */
function mayBeGone(published: Published): boolean {
  topic.stored(published, 0, 5, false)
  return topic.mayBeSuperseded(published, 0, 5)
}

describe('the witness of a compacted topic', () => {
  it('takes a message for superseded that a later one of its key follows, or may follow', () => {
    const published = send()
    const other = send()
    expect(mayBeGone(published)).toBe(true)
    topic.stored(other, 0, 6, false)
    expect(topic.mayBeSuperseded(published, 0, 5)).toBe(true)
  })

  it('does not where the other was over before it was sent, or is of another key, or stands before it', () => {
    send()
    topic.crashed()
    const published = send()
    topic.stored(send(), 0, 2, false)
    send({ key: 'b' })
    send().outcome = 'refused'
    expect(mayBeGone(published)).toBe(false)
  })

  it('does where the other was under way at the crash that came after it, is sent again, or is yet to be due', () => {
    const other = send()
    topic.crashed()
    const published = send()
    expect(mayBeGone(published)).toBe(false)
    topic.sent(other)
    expect(topic.mayBeSuperseded(published, 0, 5)).toBe(true)
    topic.crashed()
    expect(topic.mayBeSuperseded(published, 0, 5)).toBe(true)
    topic.stored(other, 0, 1, true)
    expect(topic.mayBeSuperseded(published, 0, 5)).toBe(false)
    const later = send({ deliverAt: 9 })
    topic.crashed()
    const last = send()
    topic.stored(last, 0, 7, false)
    expect(topic.mayBeSuperseded(last, 0, 7)).toBe(true)
    topic.scheduled(later, 1, false)
    expect(topic.mayBeSuperseded(last, 0, 7)).toBe(true)
  })
})
