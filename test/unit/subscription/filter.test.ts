import { type TidingsError, valueKind } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PublishInput } from '../../../src/partition/topic.ts'
import { compileFilter, VALUE_BYTES_MAX, VALUE_PARTS_MAX } from '../../../src/subscription/filter.ts'
import { FILTER_STEPS } from '../../../src/subscription/filter-meter.ts'
import { batchOf } from '../../support/batch-of.ts'

const ORDER = {
  total: 100,
  huge: 1e300,
  exact: Number('9007199254740993'),
  count: 5,
  list: [1, 2, 3],
  nothing: null,
  items: [
    { sku: 'a', n: 1 },
    { sku: 'b', n: 2 },
  ],
  name: 'Héllo',
  placed: '2025-12-31T23:00:00Z',
}

function record(value: unknown, more: Partial<PublishInput> = {}) {
  return batchOf({ value: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), ...more }, 7)
}

const order = record(ORDER, {
  key: Buffer.from('customer-1'),
  headers: [
    ['region', 'eu'],
    ['tidings-x', ''],
  ],
})

function admits(source: string, batch = order): boolean {
  return compileFilter(source).admits('orders.eu', batch, 7)
}

describe('a filter', () => {
  it.each([
    'value.total == 100',
    'value.total >= 100 && value.total < 100.5',
    'headers.region == "eu" && value.total > 99',
    'headers["region"] in ["eu", "us"]',
    '"region" in headers && !("absent" in headers)',
    'has(headers.region) && !has(headers.absent)',
    'headers.all(name, name.size() > 0)',
    'key == "customer-1" && key.startsWith("customer-")',
    'key != null',
    'topic == "orders.eu"',
    'contentType == "application/json"',
    'timestamp == timestamp("2026-01-01T00:00:00Z")',
    'timestamp > timestamp(value.placed) && timestamp - timestamp(value.placed) == duration("1h")',
    'timestamp.getFullYear() == 2026',
    'value.huge > 1e299',
    'value.exact == 9007199254740992',
    '2 in value.list && !(7 in value.list)',
    'value.list == [1, 2, 3] && value.list != [1, 2]',
    'value.list[1] == 2 && value.list.size() == 3',
    'value.list.all(n, n > 0) && value.list.exists_one(n, n == 2)',
    'value.list.map(n, n * 2) == [2, 4, 6] && value.list.filter(n, n > 1).size() == 2',
    'value.items.exists(item, item.sku == "b" && item.n == 2)',
    'value.items.map(item, item.n > 1, item.sku) == ["b"]',
    'has(value.nothing) && value.nothing == null && "nothing" in value',
    '!has(value.absent)',
    'value.count + 1 == 6 && value.count * 2 > 9 && value.count % 2 == 1 && value.count / 2 == 2.5',
    'int(value.count) % 2 == 1',
    'size(value.name) == 5 && value.name.contains("llo") && value.name.endsWith("lo")',
    'value.name.matches("^H.l+o$") && !value.name.matches("x")',
    'type(value.count) == double && type(value.name) == string',
    'value.count == 5 ? true : false',
    'value.absent == 1 || value.count == 5',
    'value.items == [{"sku": "a", "n": 1}, {"n": 2, "sku": "b"}]',
  ])('admits what it says: %s', (source) => {
    expect(admits(source)).toBe(true)
  })

  it.each([
    ['value.total > 100', 'false'],
    ['value.absent == 1', 'a missing field'],
    ['value.count', 'a number'],
    ['value.name > 5', 'a comparison of a text with a number'],
    ['value.list[7] == 1', 'an index past the end'],
    ['value.constructor == null', 'what only an object of the language has'],
    ['value.name.matches("^x")', 'false'],
    ['value.count / 0 > value.absent', 'an error on the way'],
  ])('does not admit %s: %s', (source) => {
    expect(admits(source)).toBe(false)
  })

  it.each([
    ['text', 'true', 'text/plain'],
    ['broken JSON', '{"total":', 'application/json'],
    ['bytes that claim to be JSON', '\xff\xfe', 'application/json'],
  ])(
    'finds no value in %s, so that an expression that reads it does not admit, and others do',
    (_, text, contentType) => {
      const batch = batchOf({ value: Buffer.from(text, 'latin1'), contentType }, 7)
      expect(admits('value == true', batch)).toBe(false)
      expect(admits('!has(value.total)', batch)).toBe(false)
      expect(admits('value != 1', batch)).toBe(false)
      expect(admits('value == 1 || topic == "orders.eu"', batch)).toBe(true)
      expect(admits('key == null', batch)).toBe(true)
    },
  )

  it('sees a null where there is no key', () => {
    expect(admits('key == null', record({}))).toBe(true)
    expect(admits('key.startsWith("")', record({}))).toBe(false)
  })

  it.each(['5', '"text"', 'null', 'true', '[1]'])('takes any JSON as a value: %s', (text) => {
    expect(admits(`value == ${text}`, record(text))).toBe(true)
  })

  it('reads a value up to its bounds', () => {
    const long = (length: number): string => JSON.stringify({ text: 'x'.repeat(length - 11) })
    expect(admits('has(value.text)', record(long(VALUE_BYTES_MAX)))).toBe(true)
    expect(admits('has(value.text)', record(long(VALUE_BYTES_MAX + 1)))).toBe(false)
    const many = (count: number): string => JSON.stringify(Array.from({ length: count }, () => 7))
    expect(admits('value[0] == 7', record(many(VALUE_PARTS_MAX + 1)))).toBe(true)
    expect(admits('value[0] == 7', record(many(VALUE_PARTS_MAX + 2)))).toBe(false)
    // As deep as that there are no commas.
    const deep = (count: number): string => `{"a":7,"b":${'['.repeat(count)}${']'.repeat(count)}}`
    expect(admits('value.a == 7', record(deep(VALUE_PARTS_MAX)))).toBe(true)
    expect(admits('value.a == 7', record(deep(VALUE_PARTS_MAX + 1)))).toBe(false)
    const members = (count: number): string => `${'{"a":'.repeat(count)}7${'}'.repeat(count)}`
    expect(admits('has(value.a)', record(members(VALUE_PARTS_MAX)))).toBe(true)
    expect(admits('has(value.a)', record(members(VALUE_PARTS_MAX + 1)))).toBe(false)
  })

  it('judges each record by itself', () => {
    const filter = compileFilter('value.n > 1 && headers.h == "a"')
    const verdicts = [1, 2, 1, 3].map((n) => filter.admits('t', record({ n }, { headers: [['h', 'a']] }), 7))
    expect(verdicts).toEqual([false, true, false, true])
    expect(filter.admits('t', record({ n: 3 }), 7)).toBe(false)
  })

  it('compares JSON numbers, texts, lists and objects as JSON does', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const isSame = JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))
        expect(admits('value.a == value.b', record({ a, b }))).toBe(isSame)
        expect(admits('value.a != value.b', record({ a, b }))).toBe(!isSame)
        expect(admits('value.a in value.list', record({ a, list: [b] }))).toBe(isSame)
        expect(admits('value.a == value.b', record({ a, b: structuredClone(a) }))).toBe(true)
      }),
    )
  })

  it('answers true or false, within its steps, for whatever record comes', () => {
    const filters = [
      'value.a.b[0] > 1',
      'value.all(x, x.size() > 0)',
      'headers.h == "1" || key.size() > 1',
      'value.map(x, x + x).size() > 3',
    ].map(compileFilter)
    fc.assert(
      fc.property(
        fc.uint8Array(),
        fc.string(),
        fc.constantFrom('application/json', 'text/plain', 'a/b'),
        (key, text, contentType) => {
          const batch = batchOf({ key, value: Buffer.from(text), contentType, headers: [['h', text.slice(0, 9)]] }, 7)
          for (const filter of filters) {
            expect(typeof filter.admits('t', batch, 7)).toBe('boolean')
            expect(filter.steps).toBeLessThan(FILTER_STEPS)
          }
          return valueKind(contentType) !== null
        },
      ),
    )
  })
})

