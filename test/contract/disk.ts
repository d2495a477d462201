/**
 * What every Disk must do, whatever it stands on. Run against the real one and the simulated one, so
 * that neither can promise what the other does not keep. What only a crash shows is tested with
 * the simulated disk (unit/testing/sim-disk.test.ts) and in process tests.
 */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Disk, type DiskFile, readWhole, replaceFile } from '../../src/base/disk.ts'
import { InvariantError } from '../../src/base/invariant.ts'

export interface DiskUnderTest {
  disk: Disk
  dispose(): Promise<void>
}

export function diskContract(name: string, make: () => Promise<DiskUnderTest>): void {
  describe(name, () => {
    let subject: DiskUnderTest
    let disk: Disk
    const opened: DiskFile[] = []

    beforeEach(async () => {
      subject = await make()
      disk = subject.disk
    })

    afterEach(async () => {
      for (const file of opened.splice(0)) await file.close()
      await subject.dispose()
    })

    async function open(path: string, mode: 'create' | 'edit' | 'read'): Promise<DiskFile> {
      const file = await disk.open(path, mode)
      opened.push(file)
      return file
    }

    async function put(path: string, content: string): Promise<void> {
      const file = await disk.open(path, 'create')
      await file.write(0, Buffer.from(content))
      await file.close()
    }

    async function text(path: string): Promise<string | undefined> {
      return (await readWhole(disk, path))?.toString()
    }

    describe('file', () => {
      it('reads back what was written, whatever the order of positions', async () => {
        const file = await open('f', 'create')
        await file.write(6, Buffer.from('world'))
        await file.write(0, Buffer.from('hello '))
        expect(await file.size()).toBe(11)
        expect((await file.read(0, 11)).toString()).toBe('hello world')
        expect((await file.read(4, 3)).toString()).toBe('o w')
      })

      it('reads less than asked only where the file ends', async () => {
        const file = await open('f', 'create')
        await file.write(0, Buffer.from('abc'))
        expect((await file.read(1, 100)).toString()).toBe('bc')
        expect(await file.read(3, 10)).toHaveLength(0)
        expect(await file.read(1_000, 10)).toHaveLength(0)
        expect(await file.read(1, 0)).toHaveLength(0)
      })

      it('fills with zeros what lies before a write behind the end', async () => {
        const file = await open('f', 'create')
        await file.write(0, Buffer.from('a'))
        await file.write(4, Buffer.from('b'))
        expect([...(await file.read(0, 5))]).toEqual([97, 0, 0, 0, 98])
      })

      it('stays as it is when nothing is written to it', async () => {
        const file = await open('f', 'create')
        await file.write(100, Buffer.alloc(0))
        expect(await file.size()).toBe(0)
      })

      it('writes only the bytes that a view shows', async () => {
        const file = await open('f', 'create')
        await file.write(0, Buffer.from('0123456789').subarray(3, 6))
        expect((await file.read(0, 10)).toString()).toBe('345')
      })

      it('takes several writes to different ranges at once', async () => {
        const file = await open('f', 'create')
        await Promise.all(
          Array.from({ length: 20 }, (_, index) => file.write(index * 100, Buffer.alloc(100, index + 1))),
        )
        const content = await file.read(0, 2_000)
        expect(content).toHaveLength(2_000)
        for (let at = 0; at < 2_000; at++) expect(content[at]).toBe(Math.floor(at / 100) + 1)
      })

      it('stores megabytes in one write', async () => {
        const bytes = Buffer.alloc(5_000_001)
        for (let at = 0; at < bytes.length; at += 4_096) bytes.writeUInt8((at / 4_096) % 251, at)
        const file = await open('f', 'create')
        await file.write(3, bytes)
        expect((await file.read(3, bytes.length)).equals(bytes)).toBe(true)
      })

      it('is cut and extended by truncate, with zeros', async () => {
        const file = await open('f', 'create')
        await file.write(0, Buffer.from('abcdef'))
        await file.truncate(2)
        expect(await file.size()).toBe(2)
        await file.truncate(4)
        expect([...(await file.read(0, 10))]).toEqual([97, 98, 0, 0])
      })

      it('can be synced, with and without new content', async () => {
        const file = await open('f', 'create')
        await file.sync()
        await file.write(0, Buffer.from('a'))
        await file.sync()
        await file.truncate(0)
        await file.sync()
        expect(await file.size()).toBe(0)
      })

      it('is written durably too, in any order with other writes', async () => {
        const file = await open('f', 'create')
        await Promise.all([file.writeDurably(0, Buffer.from('hello ')), file.writeDurably(6, Buffer.from('world'))])
        await file.write(5, Buffer.from('-'))
        await file.writeDurably(0, Buffer.from('H'))
        await file.truncate(9)
        await file.writeDurably(9, Buffer.from('LD'))
        await file.writeDurably(20, Buffer.alloc(0))
        expect((await file.read(0, 20)).toString()).toBe('Hello-worLD')
        await Promise.all([file.writeDurably(0, Buffer.alloc(3_000_000, 7)), file.close()])
        expect((await readWhole(disk, 'f'))?.equals(Buffer.alloc(3_000_000, 7))).toBe(true)
      })

      it('behaves like an array of bytes under any sequence of operations', async () => {
        const range = fc.record({ at: fc.nat(3_000), length: fc.nat(1_500) })
        const step = fc.oneof(
          fc.record({
            do: fc.constantFrom('write' as const, 'writeDurably' as const),
            range,
            fill: fc.integer({ min: 1, max: 255 }),
          }),
          fc.record({ do: fc.constant('truncate' as const), size: fc.nat(4_000) }),
          fc.record({ do: fc.constant('read' as const), range }),
          fc.record({ do: fc.constant('sync' as const) }),
        )
        let round = 0
        await fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
            const file = await disk.open(`model-${round++}`, 'create')
            let model = Buffer.alloc(0)
            for (const next of steps) {
              if (next.do === 'write' || next.do === 'writeDurably') {
                const bytes = Buffer.alloc(next.range.length, next.fill)
                await file[next.do](next.range.at, bytes)
                if (bytes.length > 0) {
                  const grown = Buffer.alloc(Math.max(model.length, next.range.at + bytes.length))
                  model.copy(grown)
                  bytes.copy(grown, next.range.at)
                  model = grown
                }
              } else if (next.do === 'truncate') {
                const cut = Buffer.alloc(next.size)
                model.copy(cut)
                model = cut
                await file.truncate(next.size)
              } else if (next.do === 'read') {
                const { at, length } = next.range
                expect((await file.read(at, length)).equals(model.subarray(at, at + length))).toBe(true)
              } else await file.sync()
            }
            expect(await file.size()).toBe(model.length)
            expect((await file.read(0, 10_000)).equals(model)).toBe(true)
            await file.close()
          }),
          { numRuns: 40 },
        )
      })

      it('shows one content through all that have it open', async () => {
        const writer = await open('f', 'create')
        const reader = await open('f', 'read')
        await writer.write(0, Buffer.from('abc'))
        expect((await reader.read(0, 3)).toString()).toBe('abc')
      })

      it('is opened for reading only when asked so', async () => {
        await put('f', 'abc')
        const reader = await open('f', 'read')
        await expect(reader.write(0, Buffer.from('x'))).rejects.toMatchObject({ code: 'EBADF' })
        await expect(reader.writeDurably(0, Buffer.from('x'))).rejects.toMatchObject({ code: 'EBADF' })
        expect(await text('f')).toBe('abc')
        const editor = await open('f', 'edit')
        await editor.write(1, Buffer.from('X'))
        expect(await text('f')).toBe('aXc')
      })

      it('is created only where none is, and opened only where one is', async () => {
        await put('f', 'abc')
        await expect(disk.open('f', 'create')).rejects.toMatchObject({ code: 'EEXIST' })
        await expect(disk.open('g', 'edit')).rejects.toMatchObject({ code: 'ENOENT' })
        await expect(disk.open('g', 'read')).rejects.toMatchObject({ code: 'ENOENT' })
        await expect(disk.open('d/f', 'create')).rejects.toMatchObject({ code: 'ENOENT' })
        expect(await text('f')).toBe('abc')
        expect(await disk.list('')).toEqual(['f'])
      })

      it('refuses everything once it is closed, and closes once', async () => {
        await put('f', 'abc')
        const file = await disk.open('f', 'edit')
        await Promise.all([file.close(), file.close()])
        await file.close()
        await expect(file.size()).rejects.toMatchObject({ code: 'EBADF' })
        await expect(file.read(0, 1)).rejects.toMatchObject({ code: 'EBADF' })
        await expect(file.write(0, Buffer.from('x'))).rejects.toMatchObject({ code: 'EBADF' })
        await expect(file.writeDurably(0, Buffer.from('x'))).rejects.toMatchObject({ code: 'EBADF' })
        await expect(file.truncate(0)).rejects.toMatchObject({ code: 'EBADF' })
        await expect(file.sync()).rejects.toMatchObject({ code: 'EBADF' })
      })

      it('closes after what is under way on it', async () => {
        const file = await disk.open('f', 'create')
        const order: string[] = []
        const bytes = Buffer.alloc(1_000_000, 7)
        await Promise.all([
          file.write(0, bytes).then(() => order.push('written')),
          file.sync().then(() => order.push('synced')),
          file.close().then(() => order.push('closed')),
        ])
        expect(order.at(-1)).toBe('closed')
        expect((await readWhole(disk, 'f'))?.equals(bytes)).toBe(true)
      })
    })

    describe('directory', () => {
      it('lists its names in order', async () => {
        await disk.makeDirectory('d')
        for (const name of ['b', 'a10', 'a9', 'B']) await put(`d/${name}`, '')
        await disk.makeDirectory('d/sub')
        expect(await disk.list('d')).toEqual(['B', 'a10', 'a9', 'b', 'sub'])
        expect(await disk.list('d/sub')).toEqual([])
        expect(await disk.list('')).toEqual(['d'])
        await expect(disk.list('e')).rejects.toMatchObject({ code: 'ENOENT' })
        await expect(disk.list('d/a9')).rejects.toMatchObject({ code: 'ENOTDIR' })
      })

      it('is made once, in one that is there', async () => {
        await disk.makeDirectory('d')
        await expect(disk.makeDirectory('d')).rejects.toMatchObject({ code: 'EEXIST' })
        await expect(disk.makeDirectory('e/f')).rejects.toMatchObject({ code: 'ENOENT' })
        await put('f', '')
        await expect(disk.makeDirectory('f')).rejects.toMatchObject({ code: 'EEXIST' })
      })

      it('can be synced, the root too, when it is there', async () => {
        await disk.makeDirectory('d')
        await disk.syncDirectory('d')
        await disk.syncDirectory('')
        await expect(disk.syncDirectory('e')).rejects.toMatchObject({ code: 'ENOENT' })
        await put('f', '')
        await expect(disk.syncDirectory('f')).rejects.toMatchObject({ code: 'ENOTDIR' })
      })

      it('is removed with all that is in it', async () => {
        await disk.makeDirectory('d')
        await disk.makeDirectory('d/e')
        await disk.makeDirectory('d/e/f')
        for (const path of ['d/1', 'd/2', 'd/e/1', 'd/e/f/1']) await put(path, 'x')
        await put('stays', 'x')
        await disk.removeTree('d')
        expect(await disk.list('')).toEqual(['stays'])
        await expect(disk.removeTree('d')).rejects.toMatchObject({ code: 'ENOENT' })
      })

      it('moves with its content', async () => {
        await disk.makeDirectory('d')
        await disk.makeDirectory('trash')
        await put('d/f', 'abc')
        await disk.rename('d', 'trash/d')
        expect(await disk.list('')).toEqual(['trash'])
        expect(await text('trash/d/f')).toBe('abc')
      })
    })

    describe('name', () => {
      it('is replaced by a rename', async () => {
        await put('old', 'old')
        await put('new', 'new')
        await disk.rename('new', 'old')
        expect(await text('old')).toBe('new')
        expect(await disk.list('')).toEqual(['old'])
        await expect(disk.rename('new', 'old')).rejects.toMatchObject({ code: 'ENOENT' })
        await expect(disk.rename('old', 'd/old')).rejects.toMatchObject({ code: 'ENOENT' })
        expect(await text('old')).toBe('new')
      })

      it('is no part of the file: what has it open keeps it', async () => {
        await put('f', 'abc')
        await put('g', 'other')
        const moved = await open('f', 'edit')
        const replaced = await open('g', 'edit')
        await disk.rename('f', 'g')
        await moved.write(0, Buffer.from('A'))
        await replaced.write(0, Buffer.from('O'))
        expect(await text('g')).toBe('Abc')
        expect((await replaced.read(0, 10)).toString()).toBe('Other')
        await disk.remove('g')
        expect((await moved.read(0, 10)).toString()).toBe('Abc')
        await moved.sync()
      })

      it('is gone after remove', async () => {
        await put('f', 'abc')
        await disk.remove('f')
        expect(await disk.list('')).toEqual([])
        await expect(disk.remove('f')).rejects.toMatchObject({ code: 'ENOENT' })
        await put('f', 'again')
        expect(await text('f')).toBe('again')
      })

      it.each(['..', '../f', 'd/../../f', 'd/..', '.', './f', '/etc/passwd', 'd//f', 'd/', 'a\\b', 'a\0b'])(
        'cannot leave the data directory: %j',
        async (path) => {
          await disk.makeDirectory('d')
          await expect(disk.open(path, 'create')).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.open(path, 'read')).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.list(path)).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.makeDirectory(path)).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.rename('d', path)).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.rename(path, 'e')).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.remove(path)).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.removeTree(path)).rejects.toBeInstanceOf(InvariantError)
          await expect(disk.syncDirectory(path)).rejects.toBeInstanceOf(InvariantError)
          expect(await disk.list('')).toEqual(['d'])
        },
      )

      it('of the data directory itself cannot be changed', async () => {
        await put('f', 'abc')
        await expect(disk.removeTree('')).rejects.toBeInstanceOf(InvariantError)
        await expect(disk.remove('')).rejects.toBeInstanceOf(InvariantError)
        await expect(disk.rename('', 'd')).rejects.toBeInstanceOf(InvariantError)
        await expect(disk.open('', 'create')).rejects.toBeInstanceOf(InvariantError)
        await expect(disk.open('', 'read')).rejects.toBeInstanceOf(InvariantError)
        expect(await disk.list('')).toEqual(['f'])
      })
    })

    it('tells how much room is left', async () => {
      expect(await disk.freeBytes()).toBeGreaterThan(0)
    })

    it('replaces a small file as a whole, also over what an earlier attempt left', async () => {
      expect(await readWhole(disk, 'config')).toBeNull()
      await put('config.new', 'left over')
      await replaceFile(disk, 'config', Buffer.from('one'))
      expect(await text('config')).toBe('one')
      await replaceFile(disk, 'config', Buffer.from('two'))
      expect(await text('config')).toBe('two')
      expect(await disk.list('')).toEqual(['config'])
    })
  })
}
