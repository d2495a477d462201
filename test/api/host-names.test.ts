import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RawSocket } from '../support/raw-socket.ts'
import { startTestBroker, type TestBroker } from '../support/test-broker.ts'

let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker({ allowedHosts: ['broker.example'] })
})
afterAll(() => broker.stop())

async function ask(host: string, start: string, more = ''): Promise<{ status: number; body: string }> {
  const raw = new RawSocket(broker.port)
  raw.write(`${start} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`)
  const answer = await raw.answer()
  raw.end()
  return answer
}

const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'

describe('a page whose name was made to mean this machine', () => {
  it.each([
    ['reads', 'GET /v1/topics', ''],
    ['publishes', 'POST /v1/topics/orders/messages', 'Content-Length: 0\r\n'],
    ['publishes a batch', 'POST /v1/topics/orders/messages/batch', 'Content-Length: 0\r\n'],
    ['subscribes', 'GET /v1/topics/orders/subscriptions/s/stream', UPGRADE],
    ['publishes over a WebSocket', 'GET /v1/publish', `${UPGRADE}Sec-WebSocket-Protocol: tidings.binary.v1\r\n`],
  ])('is refused when it %s', async (_, start, more) => {
    const { status, body } = await ask('evil.example:7070', start, more)
    expect(status).toBe(403)
    expect(JSON.parse(body)).toMatchObject({
      code: 'permission_denied',
      detail: expect.stringContaining('--allowed-hosts'),
    })
  })

  it('makes no topic', async () => {
    expect((await ask('localhost', 'GET /v1/topics/orders')).status).toBe(404)
  })

  it('is served under a name that is listed', async () => {
    expect((await ask('Broker.Example:7070', 'GET /v1/topics')).status).toBe(200)
  })
})
