/**
 * The coordinator over a real etcd that is killed, stands still, forgets or is restored, and over a network that loses
 * answers: what was confirmed is there, what is not known is said to be, and watches tell everything or that they
 * cannot.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { TidingsError } from '@tidings/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { nullLogger } from '../../src/base/telemetry.ts'
import type { Change, Coordinator } from '../../src/cluster/coordinator.ts'
import { EtcdCoordinator } from '../../src/cluster/etcd-coordinator.ts'
import { Etcd } from '../support/etcd.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

let etcd: Etcd
let prefixes = 0
const opened: { close(): Promise<void> }[] = []
const proxies: TcpProxy[] = []

beforeAll(async () => {
  etcd = await Etcd.start()
}, 300_000)

afterAll(() => etcd.stop())

afterEach(async () => {
  for (const store of opened.splice(0)) await store.close()
  for (const proxy of proxies.splice(0)) await proxy.stop()
})

function open(urls: readonly string[] = [etcd.url], prefix = `/faults/${++prefixes}/`): Coordinator {
  const store = new EtcdCoordinator({
    urls,
    prefix,
    user: null,
    tls: {},
    clock: systemClock,
    logger: nullLogger,
    callMs: 3000,
    attemptMs: 500,
    silenceMs: 1500,
  })
  opened.push(store)
  return store
}

async function proxied(): Promise<TcpProxy> {
  const proxy = await TcpProxy.start(etcd.port)
  proxies.push(proxy)
  return proxy
}

const eventually = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 20 })
const put = (store: Coordinator, key: string, value: string): ReturnType<Coordinator['transact']> =>
  store.transact([], [{ put: key, value }])
const valueOf = async (store: Coordinator, key: string): Promise<string | null> => (await store.get(key))?.value ?? null

function listen(store: Coordinator, after: number): { values: string[]; lost: number } {
  const heard = { values: [] as string[], lost: 0 }
  const changes = (more: Change[]): void => {
    for (const change of more) heard.values.push('put' in change ? change.put.value : `-${change.deleted}`)
  }
  store.watch('', after, { changes, lost: () => void heard.lost++ })
  return heard
}

/** How a call ended: with its answer, a refusal (nothing happened), or nobody knows. */
async function outcomeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'done',
    (error: unknown) => (TidingsError.is(error) ? error.code : 'unknown'),
  )
}

describe('an etcd that ends and starts again', () => {
  it('keeps what was confirmed, leases too, and watches go on where they were', async () => {
    const store = open()
    const { revision } = await put(store, 'a', '1')
    const lease = await store.grant(60_000)
    await store.transact([], [{ put: 'leased', value: '2', lease }])
    const heard = listen(store, revision)
    await eventually(() => expect(heard.values).toEqual(['2']))
    await etcd.kill()
    const reading = valueOf(store, 'a')
    const restarting = etcd.start()
    expect(await reading).toBe('1')
    await restarting
    await put(store, 'b', '3')
    expect(await store.keepAlive(lease)).toBe(true)
    await eventually(() => expect(heard.values).toEqual(['2', '3']))
    expect(heard.lost).toBe(0)
  })

  it('is waited for, and what cannot be asked is refused in time', async () => {
    const store = open()
    await put(store, 'a', '1')
    await etcd.kill()
    expect(await outcomeOf(put(store, 'a', '2'))).toMatch(/^(no_leader|unknown)$/)
    expect(await outcomeOf(put(store, 'a', '2'))).toBe('no_leader')
    expect(await outcomeOf(store.get('a'))).toBe('no_leader')
    expect(await outcomeOf(store.grant(5000))).toBe('no_leader')
    await etcd.start()
    expect(await valueOf(store, 'a')).toBe('1')
  })

  it('is not used when it went back to an old backup', async () => {
    const store = open()
    await put(store, 'a', '1')
    await etcd.kill()
    etcd.backUp()
    await etcd.start()
    for (const value of ['2', '3']) await put(store, 'a', value)
    await etcd.kill()
    etcd.restore()
    await etcd.start()
    await expect(store.get('a')).rejects.toThrow(/restored from an old backup/)
    expect(await outcomeOf(put(store, 'a', '4'))).toBe('no_leader')
    // To somebody new it is as good as any.
    expect(await valueOf(open([etcd.url], `/faults/${prefixes}/`), 'a')).toBe('1')
  })
})

describe('an etcd that stands still', () => {
  it('leaves the outcome of a write open, and of reads says that nobody answered', async () => {
    const store = open()
    const { revision } = await put(store, 'a', '1')
    const heard = listen(store, revision)
    etcd.pause()
    const writing = outcomeOf(put(store, 'a', '2'))
    const reading = outcomeOf(store.get('a'))
    expect([await writing, await reading]).toEqual(['unknown', 'no_leader'])
    etcd.resume()
    const value = await valueOf(store, 'a')
    expect(['1', '2']).toContain(value)
    await put(store, 'a', '3')
    await eventually(() => expect(heard.values.at(-1)).toBe('3'))
    expect(heard.values.slice(0, -1)).toEqual((await valueOf(store, 'a')) === '3' && value === '2' ? ['2'] : [])
  })

  it('costs little when another endpoint answers: calls go there, and watches with them', async () => {
    const frozen = await proxied()
    const store = open([frozen.url, etcd.url])
    const { revision } = await put(store, 'a', '1')
    const lease = await store.grant(60_000)
    const heard = listen(store, revision)
    await put(store, 'a', '2')
    await eventually(() => expect(heard.values).toEqual(['2']))
    frozen.isFrozen = true
    expect(await valueOf(store, 'a')).toBe('2')
    expect(await store.keepAlive(lease)).toBe(true)
    await put(store, 'a', '3')
    await eventually(() => expect(heard.values).toEqual(['2', '3']))
    expect(heard.lost).toBe(0)
  })

  it('is noticed by a watch even when nothing else is asked', async () => {
    const frozen = await proxied()
    const store = open([frozen.url, etcd.url])
    const writer = open([etcd.url], `/faults/${prefixes}/`)
    const { revision } = await put(store, 'a', '1')
    const heard = listen(store, revision)
    await put(writer, 'a', '2')
    await eventually(() => expect(heard.values).toEqual(['2']))
    frozen.isFrozen = true
    await put(writer, 'a', '3')
    await eventually(() => expect(heard.values).toEqual(['2', '3']))
  })
})

