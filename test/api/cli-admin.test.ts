/** The commands that administer and measure, in this process, against a whole broker. */
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { callOk } from '../support/admin-client.ts'
import { freePort } from '../support/broker-process.ts'
import { CliSession } from '../support/cli-session.ts'
import { startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
let cli: CliSession
let directory: string

beforeAll(async () => {
  broker = await startTestBroker()
  cli = new CliSession(broker.url)
  directory = await mkdtemp(join(tmpdir(), 'tidings-cli-'))
})
afterAll(async () => {
  await broker.stop()
  await rm(directory, { recursive: true, force: true })
})

describe('topic', () => {
  it('is created, listed, shown, updated and deleted', async () => {
    expect(await cli.json('topic', 'create', 'plants', '--partitions', '2', '--max-age', '7d')).toMatchObject({
      name: 'plants',
      partitions: 2,
      retention: { maxAgeMs: 604_800_000, maxBytes: null, untilAcked: false },
      partitionStates: [{ partition: 0, nextOffset: 0 }, { partition: 1 }],
    })
    expect(await cli.text('topic', 'list')).toMatch(/^TOPIC +PARTITIONS +KEEPS\n(.*\n)*plants +2 +7 d\n/)
    expect((await cli.text('topic', 'list', '--names')).split('\n')).toContain('plants')
    expect((await cli.json('topic', 'list')).topics).toContainEqual(expect.objectContaining({ name: 'plants' }))
    expect(await cli.text('topic', 'show', 'plants')).toMatch(/PARTITION +EARLIEST +NEXT/)
    expect(await cli.text('topic', 'update', 'plants', '--max-age', 'none', '--until-acked')).toBe('plants updated\n')
    expect((await cli.json('topic', 'show', 'plants')).retention).toEqual({
      maxAgeMs: null,
      maxBytes: null,
      untilAcked: true,
    })
    expect(await cli.json('topic', 'delete', 'plants', '--yes')).toEqual({ topic: 'plants', deleted: true })
    expect(await cli.run('topic', 'show', 'plants')).toMatchObject({ code: 1 })
  })

  it('is not made twice, nor changed by being made, nor made by being changed', async () => {
    await cli.text('topic', 'create', 'rocks', '--partitions', '3')
    const again = await cli.run('topic', 'create', 'rocks', '--partitions', '5')
    expect(again.code).toBe(1)
    expect(again.stderr).toContain('topic update rocks')
    expect((await cli.json('topic', 'create', 'rocks', '--partitions', '5', '--if-missing')).partitions).toBe(3)
    expect(await cli.run('topic', 'update', 'no-rocks', '--partitions', '2')).toMatchObject({ code: 1 })
    expect(await cli.text('topic', 'list', '--names')).not.toContain('no-rocks')
  })

  it('takes a schema from a file', async () => {
    const file = join(directory, 'schema.json')
    writeFileSync(file, '{"type":"object","required":["total"]}')
    expect((await cli.json('topic', 'create', 'checked', '--schema', file)).schema).toEqual({
      type: 'object',
      required: ['total'],
    })
    const refused = await cli.run('publish', 'checked', '{"sum":1}', '--json')
    expect(refused.code).toBe(1)
    expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: 'schema_violation' } })
    expect(await cli.run('topic', 'update', 'checked', '--schema', '/no/such/file')).toMatchObject({ code: 2 })
    expect((await cli.json('topic', 'update', 'checked', '--schema', 'none')).schema).toBeNull()
  })

  it('is not deleted without being sure', async () => {
    await cli.text('topic', 'create', 'dear')
    const exit = await cli.run('topic', 'delete', 'dear')
    expect(exit.code).toBe(2)
    expect(exit.stderr).toContain('--yes')
    expect(await cli.text('topic', 'list', '--names')).toContain('dear')
  })
})

