/** What a power cut does to unsynced names: all that is legal for some seed, nothing else for any. */
import { describe, expect, it } from 'vitest'
import { durableFile, endings, show } from '../../support/disk-story.ts'

describe('unsynced names', () => {
  it('of a synced file may vanish with it', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await disk.open('f', 'create')
      await file.write(0, Buffer.from('abc'))
      await file.sync()
      expect(machine.durableContent('f')).toBeNull()
      machine.crash('power')
      return show(machine, 'f')
    })
    expect([...seen].sort()).toEqual(['abc', 'missing'])
  })

  it('may lose a rename, but never half of it', async () => {
    const seen = await endings(async (machine, disk) => {
      await durableFile(disk, 'config', Buffer.from('old'))
      await durableFile(disk, 'config.new', Buffer.from('new'))
      await disk.rename('config.new', 'config')
      machine.crash('power')
      return `${show(machine, 'config')} ${show(machine, 'config.new')}`
    })
    expect([...seen].sort()).toEqual(['new missing', 'old new'])
  })

  it('may bring a removed file back until the directory is synced', async () => {
    const story = (isSynced: boolean) =>
      endings(async (machine, disk) => {
        await durableFile(disk, 'f', Buffer.from('abc'))
        await disk.remove('f')
        if (isSynced) await disk.syncDirectory('')
        machine.crash('power')
        return show(machine, 'f')
      })
    expect([...(await story(false))].sort()).toEqual(['abc', 'missing'])
    expect([...(await story(true))]).toEqual(['missing'])
  })

  it('survive in any order that does not need what was lost', async () => {
    const seen = await endings(async (machine, disk) => {
      await disk.makeDirectory('from')
      await disk.makeDirectory('to')
      await disk.syncDirectory('')
      for (const name of ['a', 'b', 'c']) {
        const file = await disk.open(`from/${name}`, 'create')
        await file.sync()
      }
      await disk.rename('from/a', 'to/a')
      machine.crash('power')
      return machine.files().join(' ')
    })
    // A file that was never durable may be gone, but it is never in two places.
    expect(seen).toContain('')
    expect(seen).toContain('from/b from/c to/a')
    expect(seen).toContain('from/c')
    for (const files of seen) expect(files).not.toMatch(/from\/a.*to\/a/)
  })

  it('never lose a durable file by a rename into a directory that did not survive', async () => {
    const seen = await endings(async (machine, disk) => {
      await disk.makeDirectory('p')
      await disk.syncDirectory('')
      const file = await disk.open('p/f', 'create')
      await file.sync()
      await disk.syncDirectory('p')
      await disk.makeDirectory('trash')
      await disk.rename('p/f', 'trash/f')
      machine.crash('power')
      return machine.files().join(' ')
    })
    expect([...seen].sort()).toEqual(['p/f', 'trash/f'])
  })

  it('never lose a durable file that was moved out of a directory before its removal', async () => {
    const seen = await endings(async (machine, disk) => {
      await disk.makeDirectory('d')
      await disk.makeDirectory('kept')
      await disk.syncDirectory('')
      const file = await disk.open('d/f', 'create')
      await file.sync()
      await disk.syncDirectory('d')
      await disk.rename('d/f', 'kept/f')
      await disk.removeTree('d')
      machine.crash('power')
      return machine.files().join(' ')
    })
    expect([...seen].sort()).toEqual(['d/f', 'kept/f'])
  })

  it('may leave any part of a tree whose removal was not synced', async () => {
    const seen = await endings(async (machine, disk) => {
      await disk.makeDirectory('d')
      await disk.syncDirectory('')
      for (const name of ['a', 'b']) {
        const file = await disk.open(`d/${name}`, 'create')
        await file.sync()
      }
      await disk.syncDirectory('d')
      await disk.removeTree('d')
      machine.crash('power')
      return machine.files().join(' ')
    })
    expect([...seen].sort()).toEqual(['', 'd/a', 'd/a d/b', 'd/b'])
  })
})
