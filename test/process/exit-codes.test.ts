/**
 * How the process ends when it cannot start: its exit code and the one line that it leaves. And how it ends when it
 * is told to, under load.
 */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { callOk } from '../support/admin-client.ts'
import { BrokerProcess, freePort, runCli, stopAll, temporaryDirectory } from '../support/broker-process.ts'
import { identify, judgeDrained } from '../support/drained-run.ts'
import { History, machineTime } from '../support/history.ts'
import { RecordingConsumer } from '../support/recording-consumer.ts'
import { RecordingPublisher } from '../support/recording-publisher.ts'

afterEach(stopAll)

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

async function serve(
  flags: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number | null; line: string; count: number }> {
  const exit = await runCli(['serve', ...flags], 20_000, env)
  const printed = lines(exit.stderr)
  return { code: exit.code, line: printed[0] ?? '', count: printed.length }
}

describe('a configuration that is wrong', () => {
  it.each([
    [['--no-such-flag', '1'], {}, /no-such-flag/],
    [['--port', 'banana'], {}, /port/i],
    [['--port', '70000'], {}, /port/i],
    [['--port'], {}, /port/i],
    [['--drain-ms', '-1'], {}, /drain/i],
    [[], { TIDINGS_PORT: 'banana' }, /port/i],
    [['--config', '/no/such/file.json'], {}, /config/i],
    [['--host', '0.0.0.0'], {}, /insecure|auth|TLS/i],
    [['stray'], {}, /stray/],
  ])('ends with 2 and one line for %j %j', async (flags, env, says) => {
    const safe = ['--data-dir', temporaryDirectory()]
    const ended = await serve([...safe, ...flags], env)
    expect(ended).toMatchObject({ code: 2, count: 1 })
    expect(ended.line).toMatch(says)
  })

  it('ends with 2 and names an unknown command', async () => {
    const exit = await runCli(['sevre'])
    expect(exit.code).toBe(2)
    expect(exit.stderr).toMatch(/sevre/)
  })

  it.each([
    ['{"prot": 7070}', /prot/],
    ['{"port": "seven"}', /port/],
    ['{"port": 7070', /JSON/],
    ['[]', /object/],
  ])('ends with 2 and one line for the config file %s', async (text, says) => {
    const file = join(mkdtempSync(join(temporaryDirectory(), 'config-')), 'tidings.json')
    writeFileSync(file, text)
    const ended = await serve(['--config', file, '--data-dir', temporaryDirectory()])
    expect(ended).toMatchObject({ code: 2, count: 1 })
    expect(ended.line).toMatch(says)
  })
})

describe('a place that cannot be had', () => {
  it('ends with 1 and one line when the port is in use', async () => {
    const broker = await BrokerProcess.start()
    const ended = await serve(['--port', String(broker.port), '--data-dir', temporaryDirectory()])
    expect(ended).toMatchObject({ code: 1, count: 1 })
    expect(ended.line).toContain(String(broker.port))
  })

  it('ends with 1 and one line when another broker has the data directory', async () => {
    const broker = await BrokerProcess.start()
    const ended = await serve(['--port', String(await freePort()), '--data-dir', broker.dataDir])
    expect(ended).toMatchObject({ code: 1, count: 1 })
    expect(ended.line).toContain(broker.dataDir)
    expect((await fetch(`${broker.url}/readyz`)).status).toBe(200)
  })

  it('takes a data directory again whose broker was killed', async () => {
    const broker = await BrokerProcess.start()
    await broker.kill()
    await broker.restart()
    expect((await fetch(`${broker.url}/readyz`)).status).toBe(200)
  })

  it('ends with 1 and one line when the data directory is a file', async () => {
    const file = join(temporaryDirectory(), 'file')
    writeFileSync(file, 'not a directory')
    const ended = await serve(['--port', String(await freePort()), '--data-dir', file])
    expect(ended).toMatchObject({ code: 1, count: 1 })
    expect(ended.line).toContain(file)
  })
})

describe('SIGTERM under load', () => {
  it('answers what is in flight, closes sockets with 1012, ends with 0 and keeps what was answered', async () => {
    const broker = await BrokerProcess.start()
    const history = new History(machineTime)
    const settings = { type: 'shared', start: 'earliest', ackDeadlineMs: 60_000 }
    await callOk('PUT', `${broker.url}/v1/topics/orders/subscriptions/work`, settings)
    const options = { url: broker.webSocketUrl, topic: 'orders', subscription: 'work', history, identify }
    const consumers = ['a', 'b'].map((name) => new RecordingConsumer({ ...options, name, query: { prefetch: '16' } }))
    const publisher = new RecordingPublisher(broker.url, 'orders', history, 16)
    let stopping = false
    const publishing = Array.from({ length: 16 }, async (_, proc) => {
      for (let n = 0; !stopping; n++)
        await publisher.publishOne({ name: `${proc}-${n}`, value: { proc, n } }, () => stopping)
    })
    await sleep(1000)
    history.record({ op: 'fault', kind: 'term' })
    const exit = await broker.terminate()
    stopping = true
    await Promise.all(publishing)
    expect(exit).toMatchObject({ code: 0, signal: null })
    expect(consumers.map((consumer) => consumer.closeCodes[0])).toEqual([1012, 1012])

    await broker.restart()
    const facts = {
      subscriptions: [{ name: 'work', ordered: false, ackDeadlineMs: 60_000 }],
      flightMs: 2000,
      minPublished: 100,
      faults: ['term'],
    }
    const verdict = await judgeDrained({ url: broker.url, topic: 'orders', history, facts })
    for (const consumer of consumers) consumer.stop()
    await publisher.close()
    expect(verdict.anomalies).toEqual({})
    expect(verdict).toMatchObject({ invalid: [] })
  })

  it('ends with 0 on SIGINT when nothing is going on', async () => {
    const broker = await BrokerProcess.start()
    process.kill(broker.pid, 'SIGINT')
    expect(await broker.exited(15_000)).toMatchObject({ code: 0, signal: null })
  })
})
