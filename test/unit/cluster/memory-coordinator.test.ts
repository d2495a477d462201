/** What the store in memory promises beyond the contract: exact revisions, bounds, restarts, a journal that fails. */
import { describe, expect, it } from 'vitest'
import type { Change } from '../../../src/cluster/coordinator.ts'
import { type Journal, MemoryCoordinator, type StoreContent } from '../../../src/cluster/memory-coordinator.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { settle } from '../../support/settle.ts'

function make(more: { content?: StoreContent; journal?: Journal; historyCount?: number; clock?: SimClock } = {}) {
  return new MemoryCoordinator({ clock: new SimClock(), random: new SimRandom('memory'), ...more })
}

const put = (store: MemoryCoordinator, key: string, value: string, lease?: string) =>
  store.transact([], [lease === undefined ? { put: key, value } : { put: key, value, lease }])

function listen(store: MemoryCoordinator, after: number) {
  const told: (Change[] | 'lost')[] = []
  store.watch('', after, { changes: (changes) => void told.push(changes), lost: () => void told.push('lost') })
  return told
}

describe('the revision', () => {
  it('rises by one with every commit that changes something, and with nothing else', async () => {
    const store = make()
    expect((await put(store, 'a', '1')).revision).toBe(1)
    const both = await store.transact(
      [],
      [
        { put: 'a', value: '2' },
        { put: 'b', value: '2' },
      ],
    )
    expect(both).toEqual({ ok: true, revision: 2 })
    expect(await store.transact([{ key: 'a', modRevision: 1 }], [{ delete: 'a' }])).toEqual({ ok: false, revision: 2 })
    expect(await store.transact([], [{ delete: 'nobody' }])).toEqual({ ok: true, revision: 2 })
    expect(await store.transact([], [])).toEqual({ ok: true, revision: 2 })
    expect(await store.transact([], [{ delete: 'a' }])).toEqual({ ok: true, revision: 3 })
    expect((await store.list('')).revision).toBe(3)
  })
})

describe('a watch', () => {
  it('is lost once more commits were forgotten than it has seen, and told nothing after that', async () => {
    const store = make({ historyCount: 3 })
    for (let i = 1; i <= 5; i++) await put(store, 'a', String(i))
    const late = listen(store, 1)
    const inTime = listen(store, 2)
    await settle()
    await put(store, 'a', '6')
    await settle()
    expect(late).toEqual(['lost'])
    expect(inTime.flat().map((change) => typeof change === 'object' && 'put' in change && change.put.value)).toEqual([
      '3',
      '4',
      '5',
      '6',
    ])
  })

  it('is lost when it asks for what was before a restart', async () => {
    const first = make()
    await put(first, 'a', '1')
    await put(first, 'a', '2')
    const second = make({ content: first.content() })
    const before = listen(second, 1)
    const from = listen(second, 2)
    await put(second, 'a', '3')
    await settle()
    expect(before).toEqual(['lost'])
    expect(from).toHaveLength(1)
  })

  it('is told nothing that came before the revision it names, be it in the future', async () => {
    const store = make()
    const told = listen(store, 2)
    await put(store, 'a', '1')
    await settle()
    await put(store, 'a', '2')
    await settle()
    expect(told).toEqual([])
    await put(store, 'a', '3')
    await settle()
    expect(told).toHaveLength(1)
  })

  it('hears nothing after the store is closed', async () => {
    const store = make()
    const told = listen(store, 0)
    const writing = put(store, 'a', '1')
    await store.close()
    expect((await writing).ok).toBe(true)
    await settle()
    expect(told).toEqual([])
  })
})

