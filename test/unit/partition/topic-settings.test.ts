import { LIMITS, TidingsError, TOPIC_DEFAULTS, type TopicSettings } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { acceptTopicSettings, mergeTopicSettings } from '../../../src/partition/topic-settings.ts'

function refusal(patch: unknown, current: TopicSettings | null = null): string {
  try {
    mergeTopicSettings(current, patch)
  } catch (error) {
    if (TidingsError.is(error)) return `${error.code} ${error.message}`
    throw error
  }
  return 'accepted'
}

/** As a request's body arrives: what JSON makes of the text, `__proto__` as a key of its own included. */
const parsed = (json: string): unknown => JSON.parse(json)

describe('topic settings', () => {
  it('are the defaults when nothing is said', () => {
    expect(mergeTopicSettings(null, {})).toEqual(TOPIC_DEFAULTS)
    expect(mergeTopicSettings(null, undefined)).toEqual(TOPIC_DEFAULTS)
  })

  it('take what the patch says and keep what it leaves out', () => {
    const first = mergeTopicSettings(null, { partitions: 4, maxMessageBytes: 2048, durability: 'buffered' })
    expect(first).toEqual({ ...TOPIC_DEFAULTS, partitions: 4, maxMessageBytes: 2048, durability: 'buffered' })
    expect(mergeTopicSettings(first, { segmentBytes: 4096 })).toEqual({ ...first, segmentBytes: 4096 })
    expect(mergeTopicSettings(first, { partitions: undefined })).toEqual(first)
  })

  it('merge retention key by key, with null taking a bound away', () => {
    const first = mergeTopicSettings(null, { retention: { maxAgeMs: 60_000, maxBytes: 1 } })
    const second = mergeTopicSettings(first, { retention: { maxBytes: 5000 } })
    expect(second.retention).toEqual({ maxAgeMs: 60_000, maxBytes: 5000, untilAcked: false })
    const third = mergeTopicSettings(second, { retention: { maxAgeMs: null } })
    expect(third.retention).toEqual({ maxAgeMs: null, maxBytes: 5000, untilAcked: false })
  })

  it('are fresh objects that share nothing with the defaults, the present ones or the patch', () => {
    const patch = { retention: { maxBytes: 5 } }
    const first = mergeTopicSettings(null, {})
    const second = mergeTopicSettings(first, patch)
    expect(first.retention).not.toBe(TOPIC_DEFAULTS.retention)
    expect(second.retention).not.toBe(patch.retention)
    expect(mergeTopicSettings(first, {}).retention).not.toBe(first.retention)
  })

  it('let partitions grow, and refuse to shrink them with a conflict', () => {
    const four = mergeTopicSettings(null, { partitions: 4 })
    expect(mergeTopicSettings(four, { partitions: 5 }).partitions).toBe(5)
    expect(refusal({ partitions: 3 }, four)).toMatch(/^conflict partitions: the topic has 4/)
    expect(refusal({ partitions: 0 }, four)).toMatch(/^invalid_argument partitions/)
  })

  it.each([
    ['partitions', 1, LIMITS.partitions],
    ['maxMessageBytes', 1, LIMITS.messageBytesCeiling],
    ['deduplicationWindowMs', 0, LIMITS.delayMs],
    ['segmentBytes', 4096, LIMITS.segmentBytesCeiling],
  ])('take whole numbers for %s from %d to %d and name the range otherwise', (key, least, most) => {
    expect(mergeTopicSettings(null, { [key]: least })).toMatchObject({ [key]: least })
    expect(mergeTopicSettings(null, { [key]: most })).toMatchObject({ [key]: most })
    const bad = [
      least - 1,
      most + 1,
      least + 0.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      1e300,
      `${least}`,
      null,
      true,
      [least],
      {},
    ]
    for (const value of bad) {
      expect(refusal({ [key]: value })).toContain(
        `invalid_argument ${key}: expected a whole number from ${least} to ${most}`,
      )
    }
  })

  it.each([
    [null, 'topic settings: expected a JSON object, got null'],
    ['[]', 'topic settings: expected a JSON object, got []'],
    ['"text"', 'topic settings: expected a JSON object'],
    ['{"partitons":3}', 'unknown key "partitons"; known are partitions,'],
    ['{"__proto__":{"partitions":3}}', 'unknown key "__proto__"'],
    ['{"constructor":{}}', 'unknown key "constructor"'],
    ['{"retention":null}', 'retention: expected a JSON object, got null'],
    ['{"retention":{"maxAge":5}}', 'retention: unknown key "maxAge"'],
    ['{"retention":{"__proto__":{}}}', 'retention: unknown key "__proto__"'],
    ['{"retention":{"maxBytes":0}}', 'retention.maxBytes: expected a whole number from 1 to'],
    ['{"retention":{"maxAgeMs":"1h"}}', 'retention.maxAgeMs: expected a whole number'],
    ['{"retention":{"untilAcked":"yes"}}', 'retention.untilAcked: expected true or false, got "yes"'],
    ['{"durability":"none"}', 'durability: expected "fsync" or "buffered", got "none"'],
    ['{"durability":null}', 'durability: expected'],
    ['{"partitions":1e400}', 'partitions: expected a whole number from 1 to 1024, got Infinity'],
    ['{"minInSyncReplicas":2}', 'minInSyncReplicas: 2 is more than replicationFactor 1'],
    ['{"replicationFactor":16}', 'replicationFactor: expected a whole number from 1 to 15'],
  ])('refuse %s', (json, detail) => {
    expect(refusal(json === null ? null : parsed(json))).toMatch(/^invalid_argument /)
    expect(refusal(json === null ? null : parsed(json))).toContain(detail)
  })

  it('refuse with a reason more copies than a broker alone has, and read them where a cluster has stored them', () => {
    const refused = {
      code: 'invalid_argument',
      message: expect.stringMatching(/^replicationFactor: one broker alone holds one copy/),
    }
    for (const patch of [{ replicationFactor: 3 }, { replicationFactor: 3, minInSyncReplicas: 2 }]) {
      expect(() => acceptTopicSettings(null, patch)).toThrow(expect.objectContaining(refused))
      expect(mergeTopicSettings(null, patch)).toMatchObject(patch)
    }
    expect(mergeTopicSettings(null, { replicationFactor: 1, retention: { untilAcked: false } })).toEqual(TOPIC_DEFAULTS)
  })

  it('cut what they show of a bad value short', () => {
    expect(refusal({ durability: 'x'.repeat(100_000) }).length).toBeLessThan(200)
  })
})

