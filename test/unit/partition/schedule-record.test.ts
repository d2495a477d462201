import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isBrokerKey, scheduledIdOf, scheduledKey } from '../../../src/partition/broker-key.ts'
import { decodeScheduleRecord, encodeDone, encodeKey, encodeScheduled } from '../../../src/partition/schedule-record.ts'

const offset = fc.maxSafeNat().map((n) => Math.min(n, Number.MAX_SAFE_INTEGER - 1))
const time = fc.maxSafeNat()
const bytes = fc.uint8Array({ maxLength: 40 })
const key = fc.uint8Array({ minLength: 1, maxLength: 255 })

const message = fc.record({
  key: fc.option(bytes),
  value: bytes,
  contentType: fc.constantFrom('application/json', 'image/png'),
  headers: fc.array(fc.tuple(fc.constantFrom('a', 'region'), fc.string({ maxLength: 5 })), { maxLength: 3 }),
  idempotencyKey: fc.option(key),
  valueChecked: fc.boolean(),
})
const scheduled = fc.record({
  id: fc.option(offset),
  deliverAt: time,
  scheduledAt: time,
  partition: fc.option(fc.nat(1023)),
  ttlMs: fc.option(fc.integer({ min: 1, max: 1e12 })),
  message,
})

/** What is equal but for the kind of array. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, part) => (part instanceof Uint8Array ? [...part] : part)))
}

describe('the records of a schedule log', () => {
  it('read back what was written', () => {
    fc.assert(
      fc.property(scheduled, (record) => {
        // A header text with half a surrogate pair has no UTF-8; requests with one are refused.
        fc.pre(record.message.headers.every(([, text]) => Buffer.from(text).toString() === text))
        expect(plain(decodeScheduleRecord(encodeScheduled(record), 0))).toEqual(plain({ kind: 'scheduled', ...record }))
      }),
    )
    fc.assert(
      fc.property(offset, fc.constantFrom('fired' as const, 'cancelled' as const), (id, outcome) => {
        expect(decodeScheduleRecord(encodeDone(id, outcome), 0)).toEqual({ kind: 'done', outcome, id })
      }),
    )
    fc.assert(
      fc.property(offset, time, time, key, (id, deliverAt, scheduledAt, idempotencyKey) => {
        const record = decodeScheduleRecord(encodeKey(id, deliverAt, scheduledAt, idempotencyKey), 0)
        expect(plain(record)).toEqual(plain({ kind: 'key', id, deliverAt, scheduledAt, idempotencyKey }))
      }),
    )
  })

  it('are taken for nothing else when they are damaged', () => {
    fc.assert(
      fc.property(scheduled, fc.nat(), (record, cut) => {
        const whole = encodeScheduled(record)
        const length = 12 + (cut % (whole.length - 12))
        const damaged = whole.slice(0, length)
        new DataView(damaged.buffer).setUint32(0, length - 4)
        expect(decodeScheduleRecord(damaged, 0)).toBeNull()
      }),
    )
  })
})

describe('a key of the broker', () => {
  it('is no key that a client can send, and carries the id', () => {
    fc.assert(
      fc.property(offset, fc.string({ minLength: 1 }), (id, text) => {
        expect(scheduledIdOf(scheduledKey(id))).toBe(id)
        expect(isBrokerKey(scheduledKey(id))).toBe(true)
        expect(isBrokerKey(Buffer.from(text))).toBe(false)
        expect(scheduledIdOf(Buffer.from(text))).toBeNull()
      }),
    )
  })
})
