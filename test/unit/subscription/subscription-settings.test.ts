import { LIMITS, SUBSCRIPTION_DEFAULTS, type SubscriptionSettings, TidingsError } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkPosition, mergeSubscriptionSettings } from '../../../src/subscription/subscription-settings.ts'

function refusal(patch: unknown, current: SubscriptionSettings | null = null): string {
  try {
    mergeSubscriptionSettings(current, patch)
  } catch (error) {
    if (TidingsError.is(error)) return `${error.code} ${error.message}`
    throw error
  }
  return 'accepted'
}

describe('subscription settings', () => {
  it('are the defaults when nothing is said', () => {
    expect(mergeSubscriptionSettings(null, {})).toEqual(SUBSCRIPTION_DEFAULTS)
    expect(mergeSubscriptionSettings(null, undefined)).toEqual(SUBSCRIPTION_DEFAULTS)
  })

  it('accept the defaults when they are spelled out, nulls included', () => {
    expect(mergeSubscriptionSettings(null, JSON.parse(JSON.stringify(SUBSCRIPTION_DEFAULTS)))).toEqual(
      SUBSCRIPTION_DEFAULTS,
    )
  })

  it('take what the patch says and keep what it leaves out', () => {
    const first = mergeSubscriptionSettings(null, { type: 'exclusive', start: 'earliest', ackDeadlineMs: 5 })
    expect(first).toEqual({ ...SUBSCRIPTION_DEFAULTS, type: 'exclusive', start: 'earliest', ackDeadlineMs: 5 })
    expect(mergeSubscriptionSettings(first, { maxUnacked: 7 })).toEqual({ ...first, maxUnacked: 7 })
  })

  it('merge the backoff key by key, and refuse a range that is upside down', () => {
    const first = mergeSubscriptionSettings(null, { backoff: { minMs: 10 } })
    expect(first.backoff).toEqual({ minMs: 10, maxMs: 60_000 })
    expect(mergeSubscriptionSettings(first, { backoff: { maxMs: 10 } }).backoff).toEqual({ minMs: 10, maxMs: 10 })
    expect(refusal({ backoff: { maxMs: 9 } }, first)).toMatch(
      /^invalid_argument backoff: minMs 10 is more than maxMs 9/,
    )
    expect(mergeSubscriptionSettings(null, { backoff: { minMs: 0, maxMs: 0 } }).backoff).toEqual({ minMs: 0, maxMs: 0 })
    expect(mergeSubscriptionSettings(null, {}).backoff).not.toBe(SUBSCRIPTION_DEFAULTS.backoff)
  })

  it.each([
    ['ackDeadlineMs', 1, LIMITS.delayMs],
    ['maxUnacked', 1, LIMITS.maxUnacked],
  ])('take whole numbers for %s from %d to %d and name the range otherwise', (key, least, most) => {
    expect(mergeSubscriptionSettings(null, { [key]: least })).toMatchObject({ [key]: least })
    expect(mergeSubscriptionSettings(null, { [key]: most })).toMatchObject({ [key]: most })
    for (const value of [least - 1, most + 1, 1.5, Number.NaN, -1, '1', null, [1]]) {
      expect(refusal({ [key]: value })).toContain(
        `invalid_argument ${key}: expected a whole number from ${least} to ${most}`,
      )
    }
  })

  it.each([
    ['null', 'subscription settings: expected a JSON object, got null'],
    ['[{}]', 'subscription settings: expected a JSON object'],
    ['{"ackDeadline":5}', 'unknown key "ackDeadline"; known are type, start, ackDeadlineMs'],
    ['{"__proto__":{"type":"exclusive"}}', 'unknown key "__proto__"'],
    ['{"type":"Shared"}', 'type: expected "shared" or "exclusive" or "failover" or "key_shared", got "Shared"'],
    ['{"type":null}', 'type: expected'],
    ['{"start":null}', 'start: expected "latest", "earliest"'],
    ['{"start":"newest"}', 'start: expected "latest", "earliest"'],
    ['{"start":5}', 'start: expected'],
    ['{"start":[]}', 'start: expected'],
    ['{"start":{}}', 'start: expected'],
    ['{"start":{"timestamp":"2026-01-01T00:00:00Z","offsets":{"0":1}}}', 'start: expected'],
    ['{"start":{"time":"2026-01-01T00:00:00Z"}}', 'start: unknown key "time"'],
    ['{"start":{"timestamp":1767225600000}}', 'start.timestamp: expected an RFC 3339 time'],
    ['{"start":{"timestamp":"yesterday"}}', 'start.timestamp: expected an RFC 3339 time'],
    ['{"start":{"timestamp":"2026-01-01"}}', 'start.timestamp: expected an RFC 3339 time'],
    ['{"start":{"timestamp":"2026-02-30T00:00:00Z"}}', 'start.timestamp: expected an RFC 3339 time'],
    ['{"start":{"timestamp":"2026-02-03T24:00:00Z"}}', 'start.timestamp: expected an RFC 3339 time'],
    ['{"start":{"offsets":{}}}', 'start.offsets: expected the offset of at least one partition'],
    ['{"start":{"offsets":[5]}}', 'start.offsets: expected an object'],
    ['{"start":{"offsets":{"00":1}}}', 'start.offsets: expected partition numbers from 0 to 1023 as keys'],
    ['{"start":{"offsets":{"1024":1}}}', 'start.offsets: expected partition numbers'],
    ['{"start":{"offsets":{"-1":1}}}', 'start.offsets: expected partition numbers'],
    ['{"start":{"offsets":{"__proto__":1}}}', 'start.offsets: expected partition numbers'],
    ['{"start":{"offsets":{"0":-1}}}', 'start.offsets.0: expected a whole number from 0'],
    ['{"start":{"offsets":{"0":1.5}}}', 'start.offsets.0: expected a whole number from 0'],
    ['{"backoff":null}', 'backoff: expected a JSON object'],
    ['{"backoff":{"minMs":-1}}', 'backoff.minMs: expected a whole number from 0'],
    ['{"backoff":{"min":1}}', 'backoff: unknown key "min"'],
    ['{"expireAfterMs":0}', 'expireAfterMs: expected a whole number from 1'],
    ['{"dispatch":"random"}', 'dispatch: expected "least_outstanding" or'],
  ])('refuse %s', (json, detail) => {
    expect(refusal(JSON.parse(json))).toMatch(/^invalid_argument /)
    expect(refusal(JSON.parse(json))).toContain(detail)
  })
})

