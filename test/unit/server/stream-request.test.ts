import { describe, expect, it } from 'vitest'
import { parseStreamRequest } from '../../../src/server/stream-request.ts'

const PATH = '/v1/topics/orders/subscriptions/billing/stream'

describe('the URL of a stream', () => {
  it('takes its defaults', () => {
    expect(parseStreamRequest(PATH)).toEqual({
      topic: 'orders',
      subscription: 'billing',
      patch: {},
      prefetch: 256,
      consumer: '',
      weight: 1,
    })
  })

  it('reads every parameter', () => {
    const query = 'type=exclusive&start=earliest&ackDeadlineMs=5&prefetch=1&consumer=a%20b&weight=3&access_token=t'
    expect(parseStreamRequest(`${PATH}?${query}`)).toMatchObject({
      patch: { type: 'exclusive', start: 'earliest', ackDeadlineMs: 5 },
      prefetch: 1,
      consumer: 'a b',
      weight: 3,
    })
    const start = '2026-01-01T00:00:00Z'
    expect(parseStreamRequest(`${PATH}?start=${start}`).patch).toEqual({ start: { timestamp: start } })
  })

  it.each([
    `${PATH}?type=queue`,
    `${PATH}?start=now`,
    `${PATH}?ackDeadlineMs=0`,
    `${PATH}?ackDeadlineMs=2147483648`,
    `${PATH}?prefetch=0`,
    `${PATH}?prefetch=-1`,
    `${PATH}?prefetch=NaN`,
    `${PATH}?prefetch=1e3`,
    `${PATH}?prefetch=9007199254740993`,
    `${PATH}?prefetch=1&prefetch=2`,
    `${PATH}?weight=1001`,
    `${PATH}?consumer=${'x'.repeat(201)}`,
    `${PATH}?prefech=1`,
    `${PATH}?__proto__=1`,
    '/v1/topics/_orders/subscriptions/billing/stream',
    '/v1/topics/orders/subscriptions/%2e%2e%2fx/stream',
    '/v1/topics/orders/subscriptions/%zz/stream',
    `/v1/topics/orders/subscriptions/${'x'.repeat(201)}/stream`,
  ])('is refused: %s', (url) => {
    expect(() => parseStreamRequest(url)).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
  })

  it.each(['/', '/v1/topics/orders', `${PATH}/more`, `${PATH}x`, '/v1/topics//subscriptions/billing/stream'])(
    'is none: %s',
    (url) => {
      expect(() => parseStreamRequest(url)).toThrow(expect.objectContaining({ code: 'not_found' }))
    },
  )
})
