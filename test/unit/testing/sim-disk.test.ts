/**
 * The simulated disk is only worth something if it is nasty, legally so: failed syncs lie, room runs out
 * in the middle of a write, a dead process hears nothing.
 */
import { describe, expect, it } from 'vitest'
import { driven, durableFile, endings, machineOf, SEEDS, show } from '../../support/disk-story.ts'
import { settle } from '../../support/settle.ts'

describe('failed sync', () => {
  it('loses its bytes at the next power cut though a later sync said that all is well', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', Buffer.from('old'))
      machine.fail({ on: 'sync', code: 'EIO' })
      await file.write(0, Buffer.from('new'))
      await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
      await file.sync()
      expect(show(machine, 'f')).toBe('new')
      machine.crash('power')
      return show(machine, 'f')
    })
    expect([...seen].sort()).toEqual(['new', 'old'])
  })

  it('still lies to the next life of the process', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', Buffer.from('old'))
      machine.fail({ on: 'sync', code: 'EIO' })
      await file.write(0, Buffer.from('new'))
      await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
      machine.crash('process')
      const again = await machine.mount().open('f', 'edit')
      expect((await again.read(0, 3)).toString()).toBe('new')
      await again.sync()
      machine.crash('power')
      return show(machine, 'f')
    })
    expect(seen).toContain('old')
  })

  it('does not hold for bytes that are written again', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', Buffer.from('old'))
      machine.fail({ on: 'sync', code: 'EIO' })
      await file.write(0, Buffer.from('new'))
      await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' })
      await file.write(0, await file.read(0, 3))
      await file.sync()
      machine.crash('power')
      return show(machine, 'f')
    })
    expect([...seen]).toEqual(['new'])
  })

  it('is followed by a count of the syncs that nobody should have tried', async () => {
    const machine = machineOf(1)
    const disk = machine.mount()
    const good = await durableFile(disk, 'good', Buffer.from('abc'))
    const bad = await durableFile(disk, 'bad', Buffer.from('abc'))
    machine.fail({ on: 'sync', path: (path) => path === 'bad', after: 1, code: 'EIO' })
    await bad.sync()
    await good.sync()
    await expect(bad.sync()).rejects.toMatchObject({ code: 'EIO' })
    await good.sync()
    expect(machine.syncsAfterFailure.size).toBe(0)
    await bad.sync()
    expect([...machine.syncsAfterFailure]).toEqual([['bad', 1]])
    machine.crash('process')
    const again = await machine.mount().open('bad', 'edit')
    await again.sync()
    expect([...machine.syncsAfterFailure]).toEqual([['bad', 1]])
    expect(machine.counts.get('sync EIO')).toBe(1)
  })
})

describe('full disk', () => {
  it('writes a part, tells ENOSPC, and works again when there is room', async () => {
    const left = await endings(async (machine, disk) => {
      machine.capacityBytes = 1_000
      const file = await durableFile(disk, 'f', Buffer.alloc(900, 'a'))
      expect(await disk.freeBytes()).toBe(100)
      await expect(file.write(900, Buffer.alloc(200, 'b'))).rejects.toMatchObject({ code: 'ENOSPC' })
      const size = await file.size()
      expect(size).toBeGreaterThanOrEqual(900)
      expect(size).toBeLessThanOrEqual(1_000)
      await file.truncate(900)
      await file.write(0, Buffer.from('overwriting needs no room'))
      await file.write(900, Buffer.alloc(100, 'c'))
      await file.sync()
      expect(await disk.freeBytes()).toBe(0)
      machine.capacityBytes = 2_000
      await file.write(1_000, Buffer.alloc(1_000, 'd'))
      await disk.remove('f')
      expect(await disk.freeBytes()).toBe(2_000)
      return String(size)
    })
    expect(left.size).toBeGreaterThan(10)
  })

  it('has room again after a power cut that took what filled it', async () => {
    const machine = machineOf(1, { capacityBytes: 1_000 })
    const file = await durableFile(machine.mount(), 'f', Buffer.alloc(400))
    await file.write(400, Buffer.alloc(600))
    expect(machine.usedBytes).toBe(1_000)
    machine.crash('power', 'none')
    expect(await machine.mount().freeBytes()).toBe(600)
  })
})