const integer = (least: number, most: number) => fc.option(fc.integer({ min: least, max: most }), { nil: undefined })
const bound = fc.option(fc.oneof(fc.constant(null), fc.integer({ min: 1 })), { nil: undefined })
const goodPatch = fc.record({
  partitions: integer(1, LIMITS.partitions),
  maxMessageBytes: integer(1, LIMITS.messageBytesCeiling),
  deduplicationWindowMs: integer(0, LIMITS.delayMs),
  segmentBytes: integer(4096, LIMITS.segmentBytesCeiling),
  durability: fc.constantFrom('fsync', 'buffered', undefined),
  retention: fc.option(fc.record({ maxAgeMs: bound, maxBytes: bound }), { nil: undefined }),
})
/** Objects with the right keys and any values: closer to the truth than any JSON. */
const nearPatch = fc.dictionary(
  fc.constantFrom(...Object.keys(TOPIC_DEFAULTS), '__proto__', 'other'),
  fc.oneof(fc.jsonValue(), fc.integer({ min: -5, max: 5000 }), fc.double(), fc.record({ maxBytes: fc.jsonValue() })),
)

describe('merging topic settings', () => {
  it('changes nothing when the same patch comes again', () => {
    fc.assert(
      fc.property(goodPatch, goodPatch, (first, second) => {
        const base = mergeTopicSettings(null, { ...first, partitions: 1 })
        const once = mergeTopicSettings(base, second)
        expect(mergeTopicSettings(once, second)).toEqual(once)
        expect(mergeTopicSettings(once, once)).toEqual(once)
        expect(mergeTopicSettings(null, JSON.parse(JSON.stringify(once)))).toEqual(once)
      }),
    )
  })

  it('gives complete settings that are accepted again, or a TidingsError, for whatever comes', () => {
    let accepted = 0
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.anything(), nearPatch), fc.boolean(), (patch, exists) => {
        const current = exists ? mergeTopicSettings(null, { partitions: 3 }) : null
        const before = JSON.stringify(patch)
        let merged: TopicSettings
        try {
          merged = mergeTopicSettings(current, patch)
        } catch (error) {
          expect(TidingsError.is(error) ? error.code : error).toMatch(/^(invalid_argument|conflict)$/)
          return
        }
        accepted++
        expect(Object.keys(merged)).toEqual(Object.keys(TOPIC_DEFAULTS))
        expect(Object.keys(merged.retention)).toEqual(Object.keys(TOPIC_DEFAULTS.retention))
        expect(mergeTopicSettings(null, JSON.parse(JSON.stringify(merged)))).toEqual(merged)
        expect(JSON.stringify(patch)).toBe(before)
      }),
      { numRuns: 2000 },
    )
    expect(accepted).toBeGreaterThan(20)
    expect(Object.keys(Object.prototype)).toEqual([])
  })
})
