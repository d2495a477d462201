/**
 * What every coordinator must do, whatever keeps it: called by coordinator.test.ts for each of them.
 * It asks nothing that a store across a network could not give: answers and watches may come late, and
 * of revisions only their order is compared.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Coordinator } from '../../src/cluster/coordinator.ts'
import { TRANSACTION_BYTES_MAX, WRITES_MAX } from '../../src/cluster/transaction-rules.ts'
import { leaseContract, watchContract } from './coordinator-time.ts'

export interface CoordinatorFixture {
  coordinator: Coordinator
  /** Lets that much time pass for leases, by driving a clock or by waiting. */
  advance(ms: number): Promise<void>
  /** Gives what is on its way to watches a little time to arrive. */
  turn(): Promise<void>
  /** Leases of this store are not to be asked for less. */
  leaseMs: number
  /** Makes the store forget the changes up to now. */
  forget(): Promise<void>
  /** Removes what the coordinator leaves behind, after it is closed. */
  dispose(): Promise<void>
}

/** A coordinator under test, another for each test, and what tests do with it. */
export interface Subject {
  readonly store: Coordinator
  readonly fixture: CoordinatorFixture
  put(key: string, value: string, lease?: string): Promise<number>
  arrived(has: () => boolean): Promise<void>
  valueOf(key: string): Promise<string | null>
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

    const subject: Subject = {
      get store() {
        return store
      },
      get fixture() {
        return fixture
      },
      put,
      arrived,
      valueOf,
    }

    entryContract()
    transactionContract()
    watchContract(subject)
    leaseContract(subject)

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

      it('lists more keys than fit on a page, as they were at one revision', async () => {
        for (let from = 0; from < 1200; from += 100) {
          const keys = Array.from({ length: 100 }, (_, i) => `many/${String(from + i).padStart(4, '0')}`)
          await store.transact(
            [],
            keys.map((key) => ({ put: key, value: '0' })),
          )
        }
        let isWriting = true
        const write = async (): Promise<void> => {
          for (let round = 1; isWriting; round++) {
            // Both ends at once: a list that sees one of them only was not read at one revision.
            const ends = ['many/0000', 'many/1199'].map((key) => ({ put: key, value: String(round) }))
            await store.transact([], ends)
            await fixture.turn()
          }
        }
        const writing = write()
        for (let i = 0; i < 5; i++) {
          const { entries, revision } = await store.list('many/')
          expect(entries).toHaveLength(1200)
          expect(entries.map(({ key }) => key)).toEqual(entries.map(({ key }) => key).toSorted())
          expect(entries.at(0)?.value).toBe(entries.at(-1)?.value)
          expect(Math.max(...entries.map(({ modRevision }) => modRevision))).toBeLessThanOrEqual(revision)
          await fixture.turn()
        }
        isWriting = false
        await writing
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

      it('deletes all keys under a prefix with one write, and no other', async () => {
        await put('kept', '1')
        await put('gone', 'shorter than the prefix')
        for (const key of ['gone/', 'gone/a', 'gone/b/c', 'gone/\u{1F600}', 'gone0']) await put(key, key)
        const { revision } = await store.list('')
        const deletion = [{ deleteUnder: 'gone/' }, { delete: 'kept' }, { put: 'new', value: '1' }]
        expect((await store.transact([{ key: 'kept', modRevision: 0 }], deletion)).ok).toBe(false)
        expect((await store.list('gone/')).entries).toHaveLength(4)
        const taken = await store.transact([], deletion)
        expect(taken.ok).toBe(true)
        expect(taken.revision).toBeGreaterThan(revision)
        expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['gone', 'gone0', 'new'])
        expect((await store.transact([], [{ deleteUnder: 'nobody/' }])).ok).toBe(true)
      })

      it('takes as many writes as it promises, and refuses more as a whole', async () => {
        const writes = Array.from({ length: WRITES_MAX + 1 }, (_, i) => ({ put: `k/${i}`, value: String(i) }))
        const guards = writes.map(({ put: key }) => ({ key, modRevision: 0 }))
        const refused = { code: 'invalid_argument' }
        await expect(store.transact([], writes)).rejects.toMatchObject(refused)
        await expect(store.transact(guards, [])).rejects.toMatchObject(refused)
        expect((await store.list('')).entries).toEqual([])
        expect((await store.transact(guards.slice(1), writes.slice(1))).ok).toBe(true)
        expect((await store.list('')).entries).toHaveLength(WRITES_MAX)
      })

      it('takes as many bytes as it promises, and refuses more as a whole', async () => {
        const value = 'x'.repeat(TRANSACTION_BYTES_MAX - 1)
        await expect(store.transact([], [{ put: 'ab', value }])).rejects.toMatchObject({ code: 'invalid_argument' })
        expect(await valueOf('ab')).toBeNull()
        await put('a', value)
        expect(await valueOf('a')).toBe(value)
      })

      it('does nothing for the deletion of a key that is not there, and says ok', async () => {
        const a = await put('a', '1')
        expect((await store.transact([], [{ delete: 'nobody' }])).ok).toBe(true)
        expect((await store.transact([{ key: 'a', modRevision: a }], [])).ok).toBe(true)
        expect((await store.transact([{ key: 'a', modRevision: a + 1 }], [])).ok).toBe(false)
      })

      it('refuses two writes to one key, and text that is no Unicode, as a whole', async () => {
        await expect(store.transact([], [{ put: 'a', value: '1' }, { delete: 'a' }])).rejects.toThrow()
        await expect(store.transact([], [{ put: 'a/b', value: '1' }, { deleteUnder: 'a/' }])).rejects.toThrow()
        await expect(store.transact([], [{ put: 'a', value: '\uD800' }])).rejects.toThrow()
        await expect(store.transact([], [{ put: 'a\uDC00', value: '' }])).rejects.toThrow()
        expect((await store.list('')).entries).toEqual([])
      })

      it('refuses what is asked after it was closed', async () => {
        await store.close()
        await expect(store.get('a')).rejects.toMatchObject({ code: 'no_leader' })
        await expect(store.transact([], [{ put: 'a', value: '1' }])).rejects.toMatchObject({ code: 'no_leader' })
        await expect(store.list('')).rejects.toMatchObject({ code: 'no_leader' })
        await expect(store.grant(fixture.leaseMs)).rejects.toMatchObject({ code: 'no_leader' })
        await expect(store.keepAlive('never-was')).rejects.toMatchObject({ code: 'no_leader' })
        expect(() => store.watch('', 1, { changes: () => undefined, lost: () => undefined })).toThrow('stopping')
      })
    }
  })
}
