/** Publishing and subscribing on the command line, in this process, against a whole broker. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { callOk, eventually } from '../support/admin-client.ts'
import { CliSession, RecordedTerminal } from '../support/cli-session.ts'
import { startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
let cli: CliSession

beforeAll(async () => {
  broker = await startTestBroker()
  cli = new CliSession(broker.url)
})
afterAll(() => broker.stop())

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')
const stored = async (topic: string): Promise<{ value?: unknown; key: string | null }[]> =>
  (await callOk('GET', `${broker.url}/v1/topics/${topic}/partitions/0/messages?limit=10000`)).messages

async function stateOf(topic: string, name: string): Promise<{ backlog: number; unacked: number }> {
  return (await callOk('GET', `${broker.url}/v1/topics/${topic}/subscriptions/${name}`)).state
}

describe('publish', () => {
  it('sends an argument or standard input, as what it looks like', async () => {
    const words = ['--key', 'ada', '-H', 'region=eu', '--idempotency-key', 'one']
    expect(await cli.text('publish', 'single', '{"n": 12345678901234567890}', ...words)).toBe('single: stored at 0:0\n')
    expect(await cli.json('publish', 'single', '{}', '--idempotency-key', 'one')).toMatchObject({
      topic: 'single',
      id: '0:0',
      partition: 0,
      offset: 0,
      duplicate: true,
    })
    expect(await cli.piped('hello', 'publish', 'single')).toMatchObject({ code: 0 })
    expect(await cli.piped(Uint8Array.of(255, 0), 'publish', 'single')).toMatchObject({ code: 0 })
    expect(await stored('single')).toMatchObject([
      { key: 'ada', headers: { region: 'eu' }, contentType: 'application/json' },
      { value: 'hello', contentType: 'text/plain' },
      { base64: '/wA=', contentType: 'application/octet-stream' },
    ])
    const scheduled = await cli.json('publish', 'single', '1', '--delay', '1h')
    expect(scheduled.scheduled).toMatchObject({ deliverAt: expect.any(String) })
  })

  it.each([
    [['publish', 'single'], 'the value is missing'],
    [['publish', 'a b', 'x'], '"a b"'],
    [['publish', 'orders.*', 'x'], '"orders.*"'],
    [['subscribe', 'orders.*x'], '"orders.*x"'],
    [['subscribe', 'orders', 'a/b'], '"a/b"'],
    [['publish', 'single', '1', '--ndjson', 'x'], 'give one of'],
    [['publish', 'single', '--ndjson', '/no/such/file'], '/no/such/file'],
    [['publish', 'single', '1', '--from-line', '2'], '--from-line'],
    [['publish', 'single', '1', '-H', 'nothing'], 'NAME=TEXT'],
  ])('cannot use %j', async (words, named) => {
    const exit = await cli.run(...words)
    expect(exit.code).toBe(2)
    expect(exit.stderr).toContain(named)
  })

  it('publishes a file, names every bad line, and goes on', async () => {
    const good = (n: number): string => `{"key":"k${n % 3}","value":{"n":${n}}}`
    const file = [good(1), 'nope', good(2), '', '{"kye":1,"value":1}', good(3), '{"value":1,"partition":9}'].join('\n')
    const exit = await cli.piped(file, 'publish', 'filed', '--ndjson', '-', '--json')
    expect(exit.code).toBe(1)
    expect(JSON.parse(exit.stdout)).toMatchObject({
      topic: 'filed',
      lines: 7,
      published: 3,
      duplicates: 0,
      refusedCount: 3,
      unknown: 0,
      nextLine: null,
    })
    const named = new Set(lines(exit.stderr).map((line) => line.split(':')[0]))
    expect(named).toEqual(new Set(['line 2', 'line 5', 'line 7']))
    expect((await stored('filed')).map(({ value }) => value)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
  })

  it('stops where it is told to, says where to go on, and repeats nothing with keys of its own', async () => {
    const file = '1\n2\nx\n4\n'
    const words = [
      'publish',
      'stopped',
      '--lines',
      '-',
      '--content-type',
      'application/json',
      '--idempotency-key',
      'run',
    ]
    const stopped = await cli.piped(file, ...words, '--fail-fast', '--json')
    expect(stopped.code).toBe(1)
    expect(JSON.parse(stopped.stdout)).toMatchObject({ published: 2, refusedCount: 1, nextLine: 4 })
    expect(stopped.stderr).toContain('--from-line 4')
    const rest = await cli.piped(file, ...words, '--from-line', '4')
    expect(rest).toMatchObject({ code: 0 })
    const again = await cli.piped('1\n2\n', ...words, '--json')
    expect(JSON.parse(again.stdout)).toMatchObject({ published: 2, duplicates: 2 })
    expect((await stored('stopped')).map(({ value }) => value)).toEqual([1, 2, 4])
  })

  it('ends a run at what every line would meet', async () => {
    const closed = await startTestBroker({ autoCreateTopics: false })
    const exit = await new CliSession(closed.url).piped('1\n2\n3\n', 'publish', 'nowhere', '--lines', '-', '--json')
    await closed.stop()
    expect(exit.code).toBe(1)
    expect(JSON.parse(exit.stdout)).toMatchObject({ published: 0, nextLine: 1 })
    expect(exit.stderr).toMatch(/stopped: .*nowhere/)
  })
})

describe('subscribe', () => {
  it('looks on without leaving anything behind', async () => {
    for (const n of [1, 2, 3]) await cli.text('publish', 'seen', `{"n":${n}}`)
    const words = ['subscribe', 'seen', '--start', 'earliest', '--filter', 'value.n > 1', '--max', '2']
    const printed = lines(await cli.text(...words, '--json')).map((line) => JSON.parse(line))
    expect(printed).toMatchObject([
      { id: '0:1', topic: 'seen', partition: 0, offset: 1, key: null, value: { n: 2 }, attempt: 1 },
      { id: '0:2', value: { n: 3 } },
    ])
    expect(Object.keys(printed[0])).toEqual(
      'id topic partition offset key value contentType headers timestamp attempt'.split(' '),
    )
    const { subscriptions } = await callOk('GET', `${broker.url}/v1/topics/seen/subscriptions`)
    expect(subscriptions).toEqual([])
  })

  it('says that it has made the topic, where there was none', async () => {
    const said: string[] = []
    for (const topic of ['mistyped', 'mistyped', 'mistyped.*'])
      said.push((await cli.run('subscribe', topic, '--idle', '1ms')).stderr)
    expect(said).toEqual(['tidings: there was no topic mistyped; it has been made\n', '', ''])
  })

  it('prints what it prints as a line that publish takes', async () => {
    const out = await cli.text('subscribe', 'seen', '--start', 'earliest', '--max', '3', '--json')
    expect(await cli.piped(out, 'publish', 'copied', '--ndjson', '-')).toMatchObject({ code: 0 })
    expect((await stored('copied')).map(({ value }) => value)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
  })

  it('acknowledges what was printed, with --ack', async () => {
    await cli.text('subscription', 'create', 'seen', 'reader', '--start', 'earliest')
    expect(lines(await cli.text('subscribe', 'seen', 'reader', '--ack', '--max', '2'))).toHaveLength(2)
    expect(await stateOf('seen', 'reader')).toMatchObject({ backlog: 1 })
    expect(lines(await cli.text('subscribe', 'seen', 'reader', '--ack', '--idle', '300ms'))).toHaveLength(1)
    expect(await stateOf('seen', 'reader')).toMatchObject({ backlog: 0 })
  })

  it.each(['shared', 'exclusive', 'key_shared'])(
    'hands everything back uncounted without --ack, and lets its deadline not pass: %s',
    async (type) => {
      const name = `peek-${type}`
      const more = ['--type', type, '--start', 'earliest', '--ack-deadline', '400ms']
      await cli.text('subscription', 'create', 'seen', name, ...more)
      const out = lines(await cli.text('subscribe', 'seen', name, '--idle', '1500ms', '--json'))
      expect(out.map((line) => JSON.parse(line).attempt)).toEqual([1, 1, 1])
      await eventually(
        'handed back',
        () => stateOf('seen', name),
        ({ unacked }) => unacked === 0,
      )
      const again = lines(await cli.text('subscribe', 'seen', name, '--max', '3', '--json'))
      expect(again.map((line) => JSON.parse(line).attempt)).toEqual([1, 1, 1])
    },
  )

  it('ends with 0 on Ctrl-C, while it waits and after it printed', async () => {
    for (const start of ['latest', 'earliest']) {
      const terminal = new RecordedTerminal()
      terminal.onPrint = () => terminal.interrupt()
      const running = cli.runOn(terminal, 'subscribe', 'seen', `stopped-${start}`, '--start', start, '--ack')
      if (start === 'latest') {
        const consumers = async (): Promise<number> => {
          const { subscriptions } = await callOk('GET', `${broker.url}/v1/topics/seen/subscriptions`)
          const found = subscriptions.find(({ name }: { name: string }) => name === 'stopped-latest')
          return found?.state.consumers.length ?? 0
        }
        await eventually('connected', consumers, (count) => count === 1)
        terminal.interrupt()
      }
      expect(await running).toMatchObject({ code: 0, stderr: '' })
    }
    expect((await stateOf('seen', 'stopped-earliest')).backlog).toBeLessThan(3)
  })

  it('does not acknowledge what nobody read any more', async () => {
    const terminal = new RecordedTerminal()
    terminal.onPrint = () => {
      terminal.isGone = true
    }
    const exit = await cli.runOn(terminal, 'subscribe', 'seen', 'piped', '--start', 'earliest', '--ack')
    expect(exit).toMatchObject({ code: 0, stderr: '' })
    expect(lines(exit.stdout)).toHaveLength(1)
    expect(await stateOf('seen', 'piped')).toMatchObject({ backlog: 2 })
  })

  it('refuses a filter, a type or a start that is not that of the subscription', async () => {
    await cli.text('subscription', 'create', 'seen', 'fixed')
    for (const more of [
      ['--filter', 'true'],
      ['--type', 'exclusive'],
      ['--start', 'earliest'],
    ]) {
      const exit = await cli.run('subscribe', 'seen', 'fixed', ...more, '--json')
      expect(exit.code).toBe(1)
      expect(JSON.parse(exit.stderr)).toMatchObject({ error: { code: 'conflict' } })
    }
    expect(await cli.run('subscribe', 'seen', '--ack')).toMatchObject({ code: 2 })
    expect(await cli.run('subscribe', 'seen', '--filter', 'value >')).toMatchObject({ code: 1 })
  })

  it('follows a pattern of topics', async () => {
    await cli.text('publish', 'eu.orders', '1')
    await cli.text('publish', 'eu.visits', '2')
    const out = lines(await cli.text('subscribe', 'eu.*', '--start', 'earliest', '--max', '2', '--json'))
    expect(new Set(out.map((line) => JSON.parse(line).topic))).toEqual(new Set(['eu.orders', 'eu.visits']))
  })

  it('ends with the sentence when its subscription is deleted', async () => {
    const terminal = new RecordedTerminal()
    let isDoomed = false
    terminal.onPrint = () => {
      if (!isDoomed) void callOk('DELETE', `${broker.url}/v1/topics/seen/subscriptions/doomed`)
      isDoomed = true
    }
    const exit = await cli.runOn(terminal, 'subscribe', 'seen', 'doomed', '--start', 'earliest')
    expect(exit.code).toBe(1)
    expect(exit.stderr).toMatch(/^tidings: .*deleted/)
  })
})