describe('the type and the start of a subscription that exists', () => {
  const settingsFrom = (start: unknown) => mergeSubscriptionSettings(null, { start })

  it('stay as they are under a patch that repeats them', () => {
    const forms = ['latest', 'earliest', { timestamp: '2026-01-01T00:00:00Z' }, { offsets: { '0': 12, '3': 0 } }]
    for (const start of forms) {
      const current = settingsFrom(start)
      expect(mergeSubscriptionSettings(current, { start, type: 'shared' })).toEqual(current)
    }
  })

  it('count a start as equal when it means the same', () => {
    const byTime = settingsFrom({ timestamp: '2026-01-01T00:00:00Z' })
    const same = { start: { timestamp: '2026-01-01T01:00:00.000+01:00' } }
    expect(mergeSubscriptionSettings(byTime, same)).toEqual(byTime)
    const byOffsets = settingsFrom({ offsets: { '0': 1, '1': 2 } })
    expect(mergeSubscriptionSettings(byOffsets, { start: { offsets: { '1': 2, '0': 1 } } })).toEqual(byOffsets)
  })

  it('are a conflict when they differ, with the way that leads on', () => {
    const current = settingsFrom('latest')
    expect(refusal({ type: 'exclusive' }, current)).toMatch(/^conflict type: the subscription is "shared"/)
    expect(refusal({ start: 'earliest' }, current)).toMatch(/^conflict start: .*seek/)
    const byTime = settingsFrom({ timestamp: '2026-01-01T00:00:00Z' })
    const byOffsets = settingsFrom({ offsets: { '0': 1 } })
    expect(refusal({ start: { timestamp: '2026-01-01T00:00:01Z' } }, byTime)).toMatch(/^conflict start/)
    expect(refusal({ start: byOffsets.start }, byTime)).toMatch(/^conflict start/)
    expect(refusal({ start: byTime.start }, byOffsets)).toMatch(/^conflict start/)
    expect(refusal({ start: { offsets: { '0': 2 } } }, byOffsets)).toMatch(/^conflict start/)
    expect(refusal({ start: { offsets: { '0': 1, '1': 1 } } }, byOffsets)).toMatch(/^conflict start/)
    expect(refusal({ start: { offsets: { '1': 1 } } }, byOffsets)).toMatch(/^conflict start/)
  })

  it('are checked for form before they are compared', () => {
    expect(refusal({ start: 'sometime' }, settingsFrom('latest'))).toMatch(/^invalid_argument start/)
  })
})

describe('a position to seek to', () => {
  it('is checked under the name that the request gives it', () => {
    expect(checkPosition('to', { offsets: { '2': 5 } })).toEqual({ offsets: { '2': 5 } })
    expect(() => checkPosition('to', undefined)).toThrow(/^to: expected "latest", "earliest"/)
  })
})

const near = fc.dictionary(
  fc.constantFrom(...Object.keys(SUBSCRIPTION_DEFAULTS), '__proto__', 'other'),
  fc.oneof(
    fc.jsonValue(),
    fc.integer({ min: -5, max: 5000 }),
    fc.constantFrom('shared', 'exclusive', 'latest', 'earliest', 'least_outstanding', null),
    fc.record({ minMs: fc.integer({ min: 0, max: 400 }) }),
    fc.record({
      timestamp: fc.oneof(
        fc.date({ min: new Date(0), noInvalidDate: true }).map((date) => date.toISOString()),
        fc.string(),
      ),
    }),
    fc.record({
      offsets: fc.dictionary(fc.oneof(fc.nat(2000).map(String), fc.string()), fc.oneof(fc.nat(), fc.jsonValue())),
    }),
  ),
)

describe('merging subscription settings', () => {
  it('gives complete settings that are accepted again, or a TidingsError, for whatever comes', () => {
    let accepted = 0
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.anything(), near), near, (first, second) => {
        let current: SubscriptionSettings | null = null
        for (const patch of [first, second, second]) {
          let merged: SubscriptionSettings
          try {
            merged = mergeSubscriptionSettings(current, patch)
          } catch (error) {
            expect(TidingsError.is(error) ? error.code : error).toMatch(/^(invalid_argument|conflict)$/)
            continue
          }
          accepted++
          expect(Object.keys(merged)).toEqual(Object.keys(SUBSCRIPTION_DEFAULTS))
          expect(mergeSubscriptionSettings(null, JSON.parse(JSON.stringify(merged)))).toEqual(merged)
          expect(mergeSubscriptionSettings(merged, patch)).toEqual(merged)
          current = merged
        }
      }),
      { numRuns: 2000 },
    )
    expect(accepted).toBeGreaterThan(20)
    expect(Object.keys(Object.prototype)).toEqual([])
  })
})
