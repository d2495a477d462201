/**
 * What every coordinator must do, whatever keeps it: called by coordinator.test.ts for each of them.
 * It asks nothing that a store across a network could not give: answers and watches may come late, and
 * of revisions only their order is compared.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Change, Coordinator } from '../../src/cluster/coordinator.ts'

export interface CoordinatorFixture {
  coordinator: Coordinator
  /** Lets that much time pass for leases, by driving a clock or by waiting. */
  advance(ms: number): Promise<void>
  /** Gives what is on its way to watches a little time to arrive. */
  turn(): Promise<void>
  /** Leases of this store are not to be asked for less. */
  leaseMs: number
  /** Removes what the coordinator leaves behind, after it is closed. */
  dispose(): Promise<void>
}

export function coordinatorContract(name: string, make: () => Promise<CoordinatorFixture>): void {
  describe(`the ${name} coordinator`, () => {
    let fixture: CoordinatorFixture
    let store: Coordinator

    beforeEach(async () => {
      fixture = await make()
      store = fixture.coordinator
    })

    afterEach(async () => {
      await store.close()
      await fixture.dispose()
    })

    const put = async (key: string, value: string, lease?: string): Promise<number> => {
      const write = lease === undefined ? { put: key, value } : { put: key, value, lease }
      const { ok, revision } = await store.transact([], [write])
      expect(ok).toBe(true)
      return revision
    }
    const arrived = async (has: () => boolean): Promise<void> => {
      for (let i = 0; i < 200 && !has(); i++) await fixture.turn()
      expect(has(), 'what was waited for arrived').toBe(true)
    }
    const valueOf = async (key: string): Promise<string | null> => (await store.get(key))?.value ?? null

    entryContract()
    transactionContract()
    watchContract()
    leaseContract()

    function entryContract(): void {
      it('answers null for a key that is not there', async () => {
        expect(await store.get('nobody')).toBeNull()
      })

      it('keeps a value and the revisions of its creation and of its last change', async () => {
        const first = await put('a', 'one')
        expect(await store.get('a')).toEqual({
          key: 'a',
          value: 'one',
          createRevision: first,
          modRevision: first,
          lease: null,
        })
        const second = await put('a', 'two')
        expect(second).toBeGreaterThan(first)
        expect(await store.get('a')).toMatchObject({ value: 'two', createRevision: first, modRevision: second })
      })

      it('keeps any text that UTF-8 can hold, in values and in keys', async () => {
        const texts = ['', ' ', '\u0000', 'a\u0000b', '"\\\n', 'žluťoučký', '日本', '\u{1F600}', '\uFFFF', '\uFEFFbom']
        for (const [i, text] of texts.entries()) {
          await put(`value/${i}`, text)
          await put(`key/${text}`, String(i))
        }
        for (const [i, text] of texts.entries()) {
          expect(await valueOf(`value/${i}`)).toBe(text)
          expect(await valueOf(`key/${text}`)).toBe(String(i))
        }
      })

      it('lists by prefix, in the order of UTF-8 bytes, with the revision at which that was so', async () => {
        const ordered = ['p/', 'p/A', 'p/a', 'p/a/b', 'p/ab', 'p/ž', 'p/日', 'p/\uFFFD', 'p/\u{1F600}']
        for (const key of ordered.toReversed()) await put(key, key)
        await put('o', 'before')
        await put('p', 'shorter than the prefix')
        const last = await put('q', 'after')
        const { entries, revision } = await store.list('p/')
        expect(entries.map(({ key }) => key)).toEqual(ordered)
        expect(entries.map(({ value }) => value)).toEqual(ordered)
        expect(revision).toBeGreaterThanOrEqual(last)
      })

      it('lists everything under the empty prefix, and nothing under one that nobody has', async () => {
        await put('b', '1')
        await put('a', '2')
        expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['a', 'b'])
        expect((await store.list('c')).entries).toEqual([])
      })
    }

    function transactionContract(): void {
      it('creates a key only where none is, guarded by either revision being 0', async () => {
        expect((await store.transact([{ key: 'a', modRevision: 0 }], [{ put: 'a', value: '1' }])).ok).toBe(true)
        expect((await store.transact([{ key: 'a', modRevision: 0 }], [{ put: 'a', value: '2' }])).ok).toBe(false)
        expect((await store.transact([{ key: 'a', createRevision: 0 }], [{ put: 'a', value: '2' }])).ok).toBe(false)
        expect((await store.transact([{ key: 'b', createRevision: 0 }], [{ put: 'b', value: '1' }])).ok).toBe(true)
        expect(await valueOf('a')).toBe('1')
      })

      it('refuses a compare-and-set after another change, and takes it with the revision of that', async () => {
        const first = await put('a', '1')
        const second = await put('a', '2')
        expect((await store.transact([{ key: 'a', modRevision: first }], [{ put: 'a', value: '3' }])).ok).toBe(false)
        expect(await valueOf('a')).toBe('2')
        const taken = await store.transact([{ key: 'a', modRevision: second }], [{ put: 'a', value: '3' }])
        expect(taken.ok).toBe(true)
        expect((await store.get('a'))?.modRevision).toBe(taken.revision)
      })

      it('lets one of two racing writers win', async () => {
        const from = await put('a', 'start')
        const outcomes = await Promise.all(
          ['x', 'y'].map((value) => store.transact([{ key: 'a', modRevision: from }], [{ put: 'a', value }])),
        )
        expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1)
        expect(await valueOf('a')).toBe(outcomes[0]?.ok ? 'x' : 'y')
      })

      it('tells a key that was deleted and made again from the one before', async () => {
        const first = await put('a', 'same')
        await store.transact([], [{ delete: 'a' }])
        const again = await put('a', 'same')
        expect((await store.get('a'))?.createRevision).toBe(again)
        expect(again).toBeGreaterThan(first)
        expect((await store.transact([{ key: 'a', createRevision: first }], [{ delete: 'a' }])).ok).toBe(false)
        expect((await store.transact([{ key: 'a', createRevision: again }], [{ delete: 'a' }])).ok).toBe(true)
      })

      it('does all writes at one revision, or none when one guard fails', async () => {
        const a = await put('a', '1')
        await put('b', '1')
        const refused = await store.transact(
          [
            { key: 'a', modRevision: a },
            { key: 'b', modRevision: a },
          ],
          [{ put: 'a', value: '2' }, { delete: 'b' }, { put: 'c', value: '2' }],
        )
        expect(refused.ok).toBe(false)
        expect([await valueOf('a'), await valueOf('b'), await valueOf('c')]).toEqual(['1', '1', null])
        const taken = await store.transact(
          [
            { key: 'a', modRevision: a },
            { key: 'c', modRevision: 0 },
          ],
          [{ put: 'a', value: '2' }, { delete: 'b' }, { put: 'c', value: '2' }],
        )
        expect(taken.ok).toBe(true)
        expect([await valueOf('a'), await valueOf('b'), await valueOf('c')]).toEqual(['2', null, '2'])
        expect((await store.get('a'))?.modRevision).toBe((await store.get('c'))?.modRevision)
      })

      it('does nothing for the deletion of a key that is not there, and says ok', async () => {
        const a = await put('a', '1')
        expect((await store.transact([], [{ delete: 'nobody' }])).ok).toBe(true)
        expect((await store.transact([{ key: 'a', modRevision: a }], [])).ok).toBe(true)
        expect((await store.transact([{ key: 'a', modRevision: a + 1 }], [])).ok).toBe(false)
      })

      it('refuses two writes to one key, and text that is no Unicode, as a whole', async () => {
        await expect(store.transact([], [{ put: 'a', value: '1' }, { delete: 'a' }])).rejects.toThrow()
        await expect(store.transact([], [{ put: 'a', value: '\uD800' }])).rejects.toThrow()
        await expect(store.transact([], [{ put: 'a\uDC00', value: '' }])).rejects.toThrow()
        expect((await store.list('')).entries).toEqual([])
      })

      it('refuses what is asked after it was closed', async () => {
        await store.close()
        await expect(store.get('a')).rejects.toMatchObject({ code: 'no_leader' })
        await expect(store.transact([], [{ put: 'a', value: '1' }])).rejects.toMatchObject({ code: 'no_leader' })
      })
    }

    function watchContract(): void {
      const listen = (prefix: string, after: number) => {
        const seen: Change[] = []
        const calls = { lost: 0 }
        const changes = (more: Change[]): void => void seen.push(...more)
        const { stop } = store.watch(prefix, after, { changes, lost: () => void calls.lost++ })
        const values = (): string[] => seen.map((change) => ('put' in change ? change.put.value : `-${change.deleted}`))
        return { seen, calls, values, stop }
      }

      it('tells every change under the prefix after the revision, in order and without a gap', async () => {
        await put('w/a', 'before')
        const { revision } = await store.list('w/')
        await put('w/a', '1')
        await put('elsewhere', 'not seen')
        const watch = listen('w/', revision)
        await put('w/b', '2')
        await store.transact([], [{ delete: 'w/a' }])
        await put('w/b', '3')
        await arrived(() => watch.values().length >= 4)
        expect(watch.values()).toEqual(['1', '2', '-w/a', '3'])
        const revisions = watch.seen.map((change) => ('put' in change ? change.put.modRevision : change.revision))
        expect(revisions).toEqual(revisions.toSorted((a, b) => a - b))
        expect(watch.calls.lost).toBe(0)
      })

      it('tells the changes of one transaction in one call', async () => {
        const { revision } = await store.list('')
        const calls: number[] = []
        store.watch('', revision, { changes: (changes) => void calls.push(changes.length), lost: () => undefined })
        await fixture.turn()
        await store.transact(
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
        const { revision } = await store.list('')
        const calls: string[] = []
        let depth = 0
        store.watch('', revision, {
          changes: (changes) => {
            expect(depth).toBe(0)
            depth++
            for (const change of changes) if ('put' in change) calls.push(change.put.value)
            if (calls.length === 1) {
              store
                .transact([], [{ put: 'b', value: 'from the callback' }])
                .catch((error: unknown) => calls.push(String(error)))
            }
            depth--
          },
          lost: () => undefined,
        })
        depth++
        const writing = store.transact([], [{ put: 'a', value: 'first' }])
        depth--
        await writing
        await arrived(() => calls.length >= 2)
        expect(calls).toEqual(['first', 'from the callback'])
      })

      it('says no more once it is stopped', async () => {
        const { revision } = await store.list('')
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

    function leaseContract(): void {
      it('removes the keys of a lease when nobody keeps it alive, and tells watches', async () => {
        const lease = await store.grant(fixture.leaseMs)
        await put('leased', '1', lease)
        const { revision } = await store.list('')
        await put('free', '1')
        const deleted: string[] = []
        store.watch('', revision, {
          changes: (changes) => {
            for (const change of changes) if ('deleted' in change) deleted.push(change.deleted)
          },
          lost: () => undefined,
        })
        expect((await store.get('leased'))?.lease).toBe(lease)
        await fixture.advance(fixture.leaseMs * 2)
        await arrived(() => deleted.length > 0)
        expect(deleted).toEqual(['leased'])
        expect(await valueOf('leased')).toBeNull()
        expect(await valueOf('free')).toBe('1')
        expect(await store.keepAlive(lease)).toBe(false)
      })

      it('keeps a lease for as long as it is kept alive', async () => {
        const lease = await store.grant(fixture.leaseMs)
        await put('leased', '1', lease)
        for (let i = 0; i < 5; i++) {
          await fixture.advance(fixture.leaseMs * 0.6)
          expect(await store.keepAlive(lease)).toBe(true)
        }
        expect(await valueOf('leased')).toBe('1')
      })

      it('removes the keys of a lease that is revoked, once', async () => {
        const lease = await store.grant(fixture.leaseMs)
        await put('a', '1', lease)
        await put('b', '1', lease)
        await store.revoke(lease)
        expect((await store.list('')).entries).toEqual([])
        expect(await store.keepAlive(lease)).toBe(false)
        await store.revoke(lease)
      })

      it('refuses a write on a lease that is gone or never was, with all of its transaction', async () => {
        const lease = await store.grant(fixture.leaseMs)
        await store.revoke(lease)
        for (const gone of [lease, 'never-was']) {
          const writes = [
            { put: 'a', value: '1' },
            { put: 'b', value: '1', lease: gone },
          ]
          await expect(store.transact([], writes)).rejects.toThrow()
        }
        expect((await store.list('')).entries).toEqual([])
      })

      it('takes a key off its lease when it is put without one, or on another', async () => {
        const first = await store.grant(fixture.leaseMs)
        const second = await store.grant(fixture.leaseMs)
        await put('a', '1', first)
        await put('b', '1', first)
        await put('a', '2')
        await put('b', '2', second)
        await store.revoke(first)
        expect(await valueOf('a')).toBe('2')
        expect(await valueOf('b')).toBe('2')
        await store.revoke(second)
        expect(await valueOf('b')).toBeNull()
      })

      it('leaves a key alone that was deleted and made again without the lease', async () => {
        const lease = await store.grant(fixture.leaseMs)
        await put('a', '1', lease)
        await store.transact([], [{ delete: 'a' }])
        await put('a', '2')
        await store.revoke(lease)
        expect(await valueOf('a')).toBe('2')
      })
    }
  })
}
