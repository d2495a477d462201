import { TOPIC_DEFAULTS } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import type { Call } from '../../../src/cli/call.ts'
import { UsageError } from '../../../src/cli/command.ts'
import { type Reading, readCommandLine } from '../../../src/cli/command-line.ts'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { placeOf } from '../../../src/cli/place.ts'

const NOW = Date.parse('2026-05-01T12:00:00.000Z')
const read = (argv: string[], env: Record<string, string> = {}): Reading =>
  readCommandLine(COMMANDS, argv, { env, now: NOW })

function call(argv: string[], env: Record<string, string> = {}): Call {
  const reading = read(argv, env)
  if (reading.kind !== 'call') throw new Error(`not a call but ${reading.kind}`)
  return reading.call
}

function refusal(argv: string[], env: Record<string, string> = {}): string {
  try {
    read(argv, env)
  } catch (error) {
    if (error instanceof UsageError) return error.message
    throw error
  }
  throw new Error(`${argv.join(' ')} was taken`)
}

describe('the command line', () => {
  it('reads arguments, flags in both spellings, and short ones', () => {
    const publish = call(['publish', 'orders', '--key=ada', '-H', 'a=1', '--header', 'b=2', '{"total":1}', '--json'])
    expect(publish.arg('topic')).toBe('orders')
    expect(publish.optionalArg('value')).toBe('{"total":1}')
    expect(publish.text('key')).toBe('ada')
    expect(publish.list('header')).toEqual(['a=1', 'b=2'])
    expect(publish.isOn('json')).toBe(true)
    expect(publish.isOn('fail-fast')).toBe(false)
    expect(call(['publish', 'orders', '--', '-5']).optionalArg('value')).toBe('-5')
    expect(call(['publish', 'orders', '--ndjson', '-']).text('ndjson')).toBe('-')
  })

  it('makes settings of flags, and null of none', () => {
    const words = ['topic', 'update', 'orders', '--max-age', '7d', '--max-bytes', 'none', '--until-acked=false']
    expect(call([...words, '--segment-bytes', '64KiB']).settings()).toEqual({
      retention: { maxAgeMs: 604_800_000, maxBytes: null, untilAcked: false },
      segmentBytes: 65_536,
    })
  })

  it('has a flag for every setting of a topic', () => {
    const { flags } = COMMANDS.find(({ path }) => path === 'topic create')!
    const settings = new Set(flags.flatMap(({ setting }) => (setting === undefined ? [] : [setting])))
    const { schema: _, retention, ...rest } = TOPIC_DEFAULTS
    const known = [...Object.keys(rest), ...Object.keys(retention).map((name) => `retention.${name}`)]
    expect(settings).toEqual(new Set(known))
  })

  it.each([
    ['earliest', 'earliest'],
    ['10m', { timestamp: '2026-05-01T11:50:00.000Z' }],
    ['2026-01-31T12:00:00Z', { timestamp: '2026-01-31T12:00:00Z' }],
    ['0:12,1:40', { offsets: { 0: 12, 1: 40 } }],
  ])('takes the position %s', (text, position) => {
    expect(call(['subscription', 'seek', 'orders', 'billing', '--to', text]).given('to')).toEqual(position)
  })

  it('takes the broker from the flag, then the environment, then the usual place', () => {
    const env = { TIDINGS_URL: 'http://a:1, http://b:2/', TIDINGS_TOKEN: 'secret' }
    expect(placeOf(call(['topic', 'list']))).toEqual({ urls: ['http://127.0.0.1:7070'], token: undefined })
    expect(placeOf(call(['topic', 'list'], env))).toEqual({ urls: ['http://a:1', 'http://b:2'], token: 'secret' })
    expect(placeOf(call(['topic', 'list', '--url', 'https://c'], env)).urls).toEqual(['https://c'])
    expect(() => placeOf(call(['topic', 'list', '--url', 'ftp://c']))).toThrow(/ftp/)
  })

  it.each([
    [['tpoic', 'list'], 'did you mean "topic"'],
    [['topic', 'lsit'], 'did you mean "list"'],
    [['topic', 'list', '--jsn'], 'did you mean "json"'],
    [['topic', 'show'], '<topic> is missing'],
    [['topic', 'show', 'a', 'b'], '"b"'],
    [['topic', 'create', 'a', '--partitions', '0'], '--partitions: "0"'],
    [['topic', 'create', 'a', '--partitions', '9999'], '1 to 1024'],
    [['topic', 'create', 'a', '--partitions'], 'the value is missing'],
    [['topic', 'create', 'a', '--partitions', '--json'], 'the value is missing'],
    [['topic', 'create', 'a', '--max-age', '5 minutes'], '--max-age'],
    [['topic', 'create', 'a', '--durability', 'memory'], 'fsync, buffered'],
    [['topic', 'create', 'a', '--until-acked=maybe'], 'true or false'],
    [['topic', 'create', 'a', '--partitions', 'none'], '"none"'],
    [['publish', 'a', '-5'], 'goes after --'],
    [['subscription', 'seek', 'a', 'b', '--to', '10'], '--to: "10"'],
    [['completion', 'tcsh'], 'bash, zsh, fish'],
    [['__proto__'], '__proto__'],
    [['topic', 'list', '--__proto__'], '__proto__'],
  ])('refuses %j and names it', (argv, named) => {
    expect(refusal(argv)).toContain(named)
    expect(refusal(argv)).not.toContain('\n')
  })

  it('names a variable of the environment that cannot be used', () => {
    const env = { TIDINGS_URL: 'nowhere' }
    expect(() => placeOf(call(['topic', 'list'], env))).toThrow(/nowhere/)
  })

  it('gives help of a command, of a group, and before anything else is checked', () => {
    expect(read(['topic', 'create', '--help'])).toMatchObject({ kind: 'help', command: { path: 'topic create' } })
    expect(read(['topic', 'create', '--partitions', 'x', '-h'])).toMatchObject({ kind: 'help' })
    expect(read(['help', 'subscription', 'seek'])).toMatchObject({ kind: 'help' })
    for (const argv of [['topic'], ['topic', '--help'], ['help', 'topic']])
      expect(read(argv)).toEqual({ kind: 'group', group: 'topic' })
  })
})
