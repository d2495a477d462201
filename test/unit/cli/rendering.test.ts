import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bytesText, countText, durationText, parseBytes, parseDuration, rateText } from '../../../src/cli/amount.ts'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { commandHelp, overview } from '../../../src/cli/help.ts'
import { Latency } from '../../../src/cli/latency.ts'
import { messageJson, messageLine } from '../../../src/cli/message-text.ts'
import { printable } from '../../../src/cli/printable.ts'
import { progressLine } from '../../../src/cli/progress-bar.ts'
import { renderTable } from '../../../src/cli/table.ts'
import { rowsOf, type Sample, topText } from '../../../src/cli/top-view.ts'

describe('amounts', () => {
  it('reads durations and sizes with their units, and nothing else', () => {
    expect(['1', '500ms', '1.5s', '10m', '12h', '7d'].map(parseDuration)).toEqual([
      1, 500, 1500, 600_000, 43_200_000, 604_800_000,
    ])
    expect(['512', '64KiB', '1mib', '1.5GiB'].map(parseBytes)).toEqual([512, 65_536, 1_048_576, 1_610_612_736])
    for (const text of ['', '-1', '1e3', '5 s', '10x', 'm', '9999999999999d']) expect(parseDuration(text)).toBeNull()
    for (const text of ['', '1KB', '-1', '1 MiB']) expect(parseBytes(text)).toBeNull()
  })

  it('writes them for people', () => {
    expect([0, 999, 1000, 1_234_567].map(countText)).toEqual(['0', '999', '1,000', '1,234,567'])
    expect([0, 1023, 1024, 1_048_576, 200 * 1024].map(bytesText)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.0 MiB',
      '200 KiB',
    ])
    expect([0, 999, 1500, 90_000, 604_800_000].map(durationText)).toEqual(['0 ms', '999 ms', '1.5 s', '1.5 min', '7 d'])
    expect([0, 0.25, 12.7, 12_000].map(rateText)).toEqual(['0', '0.3', '13', '12,000'])
  })
})

describe('what others wrote', () => {
  it('reaches no terminal as a command', () => {
    expect(printable('a\u001b[31m\u0007\u009b\n\t\u202e')).toBe('a\\u001b[31m\\u0007\\u009b\\n\\t\\u202e')
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0x2100 })), (codes) => {
        expect(/\p{Cc}/u.test(printable(String.fromCharCode(...codes)))).toBe(false)
      }),
    )
  })

  it('is a line, and JSON that gives it back', () => {
    const message = {
      id: '0:1',
      topic: 'orders',
      partition: 0,
      offset: 1,
      key: 'a\u001bda',
      value: { text: 'two\nlines\u009b' },
      headers: { region: 'eu' },
      contentType: 'application/json',
      timestamp: '2026-05-01T12:00:00.000Z',
      attempt: 2,
    }
    expect(messageLine(message)).toBe(
      '0:1  2026-05-01T12:00:00.000Z  [a\\u001bda]  {"text":"two\\nlines\\u009b"}  region=eu  attempt 2\n',
    )
    expect(JSON.parse(messageJson(message))).toEqual(message)
    const { value: _, ...rest } = message
    expect(JSON.parse(messageJson({ ...message, value: Uint8Array.of(255, 0) }))).toEqual({ ...rest, base64: '/wA=' })
  })
})

describe('a table', () => {
  it('aligns its columns, counts characters and not code units, and is cut to the width', () => {
    const columns = [{ title: 'NAME' }, { title: 'N', align: 'right' as const }]
    expect(
      renderTable(columns, [
        ['a', '1'],
        ['😀bc', '1,000'],
      ]),
    ).toBe('NAME      N\na         1\n😀bc   1,000\n')
    expect(renderTable(columns, [['a-long-name', '1']], 8)).toBe('NAME   …\na-long-…\n')
    expect(renderTable(columns, [])).toBe('NAME  N\n')
  })
})

