/** What every coordinator must do as time goes by: watches and leases. Part of coordinator.ts. */
import { expect, it } from 'vitest'
import type { Change } from '../../src/cluster/coordinator.ts'
import type { Subject } from './coordinator.ts'

export function watchContract(subject: Subject): void {
  const { put, arrived } = subject

  const listen = (prefix: string, after: number) => {
    const seen: Change[] = []
    const calls = { lost: 0 }
    const changes = (more: Change[]): void => void seen.push(...more)
    const { stop } = subject.store.watch(prefix, after, { changes, lost: () => void calls.lost++ })
    const values = (): string[] => seen.map((change) => ('put' in change ? change.put.value : `-${change.deleted}`))
    return { seen, calls, values, stop }
  }

  it('tells every change under the prefix after the revision, in order and without a gap', async () => {
    await put('w/a', 'before')
    const { revision } = await subject.store.list('w/')
    await put('w/a', '1')
    await put('elsewhere', 'not seen')
    const watch = listen('w/', revision)
    await put('w/b', '2')
    await subject.store.transact([], [{ delete: 'w/a' }])
    await put('w/b', '3')
    await arrived(() => watch.values().length >= 4)
    expect(watch.values()).toEqual(['1', '2', '-w/a', '3'])
    const revisions = watch.seen.map((change) => ('put' in change ? change.put.modRevision : change.revision))
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b))
    expect(watch.calls.lost).toBe(0)
  })

  it('tells the changes of one transaction in one call', async () => {
    const { revision } = await subject.store.list('')
    const calls: number[] = []
    subject.store.watch('', revision, { changes: (changes) => void calls.push(changes.length), lost: () => undefined })
    await subject.fixture.turn()
    await subject.store.transact(
      [],
      [
        { put: 'a', value: '1' },
        { put: 'b', value: '2' },
      ],
    )
    await arrived(() => calls.length > 0)
    expect(calls).toEqual([2])
  })

  it('never calls back from within a call, of its own or of the store', async () => {
    const { revision } = await subject.store.list('')
    const calls: string[] = []
    let depth = 0
    subject.store.watch('', revision, {
      changes: (changes) => {
        expect(depth).toBe(0)
        depth++
        for (const change of changes) if ('put' in change) calls.push(change.put.value)
        if (calls.length === 1) {
          subject.store
            .transact([], [{ put: 'b', value: 'from the callback' }])
            .catch((error: unknown) => calls.push(String(error)))
        }
        depth--
      },
      lost: () => undefined,
    })
    depth++
    const writing = subject.store.transact([], [{ put: 'a', value: 'first' }])
    depth--
    await writing
    await arrived(() => calls.length >= 2)
    expect(calls).toEqual(['first', 'from the callback'])
  })

  it('tells each deletion under a prefix', async () => {
    for (const key of ['d/a', 'd/b']) await put(key, '1')
    const { revision } = await subject.store.list('')
    const watch = listen('d/', revision)
    await subject.store.transact([], [{ deleteUnder: 'd/' }])
    await arrived(() => watch.values().length >= 2)
    expect(watch.values().toSorted()).toEqual(['-d/a', '-d/b'])
  })

  it('tells what happened before it began, and goes on with what happens after', async () => {
    const first = await put('a', '1')
    await put('a', '2')
    await put('b', '3')
    const watch = listen('', first)
    await arrived(() => watch.values().length >= 2)
    await put('a', '4')
    await arrived(() => watch.values().length >= 3)
    expect(watch.values()).toEqual(['2', '3', '4'])
  })

  it('says that it is lost, once, when changes after its revision are forgotten', async () => {
    const first = await put('a', '1')
    // The last of the changes is also what the store holds: it need not be forgotten.
    for (const value of ['2', '3']) await put('a', value)
    await subject.fixture.forget()
    const lost = listen('', first)
    await arrived(() => lost.calls.lost > 0)
    const { revision } = await subject.store.list('')
    const watch = listen('', revision)
    await put('a', 'after')
    await arrived(() => watch.values().length > 0)
    expect(watch.values()).toEqual(['after'])
    expect(lost.calls.lost).toBe(1)
    expect(lost.values()).toEqual([])
  })

  it('says no more once it is stopped', async () => {
    const { revision } = await subject.store.list('')
    const stopped = listen('', revision)
    const other = listen('', revision)
    await put('a', '1')
    stopped.stop()
    const before = stopped.values().length
    await put('a', '2')
    await arrived(() => other.values().length >= 2)
    expect(stopped.values()).toHaveLength(before)
    expect(other.values()).toEqual(['1', '2'])
  })
}