describe('subscription', () => {
  const at = (name: string): string => `${broker.url}/v1/topics/visits/subscriptions/${name}`

  it('is created, listed, shown, updated, moved and deleted', async () => {
    const words = ['visits', 'audit', '--type', 'exclusive', '--start', 'earliest', '--ack-deadline', '5s']
    expect(await cli.json('subscription', 'create', ...words, '--backoff-min', '1s')).toMatchObject({
      topic: 'visits',
      name: 'audit',
      type: 'exclusive',
      ackDeadlineMs: 5000,
      backoff: { minMs: 1000, maxMs: 60_000 },
      deadLetter: null,
      state: { backlog: 0, consumers: [] },
    })
    for (const value of [1, 2, 3]) await callOk('POST', `${broker.url}/v1/topics/visits/messages`, value)
    expect(await cli.text('subscription', 'list', 'visits')).toMatch(/audit +exclusive +3/)
    expect((await cli.json('subscription', 'list', 'visits')).subscriptions).toHaveLength(1)
    expect(await cli.text('subscription', 'show', 'visits', 'audit')).toMatch(/backlog +3\n[^]*ACKED THROUGH/)
    const filter = 'value > 1'
    expect(await cli.json('subscription', 'update', 'visits', 'audit', '--filter', filter)).toMatchObject({ filter })
    expect(await cli.text('subscription', 'seek', 'visits', 'audit', '--to', '0:2')).toContain('1 messages to deliver')
    expect(await cli.run('subscription', 'seek', 'visits', 'audit', '--to', '0:99')).toMatchObject({ code: 1 })
    expect(await cli.run('subscription', 'seek', 'visits', 'audit')).toMatchObject({ code: 2 })
    const bad = await cli.run('subscription', 'update', 'visits', 'audit', '--filter', 'value >')
    expect(bad).toMatchObject({ code: 1 })
    expect(bad.stderr).toMatch(/^tidings: filter/)
    expect(await cli.json('subscription', 'delete', 'visits', 'audit', '--yes')).toMatchObject({ deleted: true })
    expect(await cli.run('subscription', 'show', 'visits', 'audit')).toMatchObject({ code: 1 })
  })

  it('explains itself, and what became of a message', async () => {
    await cli.text('subscription', 'create', 'visits', 'idle', '--start', 'earliest')
    expect(await cli.json('subscription', 'explain', 'visits', 'idle')).toMatchObject({
      verdict: expect.any(String),
      backlog: 3,
    })
    expect(await cli.text('subscription', 'explain', 'visits', 'idle')).toContain('no_consumer')
    expect(await cli.json('subscription', 'explain', 'visits', 'idle', '0:1')).toMatchObject({
      id: '0:1',
      state: expect.any(String),
    })
    expect(await cli.text('subscription', 'explain', 'visits', 'idle', '0:1')).toMatch(/^id +0:1\n/)
  })

  it('gets its dead letters back', async () => {
    await cli.text(
      'subscription',
      'create',
      'visits',
      'frail',
      '--start',
      'earliest',
      '--dead-letter',
      'default',
      '--max-deliveries',
      '1',
    )
    const { messages } = await callOk('POST', `${at('frail')}/pull`, { max: 3 })
    await callOk('POST', `${at('frail')}/reject`, { ids: messages.map(({ id }: { id: string }) => id) })
    expect(await cli.json('subscription', 'redrive', 'visits', 'frail', '--dry-run')).toEqual({ moved: 0, matched: 3 })
    expect(await cli.json('subscription', 'redrive', 'visits', 'frail', '--max', '1')).toEqual({ moved: 1 })
    expect(await cli.text('subscription', 'redrive', 'visits', 'frail')).toBe('2 dead letters moved\n')
    expect((await cli.json('subscription', 'show', 'visits', 'frail')).state.backlog).toBe(3)
  })

  it('shows its parked keys and lets a person decide', async () => {
    await cli.text(
      'subscription',
      'create',
      'calls',
      'keyed',
      '--type',
      'key_shared',
      '--park',
      '--max-deliveries',
      '1',
    )
    for (const key of ['ada', 'bob']) await cli.text('publish', 'calls', '1', '--key', key)
    const url = `${broker.url}/v1/topics/calls/subscriptions/keyed`
    const { messages } = await callOk('POST', `${url}/pull`, { max: 2, waitMs: 5000 })
    await callOk('POST', `${url}/nack`, { ids: messages.map(({ id }: { id: string }) => id), reason: 'no' })
    expect(await cli.json('subscription', 'parked', 'calls', 'keyed')).toMatchObject({
      count: messages.length,
      parked: expect.arrayContaining([expect.objectContaining({ key: 'ada', attempts: 1, reason: 'no' })]),
    })
    expect(await cli.text('subscription', 'parked', 'calls', 'keyed')).toMatch(/^KEY +MESSAGE/)
    expect(await cli.json('subscription', 'parked', 'calls', 'keyed', 'ada', '--action', 'discard')).toMatchObject({
      key: 'ada',
    })
    expect(await cli.run('subscription', 'parked', 'calls', 'keyed', 'ada')).toMatchObject({ code: 2 })
    expect(await cli.run('subscription', 'parked', 'calls', 'keyed', 'eve', '--action', 'skip')).toMatchObject({
      code: 1,
    })
  })
})