describe('a network that loses things', () => {
  it('sends a write elsewhere when it was not sent, and never when it may have been', async () => {
    const proxy = await proxied()
    const store = open([proxy.url, etcd.url])
    await put(store, 'a', '1')
    proxy.answersToLose = 1
    expect(await outcomeOf(put(store, 'a', '2'))).toBe('unknown')
    expect(await valueOf(store, 'a')).toBe('2')
    const other = open([proxy.url, etcd.url])
    proxy.isRefusing = true
    proxy.cut()
    expect(await outcomeOf(put(other, 'a', '3'))).toBe('done')
  })

  it('takes garbage for no answer', async () => {
    const proxy = await proxied()
    const store = open([proxy.url, etcd.url])
    await put(store, 'a', '1')
    proxy.chunksToGarble = 1
    expect(await outcomeOf(put(store, 'a', '2'))).toBe('unknown')
    proxy.answersToTruncate = 1
    expect(await valueOf(store, 'a')).toBe('2')
  })

  it('counts every increment once when each that is not known is read back', async () => {
    const both = [await proxied(), await proxied()]
    const urls = both.map(({ url }) => url)
    const stores = [open(urls), open(urls, `/faults/${prefixes}/`)]
    let made = 0
    let unknown = 0
    let tries = 0
    const increment = async (store: Coordinator, nonce: string): Promise<void> => {
      for (;;) {
        const entry = await store.get('n')
        const { count, by } = JSON.parse(entry?.value ?? '{"count":0,"by":[]}') as { count: number; by: string[] }
        if (by.includes(nonce)) break
        const value = JSON.stringify({ count: count + 1, by: [...by, nonce] })
        const guards = [{ key: 'n', modRevision: entry?.modRevision ?? 0 }]
        if (tries++ % 3 === 0) for (const proxy of both) proxy.answersToLose = 1
        const outcome = await outcomeOf(store.transact(guards, [{ put: 'n', value }]))
        for (const proxy of both) proxy.answersToLose = 0
        if (outcome === 'unknown') unknown++
      }
      made++
    }
    const run = async (store: Coordinator, name: string): Promise<void> => {
      for (let i = 0; i < 20; i++) await increment(store, `${name}${i}`)
    }
    await Promise.all(stores.map((store, i) => run(store, `${i}-`)))
    const { count, by } = JSON.parse((await valueOf(stores[0]!, 'n'))!) as { count: number; by: string[] }
    expect([count, by.length, new Set(by).size]).toEqual([made, made, made])
    expect(made).toBe(40)
    expect(unknown, 'answers that got lost').toBeGreaterThan(0)
  })

  it('makes a watch lost when etcd forgot what came between', async () => {
    const proxy = await proxied()
    const store = open([proxy.url])
    const writer = open([etcd.url], `/faults/${prefixes}/`)
    const { revision } = await put(store, 'a', '1')
    const heard = listen(store, revision)
    await put(writer, 'a', '2')
    await eventually(() => expect(heard.values).toEqual(['2']))
    proxy.isRefusing = true
    proxy.cut()
    for (const value of ['3', '4']) await put(writer, 'a', value)
    await etcd.compact()
    proxy.isRefusing = false
    await eventually(() => expect(heard.lost).toBe(1))
    const { entries, revision: now } = await store.list('')
    expect(entries.map(({ value }) => value)).toEqual(['4'])
    const again = listen(store, now)
    await put(writer, 'a', '5')
    await eventually(() => expect(again.values).toEqual(['5']))
    expect(heard).toEqual({ values: ['2'], lost: 1 })
  })

  it('tells a watch everything, in order, while its connections are cut again and again', async () => {
    const proxy = await proxied()
    const store = open([proxy.url])
    const writer = open([etcd.url], `/faults/${prefixes}/`)
    const { revision } = await store.list('')
    const heard = listen(store, revision)
    for (let i = 0; i < 200; i++) {
      await put(writer, `k/${i % 7}`, String(i))
      if (i % 20 === 10) proxy.cut()
      if (i % 40 === 0) await sleep(50)
    }
    await eventually(() => expect(heard.values).toHaveLength(200))
    expect(heard.values).toEqual(Array.from({ length: 200 }, (_, i) => String(i)))
  })
})

describe('endpoints of two clusters', () => {
  it('are not mixed: nothing is read from the other, and nothing written to it', async () => {
    const other = await Etcd.start()
    try {
      const store = open([etcd.url, other.url])
      await put(store, 'a', '1')
      await etcd.kill()
      expect(await outcomeOf(put(store, 'a', '2'))).toMatch(/^(no_leader|unknown)$/)
      await expect(store.get('a')).rejects.toMatchObject({ code: 'no_leader' })
      expect((await open([other.url], '/faults/').list('')).entries).toEqual([])
    } finally {
      await etcd.start()
      await other.stop()
    }
  })
})