describe('planned fault', () => {
  it('fails a write that may have arrived in part', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', Buffer.from('aaa'))
      machine.fail({ on: 'write', code: 'EIO' })
      await expect(file.write(0, Buffer.from('bbb'))).rejects.toMatchObject({ code: 'EIO' })
      return show(machine, 'f')
    })
    expect([...seen].sort()).toEqual(['aaa', 'baa', 'bba', 'bbb'])
  })

  it('lasts as long as planned, or until healed', async () => {
    const machine = machineOf(1)
    const disk = machine.mount()
    machine.fail({ on: 'create', times: 2, code: 'EMFILE' })
    await expect(disk.open('a', 'create')).rejects.toMatchObject({ code: 'EMFILE' })
    await expect(disk.open('a', 'create')).rejects.toMatchObject({ code: 'EMFILE' })
    await disk.open('a', 'create')
    machine.fail({ on: 'rename', times: Infinity, code: 'EROFS' })
    for (let i = 0; i < 5; i++) await expect(disk.rename('a', 'b')).rejects.toMatchObject({ code: 'EROFS' })
    machine.heal()
    await disk.rename('a', 'b')
    expect(machine.files()).toEqual(['b'])
  })

  it('flips a bit, for who reads it now and after a power cut', async () => {
    const machine = machineOf(1)
    await durableFile(machine.mount(), 'f', Buffer.from('abc'))
    machine.flipBit('f', 1, 0)
    expect(show(machine, 'f')).toBe('acc')
    machine.crash('power')
    expect(show(machine, 'f')).toBe('acc')
  })

  it('stalls what matches until released, and nothing else', async () => {
    const machine = machineOf(1)
    const disk = machine.mount()
    const slow = await disk.open('slow', 'create')
    const quick = await disk.open('quick', 'create')
    const release = machine.stall((operation) => operation.kind === 'sync' && operation.path === 'slow')
    let isSynced = false
    const sync = slow.sync().then(() => (isSynced = true))
    await quick.sync()
    await slow.write(0, Buffer.from('abc'))
    await settle()
    expect(isSynced).toBe(false)
    release()
    await sync
    expect(isSynced).toBe(true)
  })
})

describe('crash', () => {
  it('of the process keeps all that took effect', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await disk.open('f', 'create')
      await file.write(0, Buffer.from('abc'))
      machine.crash('process')
      return show(machine, 'f')
    })
    expect([...seen]).toEqual(['abc'])
  })

  it('of the process leaves unsynced bytes to a later sync', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', Buffer.from('old'))
      await file.write(0, Buffer.from('new'))
      machine.crash('process')
      const again = await machine.mount().open('f', 'edit')
      await again.sync()
      machine.crash('power')
      return show(machine, 'f')
    })
    expect([...seen]).toEqual(['new'])
  })

  it('lets what was under way happen, in part, or not at all', async () => {
    const seen = new Set<string>()
    for (const seed of SEEDS) {
      const machine = machineOf(seed, { schedule: 'manual' })
      const file = await driven(machine, machine.mount().open('f', 'create'))
      void file.write(0, Buffer.from('abc'))
      machine.crash('process')
      seen.add(show(machine, 'f'))
    }
    expect([...seen].sort()).toEqual(['', 'a', 'ab', 'abc'])
  })

  it('silences every handle and view of the life before', async () => {
    const machine = machineOf(1)
    const disk = machine.mount()
    const file = await disk.open('f', 'create')
    const answered: string[] = []
    const listen = (what: string, asked: Promise<unknown>): void =>
      void asked.then(
        () => answered.push(what),
        () => answered.push(`${what} failed`),
      )
    listen('under way', file.write(0, Buffer.from('abc')))
    machine.crash('process')
    const left = machine.files().join()
    listen('write', file.write(0, Buffer.from('xyz')))
    listen('sync', file.sync())
    listen('close', file.close())
    listen('open', disk.open('g', 'create'))
    listen('syncDirectory', disk.syncDirectory(''))
    listen('list', disk.list(''))
    await settle()
    expect(answered).toEqual([])
    expect(machine.files().join()).toBe(left)
    expect(machine.pending).toEqual([])
    expect(await machine.mount().list('')).toEqual(['f'])
  })

  it('can come after an effect and before its answer', async () => {
    const machine = machineOf(1, { schedule: 'manual' })
    let isAnswered = false
    void machine
      .mount()
      .makeDirectory('d')
      .then(() => (isAnswered = true))
    const performed = machine.perform(machine.pending[0]!.id)!
    machine.crash('process')
    performed.deliver()
    await settle()
    expect(isAnswered).toBe(false)
    expect(machine.step()).toBeNull()
    const names = machine.mount().list('')
    machine.step()
    expect(await names).toEqual(['d'])
  })
})
