import { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { Outbox, type Pending } from '../../../sdk/src/outbox.ts'
import type { PublishError } from '../../../sdk/src/publish-error.ts'

const LIMITS = { bufferBytes: 1000, batchCount: 8, batchBytes: 100 }
const overloaded = new TidingsError('overloaded', 'later')
const bad = new TidingsError('invalid_argument', 'no')

class Rig {
  readonly outbox: Outbox
  readonly outcomes = new Map<string, string>()

  constructor(limits: Partial<typeof LIMITS> = {}) {
    this.outbox = new Outbox({ ...LIMITS, ...limits })
  }

  add(text: string, deadline = 1000, bytes = 10): Pending {
    const settle = (error: PublishError | null): void => {
      expect(this.outcomes.has(text)).toBe(false)
      this.outcomes.set(text, error ? `${error.code} ${error.outcome}` : 'stored')
    }
    const state = { isSettled: false, isFlying: false, isInDoubt: false, lastError: null }
    const entry: Pending = { text, bytes, idempotencyKey: text, deadline, settle, ...state }
    this.outbox.add(entry)
    return entry
  }

  take(): string {
    return this.outbox
      .take()
      .map(({ text }) => text)
      .join('')
  }

  stored(count: number): void {
    this.outbox.stored(Array.from({ length: count }, () => ({ topic: 't', partition: 0, offset: 0, id: '0:0' })))
  }
}

describe('an outbox', () => {
  it('gives what gathered while a batch is under way as the next one', () => {
    const rig = new Rig()
    rig.add('a')
    expect(rig.take()).toBe('a')
    rig.add('b')
    rig.add('c')
    expect(rig.take()).toBe('')
    rig.stored(1)
    expect(rig.take()).toBe('bc')
    rig.stored(2)
    expect([rig.take(), rig.outbox.isEmpty, rig.outbox.heldBytes]).toEqual(['', true, 0])
  })

  it('bounds a batch by count and by bytes, and lets one that is larger alone go alone', () => {
    const rig = new Rig({ batchCount: 3 })
    for (const text of 'abcd') rig.add(text)
    expect(rig.take()).toBe('abc')
    rig.stored(3)
    rig.add('E', 1000, 500)
    rig.add('f')
    expect(rig.take()).toBe('d')
    rig.stored(1)
    expect(rig.take()).toBe('E')
    rig.stored(1)
    expect(rig.take()).toBe('f')
  })

  it('sends a batch that failed again before anything else, in the same order', () => {
    const rig = new Rig({ batchCount: 2 })
    for (const text of 'abc') rig.add(text)
    expect(rig.take()).toBe('ab')
    rig.outbox.again(overloaded, false)
    expect(rig.take()).toBe('ab')
  })

  it('finds the one entry that is refused and stores its neighbours in order', () => {
    for (const culprit of 'abcdefgh') {
      const rig = new Rig()
      for (const text of 'abcdefgh') rig.add(text)
      let stored = ''
      let requests = 0
      for (let batch = rig.take(); batch !== ''; batch = rig.take()) {
        requests++
        if (batch.includes(culprit)) rig.outbox.refused(bad, false)
        else {
          stored += batch
          rig.stored(batch.length)
        }
      }
      expect(stored).toBe('abcdefgh'.replace(culprit, ''))
      expect(rig.outcomes.get(culprit)).toBe('invalid_argument not_stored')
      expect(requests).toBeLessThanOrEqual(9)
    }
  })

  it('needs about a request an entry when all of them are bad', () => {
    const rig = new Rig({ batchCount: 64, batchBytes: 1e6 })
    for (let i = 0; i < 64; i++) rig.add(`${i} `)
    let requests = 0
    while (rig.take() !== '') {
      requests++
      rig.outbox.refused(bad, false)
    }
    expect(requests).toBe(64 + 6)
    expect([...rig.outcomes.values()].every((outcome) => outcome === 'invalid_argument not_stored')).toBe(true)
  })

  it('fails a whole batch for what all of them would meet', () => {
    const rig = new Rig()
    for (const text of 'abc') rig.add(text)
    rig.take()
    rig.outbox.refused(new TidingsError('permission_denied', 'no'), true)
    expect([...rig.outcomes.values()]).toEqual(Array(3).fill('permission_denied not_stored'))
  })

  it('says of what is too late whether it may be stored', () => {
    const rig = new Rig({ batchCount: 1 })
    rig.add('flying', 50)
    rig.add('queued', 50)
    rig.add('later', 90)
    rig.take()
    rig.outbox.expire(50)
    expect(rig.outcomes).toEqual(
      new Map([
        ['flying', 'outcome_unknown unknown'],
        ['queued', 'unavailable not_stored'],
      ]),
    )
    expect(rig.outbox.dueAt).toBe(90)
    rig.outbox.again(overloaded, false)
    expect(rig.take()).toBe('later')
  })

  it('tells the refusal that it met last, and keeps a doubt once there was one', () => {
    const rig = new Rig()
    rig.add('refused', 50)
    rig.take()
    rig.outbox.again(overloaded, false)
    rig.outbox.expire(50)
    rig.add('doubtful', 99)
    rig.take()
    rig.outbox.again(new TidingsError('outcome_unknown', '?'), true)
    rig.take()
    rig.outbox.again(overloaded, false)
    rig.outbox.expire(99)
    expect([...rig.outcomes.values()]).toEqual(['overloaded not_stored', 'outcome_unknown unknown'])
  })

  it('takes an entry back while it is not sent', () => {
    const rig = new Rig()
    const entries = ['a', 'b', 'c'].map((text) => rig.add(text))
    rig.outbox.abort(entries[1]!, undefined)
    expect(rig.take()).toBe('ac')
    rig.outbox.abort(entries[0]!, undefined)
    rig.stored(2)
    expect([...rig.outcomes]).toEqual([
      ['b', 'aborted not_stored'],
      ['a', 'outcome_unknown unknown'],
      ['c', 'stored'],
    ])
  })

  it('has room up to its bytes, and for anything when it is empty', () => {
    const rig = new Rig({ bufferBytes: 25 })
    expect(rig.outbox.hasRoom(5000)).toBe(true)
    rig.add('a')
    expect([rig.outbox.hasRoom(15), rig.outbox.hasRoom(16)]).toEqual([true, false])
  })
})
