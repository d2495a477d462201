import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestBroker, type TestBroker } from '../support/test-broker.ts'

const PAGE = 'https://app.example'
let broker: TestBroker
beforeAll(async () => {
  broker = await startTestBroker({ allowedOrigins: [PAGE] })
})
afterAll(() => broker.stop())

const ask = (
  method: string,
  origin: string,
  path: string,
  more: { headers?: Record<string, string>; body?: string } = {},
): Promise<Response> => fetch(broker.url + path, { ...more, method, headers: { ...more.headers, origin } })

const PATH = '/v1/topics/orders/messages/batch'
const BATCH = { headers: { 'content-type': 'application/json' }, body: '{"messages":[{"value":1}]}' }

describe('a page of an allowed origin', () => {
  it('is told before a request that it may be made, with which methods and headers', async () => {
    const headers = {
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type,authorization',
    }
    const answer = await ask('OPTIONS', PAGE, PATH, { headers })
    expect(answer.status).toBe(204)
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'access-control-allow-origin': PAGE,
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': 'content-type,authorization',
      vary: 'Origin',
    })
  })

  it('may read the answers to what it publishes and changes, refusals too', async () => {
    const answers = await Promise.all([
      ask('POST', PAGE, PATH, BATCH),
      ask('POST', PAGE, PATH, { ...BATCH, body: '{' }),
      ask('PUT', PAGE, '/v1/topics/other', { headers: BATCH.headers, body: '{"partitions":0}' }),
    ])
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 400])
    expect(answers.map(({ headers }) => headers.get('access-control-allow-origin'))).toEqual([PAGE, PAGE, PAGE])
  })
})

describe('a page of another origin', () => {
  it('is refused, and is not told what it may do', async () => {
    const answers = await Promise.all([
      ask('OPTIONS', 'https://evil.example', PATH),
      ask('POST', 'https://evil.example', PATH, BATCH),
    ])
    expect(answers.map(({ status }) => status)).toEqual([403, 403])
    expect(answers.map(({ headers }) => headers.get('access-control-allow-origin'))).toEqual([null, null])
  })
})
