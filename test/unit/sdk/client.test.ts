import { getEventListeners } from 'node:events'
import { type ClientOptions, createClientOn } from '@tidings/sdk/platform'
import { describe, expect, it } from 'vitest'
import { defineTopic } from '../../../sdk/src/define-topic.ts'
import { TidingsError } from '../../../sdk/src/protocol/errors.ts'
import { settle } from '../../support/settle.ts'
import { SimPlatform } from '../../support/sim-platform.ts'

const clientOn = (platform: SimPlatform, options: Partial<ClientOptions> = {}) =>
  createClientOn(platform, { url: 'http://a', ...options })

const codeOf = (error: unknown): string => (error as { code: string }).code

describe('the end of a client', () => {
  it('does not wait for a token that never comes, and leaves no timer behind', async () => {
    const platform = new SimPlatform()
    const client = clientOn(platform, { token: () => new Promise<string>(() => undefined) })
    const publish = client.topic('t').publish(1, { timeoutMs: 60_000 }).catch(codeOf)
    const closing = client.close({ timeoutMs: 100 })
    await settle()
    platform.clock.advance(100)
    await settle()
    platform.clock.advance(100)
    await closing
    expect([await publish, platform.clock.pending]).toEqual(['aborted', 0])
  })

  it('does not wait for an inbox that no broker makes', async () => {
    const platform = new SimPlatform()
    const client = clientOn(platform)
    const request = client.topic('t').request(1).catch(codeOf)
    await settle()
    expect(platform.request().path).toMatch(/^\/v1\/topics\/tidings\.replies\./)
    let isClosed = false
    const closing = client.close({ timeoutMs: 1000 }).then(() => {
      isClosed = true
    })
    for (let i = 0; i < 30 && !isClosed; i++) {
      platform.clock.advance(100)
      await settle()
    }
    await closing
    expect(platform.clock.monotonic()).toBeLessThan(2500)
    expect([await request, platform.isHttpClosed, platform.clock.pending]).toEqual(['aborted', true, 0])
  })
})

describe('a signal that many publishes share', () => {
  it('has one listener of the client’s, takes all back, and has none afterwards', async () => {
    const platform = new SimPlatform()
    const client = clientOn(platform, { bufferBytes: 300 })
    const controller = new AbortController()
    const { signal } = controller
    const topic = client.topic('t')
    const outcomes: Promise<unknown>[] = Array.from({ length: 50 }, (_, i) =>
      topic.publish(i, { signal }).catch(codeOf),
    )
    outcomes.push(topic.request('?', { signal }).catch(codeOf))
    await settle()
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    controller.abort()
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['aborted']))
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })
})

describe('an option that does not exist', () => {
  const client = clientOn(new SimPlatform())
  const topic = client.topic('t')
  const odd = (options: Record<string, unknown>): never => options as never

  it.each<[string, string, () => unknown]>([
    ['timeout', 'timeoutMs', () => topic.publish(1, odd({ timeout: 5 }))],
    ['header', 'headers', () => topic.tryPublish(1, odd({ header: {} }))],
    ['idempotencykey', 'idempotencyKey', () => topic.request(1, odd({ idempotencykey: 'a' }))],
    ['maxConcurrency', 'concurrency', () => topic.subscribe('s', odd({ maxConcurrency: 2 }), () => undefined)],
    ['onerror', 'onError', () => topic.reply('s', odd({ onerror: () => undefined }), () => 1)],
    ['urls', 'url', () => createClientOn(new SimPlatform(), odd({ urls: ['http://a'] }))],
    ['schemas', 'schema', () => defineTopic(odd({ schemas: 1 }))],
  ])('%s is refused, and %s named', async (name, meant, use) => {
    const error = await (async () => use())().catch((thrown: unknown) => thrown as TidingsError)
    expect(error).toMatchObject({ name: 'TidingsError', code: 'invalid_argument' })
    expect((error as TidingsError).message).toMatch(new RegExp(`"${name}": is ${meant} meant`))
    // Node prints a cause of undefined, too.
    expect(error).not.toHaveProperty('cause')
  })

  it('is no option when it is undefined', () => {
    expect(() => createClientOn(new SimPlatform(), odd({ url: 'http://a', urls: undefined }))).not.toThrow()
  })

  it.each([null, 'x', 5])('cannot be told from options that are none: %s', async (options) => {
    await expect(topic.publish(1, options as never)).rejects.toMatchObject({ code: 'invalid_argument' })
    expect(() => createClientOn(new SimPlatform(), options as never)).toThrow(TidingsError)
  })
})

describe('what a client cannot use', () => {
  it.each<[string, Record<string, unknown>]>([
    ['a timeout that is no number', { timeoutMs: '5' }],
    ['a timeout that is NaN', { timeoutMs: Number.NaN }],
    ['a timeout of nothing', { timeoutMs: 0 }],
    ['a signal that is none', { signal: {} }],
    ['headers in a Map', { headers: new Map([['a', 'b']]) }],
    ['headers of fetch', { headers: new Headers({ a: 'b' }) }],
  ])('refuses %s, and publishes nothing', async (_, options) => {
    const platform = new SimPlatform()
    const topic = clientOn(platform).topic('t')
    for (const publish of [topic.publish(1, options), topic.tryPublish(1, options)]) {
      await expect(publish).rejects.toMatchObject({ name: 'TidingsError', code: 'invalid_argument' })
    }
    await settle()
    expect(platform.sockets).toEqual([])
  })

  it.each([new ArrayBuffer(2), new DataView(new ArrayBuffer(2)), new Uint16Array(2)])(
    'refuses bytes whose JSON would be something else: %s',
    async (value) => {
      const topic = clientOn(new SimPlatform()).topic('t')
      await expect(topic.publish(value)).rejects.toMatchObject({ code: 'invalid_argument' })
    },
  )

  it.each<[string, () => never, unknown]>([
    [
      'throws',
      () => {
        throw new RangeError('no')
      },
      1,
    ],
    ['rejects', () => Promise.reject(new RangeError('no')) as never, 1],
    ['gives nothing', () => undefined as never, 1],
    [
      'is not asked, since the value has no JSON',
      () => {
        throw new Error('asked')
      },
      10n,
    ],
  ])('fails with an error of its own where a validator %s', async (_, validate, value) => {
    const schema = { '~standard': { version: 1, vendor: 'test', validate } } as const
    const topic = clientOn(new SimPlatform()).topic(defineTopic({ name: 't', schema, register: false }))
    await expect(topic.publish(value)).rejects.toMatchObject({ name: 'TidingsError', code: 'invalid_argument' })
  })

  it('refuses names, URLs and handlers of another kind, and says so', () => {
    const client = clientOn(new SimPlatform())
    const refused = expect.objectContaining({ name: 'TidingsError', code: 'invalid_argument' })
    for (const name of [5, null, undefined, {}]) expect(() => client.topic(name as never)).toThrow(refused)
    for (const url of [5, null, undefined, [5], []]) {
      expect(() => clientOn(new SimPlatform(), { url: url as never })).toThrow(refused)
    }
    expect(() => client.topic('t').subscribe('s', {}, 'handler' as never)).toThrow(refused)
  })
})
