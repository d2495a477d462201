import { Agent, request } from 'undici'
import { describe, expect, it } from 'vitest'
import { RawSocket } from '../support/raw-socket.ts'
import { StreamClient } from '../support/stream-client.ts'
import { startTestBroker } from '../support/test-broker.ts'

describe('a drain', () => {
  it('answers what is in flight, refuses what is new, and closes the rest', async () => {
    const broker = await startTestBroker({ drainMs: 5000 })
    const client = await StreamClient.open(broker, 't', 's')
    // A publish whose body is half sent when the drain begins.
    const slow = new RawSocket(broker.port)
    slow.write('POST /v1/topics/t/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf ')
    // A connection that is kept alive by a second request under way.
    const kept = new RawSocket(broker.port)
    kept.write('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(await kept.answer()).toMatchObject({ status: 200 })
    kept.received = ''
    kept.write('GET /readyz HTTP/1.1\r\n')
    await client.barrier()
    const drained = broker.stop()
    expect(await client.closed).toMatchObject({ code: 1012 })
    kept.write('Host: x\r\n\r\n')
    expect(await kept.answer()).toMatchObject({ status: 503, body: expect.stringContaining('draining') })
    slow.write('whole')
    expect(await slow.answer()).toMatchObject({ status: 200 })
    await drained
    await Promise.all([slow.closed, kept.closed])
    await expect(fetch(`${broker.url}/healthz`)).rejects.toThrow()
    await broker.stop()
  })

  it('refuses a publish that comes on a connection still open', async () => {
    const broker = await startTestBroker({ drainMs: 5000 })
    const raw = new RawSocket(broker.port)
    raw.write('POST /v1/topics/t/messages HTTP/1.1\r\nHost: x\r\n')
    const agent = new Agent()
    await (await request(`${broker.url}/healthz`, { dispatcher: agent })).body.text()
    const drained = broker.stop()
    raw.write('Content-Length: 1\r\n\r\nx')
    expect(await raw.answer()).toMatchObject({
      status: 503,
      head: expect.stringContaining('retry-after: 1'),
      body: expect.stringContaining('overloaded'),
    })
    await drained
    await agent.close()
  })

  it('does not wait for a connection that never said anything', async () => {
    const broker = await startTestBroker({ drainMs: 3_600_000 })
    const silent = new RawSocket(broker.port)
    await (await fetch(`${broker.url}/healthz`)).text()
    await broker.stop()
    await silent.closed
  })

  it('cuts off after its time what does not end', async () => {
    const broker = await startTestBroker({ drainMs: 100 })
    const stuck = new RawSocket(broker.port)
    stuck.write('POST /v1/topics/t/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf')
    const client = await StreamClient.open(broker, 't', 's')
    client.socket.pause()
    await broker.stop()
    await stuck.closed
    await broker.stop()
  })
})