describe('the content of a store', () => {
  it('carries entries and the revision to the next instance, without what hung on leases', async () => {
    const first = make()
    const lease = await first.grant(1000)
    await put(first, 'b', 'leased', lease)
    await put(first, 'a', '1')
    await put(first, 'a', '2')
    const content = first.content()
    const second = make({ content })
    await put(first, 'a', 'after the copy')
    expect((await second.list('')).entries).toEqual([
      { key: 'a', value: '2', createRevision: 2, modRevision: 3, lease: null },
    ])
    expect(second.content().revision).toBe(4)
    expect(await second.keepAlive(lease)).toBe(false)
  })

  it('cannot be changed through what was handed out', async () => {
    const store = make()
    await put(store, 'a', '1')
    const entry = await store.get('a')
    expect(() => Object.assign(entry!, { value: '2' })).toThrow(TypeError)
    ;(await store.list('')).entries.pop()
    expect((await store.get('a'))?.value).toBe('1')
  })
})

describe('a lease', () => {
  it('is over at its deadline, even before its timer had its turn', async () => {
    let nowMs = 0
    const fires: (() => void)[] = []
    const clock = Object.assign(new SimClock(), {
      monotonic: () => nowMs,
      after: (_: number, fire: () => void) => {
        fires.push(fire)
        return { cancel: () => undefined }
      },
    })
    const store = make({ clock })
    const lease = await store.grant(1000)
    nowMs = 999
    expect(await store.keepAlive(lease)).toBe(true)
    nowMs = 1999
    expect(await store.keepAlive(lease)).toBe(false)
    await expect(put(store, 'a', '1', lease)).rejects.toMatchObject({ code: 'conflict' })
    fires[0]?.()
    expect(await store.keepAlive(lease)).toBe(false)
  })

  it('keeps one timer, however often it is kept alive, and none after it ends', async () => {
    const clock = new SimClock()
    const store = make({ clock })
    const lease = await store.grant(1000)
    for (let i = 0; i < 10; i++) {
      clock.advance(700)
      expect(await store.keepAlive(lease)).toBe(true)
      expect(clock.pending).toBe(1)
    }
    await store.revoke(lease)
    expect(clock.pending).toBe(0)
    await store.grant(1000)
    await store.close()
    clock.advance(5000)
    expect(store.content().revision).toBe(0)
  })
})

describe('a journal', () => {
  it('hears of every commit before anybody else does, and of none that changes nothing', async () => {
    const commits: [number, string][] = []
    const journal: Journal = {
      commit: (revision, changes) => {
        expect(store.content().revision).toBe(revision - 1)
        commits.push([
          revision,
          changes.map((change) => ('put' in change ? change.put.key : `-${change.deleted}`)).join(),
        ])
      },
      close: () => void commits.push([0, 'closed']),
    }
    const store: MemoryCoordinator = make({ journal })
    await store.transact(
      [],
      [
        { put: 'a', value: '1' },
        { put: 'b', value: '1' },
      ],
    )
    await store.transact([], [{ delete: 'a' }, { delete: 'nobody' }])
    await store.transact([], [{ delete: 'nobody' }])
    await store.close()
    await store.close()
    expect(commits).toEqual([
      [1, 'a,b'],
      [2, '-a'],
      [0, 'closed'],
    ])
  })

  it('that fails leaves everything as it was, and the keys of an ended lease for the next try', async () => {
    const clock = new SimClock()
    let broken = false
    const journal: Journal = {
      commit: () => {
        if (broken) throw new Error('no room')
      },
      close: () => undefined,
    }
    const store = make({ clock, journal })
    const lease = await store.grant(1000)
    await put(store, 'leased', '1', lease)
    const told = listen(store, 1)
    broken = true
    await expect(put(store, 'a', '1')).rejects.toThrow('no room')
    expect(store.content()).toMatchObject({ revision: 1, entries: [{ key: 'leased' }] })
    clock.advance(1500)
    expect(await store.keepAlive(lease)).toBe(false)
    expect((await store.get('leased'))?.value).toBe('1')
    await settle()
    expect(told).toEqual([])
    broken = false
    clock.advance(1000)
    expect(await store.get('leased')).toBeNull()
    await settle()
    expect(told).toEqual([[{ deleted: 'leased', revision: 2 }]])
    expect(clock.pending).toBe(0)
  })
})