export function leaseContract(subject: Subject): void {
  const { put, arrived, valueOf } = subject

  it('removes the keys of a lease when nobody keeps it alive, and tells watches', async () => {
    const lease = await subject.store.grant(subject.fixture.leaseMs)
    await put('leased', '1', lease)
    const { revision } = await subject.store.list('')
    await put('free', '1')
    const deleted: string[] = []
    subject.store.watch('', revision, {
      changes: (changes) => {
        for (const change of changes) if ('deleted' in change) deleted.push(change.deleted)
      },
      lost: () => undefined,
    })
    expect((await subject.store.get('leased'))?.lease).toBe(lease)
    await subject.fixture.advance(subject.fixture.leaseMs * 2)
    await arrived(() => deleted.length > 0)
    expect(deleted).toEqual(['leased'])
    expect(await valueOf('leased')).toBeNull()
    expect(await valueOf('free')).toBe('1')
    expect(await subject.store.keepAlive(lease)).toBe(false)
  })

  it('keeps a lease for as long as it is kept alive', async () => {
    const lease = await subject.store.grant(subject.fixture.leaseMs)
    await put('leased', '1', lease)
    for (let i = 0; i < 5; i++) {
      await subject.fixture.advance(subject.fixture.leaseMs * 0.6)
      expect(await subject.store.keepAlive(lease)).toBe(true)
    }
    expect(await valueOf('leased')).toBe('1')
  })

  it('knows no lease that nobody granted, and grants each only once', async () => {
    expect(await subject.store.keepAlive('never-was')).toBe(false)
    await subject.store.revoke('never-was')
    const leases = await Promise.all([
      subject.store.grant(subject.fixture.leaseMs),
      subject.store.grant(subject.fixture.leaseMs),
    ])
    expect(new Set(leases).size).toBe(2)
    for (const lease of leases) await subject.store.revoke(lease)
  })

  it('removes the keys of a lease that is revoked, once', async () => {
    const lease = await subject.store.grant(subject.fixture.leaseMs)
    await put('a', '1', lease)
    await put('b', '1', lease)
    await subject.store.revoke(lease)
    expect((await subject.store.list('')).entries).toEqual([])
    expect(await subject.store.keepAlive(lease)).toBe(false)
    await subject.store.revoke(lease)
  })

  it('refuses a write on a lease that is gone or never was, with all of its transaction', async () => {
    const lease = await subject.store.grant(subject.fixture.leaseMs)
    await subject.store.revoke(lease)
    for (const gone of [lease, 'never-was']) {
      const writes = [
        { put: 'a', value: '1' },
        { put: 'b', value: '1', lease: gone },
      ]
      await expect(subject.store.transact([], writes)).rejects.toThrow()
    }
    expect((await subject.store.list('')).entries).toEqual([])
  })

  it('takes a key off its lease when it is put without one, or on another', async () => {
    const first = await subject.store.grant(subject.fixture.leaseMs)
    const second = await subject.store.grant(subject.fixture.leaseMs)
    await put('a', '1', first)
    await put('b', '1', first)
    await put('a', '2')
    await put('b', '2', second)
    await subject.store.revoke(first)
    expect(await valueOf('a')).toBe('2')
    expect(await valueOf('b')).toBe('2')
    await subject.store.revoke(second)
    expect(await valueOf('b')).toBeNull()
  })

  it('leaves a key alone that was deleted and made again without the lease', async () => {
    const lease = await subject.store.grant(subject.fixture.leaseMs)
    await put('a', '1', lease)
    await subject.store.transact([], [{ delete: 'a' }])
    await put('a', '2')
    await subject.store.revoke(lease)
    expect(await valueOf('a')).toBe('2')
  })
}