/** The same JSON with its members in one order; -0 is 0, as it is written. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(sorted)
  return Object.fromEntries(
    Object.entries(value)
      .map(([k, v]) => [k, sorted(v)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}

describe('a filter that does not compile', () => {
  it.each([
    ['value.total >', 1, /no CEL/],
    ['', 1, /ends too early/],
    ['value.total > > 3', 1, /no CEL/],
    ['valeu.total > 3', 1, /there is no "valeu"; a filter can see key, headers/],
    ['value.total > 3 &&\n  foo', 2, /no "foo"/],
    ['value.items.exists(item, other.sku == "b")', 1, /no "other"/],
    ['lower(key) == "a"', 1, /no function "lower"/],
    ['value.name.foo()', 1, /no function "foo"/],
    ['key', 1, /it gives a key/],
    ['headers.region', 1, /it gives a text/],
    ['value.total + 1', 1, /something else than true or false/],
    ['size(value)', 1, /it gives an int/],
    ['"a" && true', 1, /a text stands where true or false is needed/],
    ['!topic', 1, /! does not take a text/],
    ['topic > 5', 1, /> does not take a text, an int/],
    ['timestamp > "2026-01-01T00:00:00Z"', 1, /does not take a timestamp, a text/],
    ['topic.size("x") == 1', 1, /size does not take/],
    ['headers.region.name == "x"', 1, /a text has no field "name"/],
    ['has(value)', 1, /has\(\) takes a field/],
    ['topic.all(c, true)', 1, /neither a list nor a map/],
    ['value.name.matches(key)', 1, /text in quotes/],
    ['value.name.matches("(")', 1, /pattern of matches\(\) is refused/],
    ['google.protobuf.Duration{seconds: 1} == duration("1s")', 1, /messages cannot be made/],
    ['true ? "a" : "b"', 1, /it gives a text/],
  ])('is refused with what is wrong and where: %s', (source, line, why) => {
    const error = refusal(source)
    expect(error.code).toBe('filter_invalid')
    expect(error.message).toMatch(why)
    expect(error.message).toMatch(new RegExp(`^filter, line ${line}, column \\d+: `))
  })

  it('names the column of what it refuses', () => {
    expect(refusal('value.total > 3 && foo').message).toMatch(/column 20: /)
  })

  it.each([
    ['deep', '('.repeat(2000) + 'true' + ')'.repeat(2000)],
    ['deep in lists', `${'['.repeat(1500)}1${']'.repeat(1500)} == 1`],
    ['deep in fields', `value${'.a'.repeat(1500)} == 1`],
    ['large', Array.from({ length: 500 }, () => 'topic == "a"').join('||')],
    ['a long pattern', `topic.matches("${'a?'.repeat(400)}")`],
    ['a pattern that counts far', 'topic.matches("(a{1,60}){1,60}")'],
  ])('is refused when it is too %s', (_, source) => {
    expect(refusal(source).code).toBe('filter_invalid')
  })
})

function refusal(source: string): TidingsError {
  try {
    compileFilter(source)
  } catch (error) {
    return error as TidingsError
  }
  throw new Error(`${source} was not refused`)
}

describe('a hostile filter', () => {
  const numbers = Array.from({ length: 40_000 }, (_, i) => i)
  const members = Object.fromEntries(numbers.slice(0, 5000).map((n) => [`k${n}`, n]))
  const large = record({ l: numbers, s: 'a'.repeat(100_000), d: '9'.repeat(50_000), o: members })
  const nested = record(`[${'['.repeat(20_000)}${']'.repeat(20_000)}, ${'['.repeat(20_000)}${']'.repeat(20_000)}]`)
  const digits = '[1,2,3,4,5,6,7,8,9,10]'

  it.each([
    'value.l.all(x, value.l.all(y, value.l.all(z, x + y + z >= 0)))',
    'value.l.all(x, value.l.exists(y, true))',
    'value.l.map(x, [x, x, x]).map(x, [x, x, x]).size() > 0',
    'value.l.map(x, value.s + value.s).size() > 0',
    'value.l.all(x, value.l == value.l.map(y, y))',
    'value.l.all(x, x in value.l)',
    'value.l.all(x, value.o[5] == 1 || true)',
    'value.o.all(k, value.o.exists(j, j == k && false) || true)',
    'value.l.all(x, size(value.s) > 0)',
    'value.l.all(x, value.s.contains("aaab") || true)',
    'value.l.all(x, value.s < value.s + "b")',
    'value.l.all(x, string(value.s) != "" && bytes(value.s) != b"")',
    'value.l.all(x, (value.l + value.l).size() > 0)',
    'value.l.all(x, timestamp.getHours("Europe/Berlin") >= 0)',
    'value.l.all(x, {1: x, 2: x, 3: x}.size() == 3)',
    'value.s.matches("(a+)+$")',
    'value.s.matches("(?:a?){10}(?:a){10}$")',
    `${['a', 'b', 'c', 'd', 'e', 'f'].map((v) => `${digits}.all(${v}, `).join('')}true${')'.repeat(6)}`,
  ])('runs out of steps and admits nothing: %s', (source) => {
    const filter = compileFilter(source)
    expect(filter.admits('t', large, 7)).toBe(false)
    expect(filter.steps).toBeGreaterThan(FILTER_STEPS)
  })

  it.each([
    'int(value.d) > 0',
    'double(value.d) > 0.0',
    'value.l == value.o',
    'value.o == value.o',
    'value[0] == value[1]',
    'value == value',
    'size(value) > 0',
  ])('costs no more than it is charged for: %s', (source) => {
    const filter = compileFilter(source)
    for (const batch of [large, nested]) {
      filter.admits('t', batch, 7)
      expect(filter.steps).toBeLessThan(2 * FILTER_STEPS)
    }
  })

  it('leaves the filter whole: the next record is judged as ever', () => {
    const filter = compileFilter('value.l.all(x, value.l.exists(y, x == y))')
    expect(filter.admits('t', large, 7)).toBe(false)
    expect(filter.admits('t', record({ l: [1, 2, 3] }), 7)).toBe(true)
  })
})