describe('an error', () => {
  it('names the broker that does not answer, and what to try', async () => {
    const url = `http://127.0.0.1:${await freePort()}`
    for (const words of [['topic', 'list'], ['publish', 'a', '1'], ['subscribe', 'a'], ['top', '--once'], ['bench']]) {
      const exit = await cli.run(...words, '--url', url)
      expect(exit.code, words.join(' ')).toBe(1)
      expect(exit.stderr).toBe(
        `tidings: no broker answers at ${url} (the connection was refused)\n  try: start one with "tidings serve", or say where it is with --url or TIDINGS_URL\n`,
      )
    }
  })

  it('is JSON for those who asked for JSON', async () => {
    const exit = await cli.run('topic', 'show', 'nowhere', '--json')
    expect(exit).toMatchObject({ code: 1, stdout: '' })
    expect(JSON.parse(exit.stderr)).toEqual({
      error: { code: 'topic_not_found', detail: expect.stringContaining('nowhere'), hint: expect.any(String) },
    })
  })

  it('of the command line ends with 2 and one line', async () => {
    for (const words of [
      ['topic', 'shwo', 'a'],
      ['topic', 'list', '--jsno'],
      ['topic', 'show'],
    ]) {
      const exit = await cli.run(...words)
      expect(exit).toMatchObject({ code: 2, stdout: '' })
      expect(exit.stderr.trimEnd().split('\n')).toHaveLength(1)
    }
  })

  it('tells a listener that is no broker', async () => {
    const exit = await cli.run('topic', 'list', '--url', `${broker.url}/docs`)
    expect(exit.code).toBe(1)
  })
})

describe('top', () => {
  it('prints one look, as a table or as JSON', async () => {
    await cli.text('publish', 'watched', '1')
    await cli.text('subscription', 'create', 'watched', 'late', '--start', 'earliest')
    const { at, topics } = await cli.json('top', '--once', '--interval', '100ms', '--topic', 'watched')
    expect(at).toMatch(/^\d{4}-/)
    expect(topics).toEqual([
      {
        topic: 'watched',
        messages: 1,
        bytes: expect.any(Number),
        publishedPerSecond: 0,
        subscriptions: [
          {
            name: 'late',
            type: 'shared',
            backlog: 1,
            unacked: 0,
            consumers: 0,
            oldestUnackedAgeMs: expect.any(Number),
            acknowledgedPerSecond: 0,
          },
        ],
      },
    ])
    expect(await cli.text('top', '--once', '--interval', '100ms')).toMatch(/^TOPIC +SUBSCRIPTION/)
  })
})

describe('bench', () => {
  it('measures on a topic of its own, which is gone afterwards', async () => {
    const result = await cli.json('bench', '--messages', '500', '--rate', '1000')
    expect(result).toMatchObject({ messages: 500, rate: 1000, published: 500, received: 500, failed: 0, missing: 0 })
    expect(result.receiptMs).toMatchObject({ count: 500, p50: expect.any(Number), p99: expect.any(Number) })
    expect(result.receiptMs).not.toHaveProperty('p99.9')
    expect(await cli.text('topic', 'list', '--names')).not.toContain('bench')
    expect(await cli.text('bench', '--messages', '50')).toMatch(/delivery +p50/)
  })
})