describe('progress', () => {
  it('is a bar where the end is known, and a count where it is not', () => {
    expect(progressLine({ fraction: 0.5, count: 500, elapsedMs: 1000 })).toBe(
      '[############............] 50 %  500 messages, 500/s, 1 s left',
    )
    expect(progressLine({ fraction: null, count: 1500, elapsedMs: 3000 })).toBe('1,500 messages, 500/s')
    expect(progressLine({ fraction: 1.5, count: 1, elapsedMs: 0 })).toContain('100 %')
  })
})

describe('latency', () => {
  it('gives the smallest time that a share did not exceed, and none that too few speak for', () => {
    const latency = new Latency(2000)
    expect(latency.summary()).toEqual({ count: 0, max: null })
    for (let ms = 1000; ms >= 1; ms--) latency.add(ms)
    expect(latency.summary()).toEqual({ count: 1000, max: 1000, p50: 500, p95: 950, p99: 990, 'p99.9': 999 })
    const few = new Latency(2)
    for (const ms of [3, 1, 2]) few.add(ms)
    expect(few.summary()).toEqual({ count: 2, max: 3, p50: 1 })
  })
})

describe('top', () => {
  const sample = (at: number, published: number, acked: number, name = 'orders'): Sample =>
    ({
      at,
      topics: [
        {
          topic: { name, partitionStates: [{ earliestOffset: 10, nextOffset: published, bytes: 2048 }] },
          subscriptions: [
            {
              name: 'billing',
              type: 'shared',
              state: {
                backlog: published - acked,
                unacked: 1,
                consumers: [{}],
                oldestUnackedAgeMs: 1500,
                cursors: [{ partition: 0, ackedThrough: acked, ackedAhead: 0 }],
              },
            },
          ],
        },
      ],
    }) as unknown as Sample

  it('shows what changed between two looks, a second', () => {
    const [row] = rowsOf(sample(0, 100, 50), sample(2000, 300, 150))
    expect(row).toMatchObject({ topic: 'orders', messages: 290, bytes: 2048, publishedPerSecond: 100 })
    expect(row!.subscriptions[0]).toMatchObject({ backlog: 150, acknowledgedPerSecond: 50, consumers: 1 })
    expect(topText([row!])).toBe(
      [
        'TOPIC   SUBSCRIPTION  IN/s  OUT/s  BACKLOG  UNACKED  CONSUMERS  OLDEST     SIZE',
        'orders                 100                                              2.0 KiB',
        '        billing                50      150        1          1   1.5 s',
        '',
      ].join('\n'),
    )
  })

  it('knows no rate at first sight, nor after a count went back', () => {
    expect(rowsOf(null, sample(0, 100, 50))[0]!.publishedPerSecond).toBeNull()
    expect(rowsOf(sample(0, 1, 1, 'other'), sample(1000, 100, 50))[0]!.publishedPerSecond).toBeNull()
    const [row] = rowsOf(sample(0, 100, 50), sample(1000, 90, 0))
    expect(row!.publishedPerSecond).toBeNull()
    expect(row!.subscriptions[0]!.acknowledgedPerSecond).toBeNull()
  })

  it('counts what does not fit', () => {
    const rows = rowsOf(null, sample(0, 100, 50))
    expect(topText(rows, undefined, 3)).toContain('… and 1 more lines')
  })
})

describe('help', () => {
  it('has every command in the overview, and an example for each that the command is in', () => {
    for (const command of COMMANDS) {
      expect(overview(COMMANDS)).toContain(`  ${command.path}`)
      const text = commandHelp(command)
      for (const { name } of command.flags) expect(text).toContain(`--${name}`)
      expect(command.examples.length).toBeGreaterThan(0)
      for (const example of command.examples) expect(example).toContain(`tidings ${command.path}`)
      expect(command.flags.map(({ name }) => name)).toContain('json')
    }
  })
})
