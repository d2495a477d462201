/** What a power cut does to unsynced bytes: all that is legal for some seed, nothing else for any. */
import { describe, expect, it } from 'vitest'
import { durableFile, endings, machineOf, show } from '../../support/disk-story.ts'

/** Sectors of one letter each. */
function sectors(letters: string): Buffer {
  return Buffer.concat(letters.split('').map((letter) => Buffer.alloc(512, letter)))
}

/** One character a sector: its letter, `.` for zeros, `?` for a mixture. */
function letters(bytes: Buffer): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 512) {
    const sector = bytes.subarray(at, at + 512)
    if (sector.some((byte) => byte !== sector[0])) text += '?'
    else text += sector[0] === 0 ? '.' : String.fromCharCode(sector[0]!)
  }
  return text
}

describe('power cut', () => {
  it('loses unsynced bytes for some seed and keeps them for another', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', Buffer.from('old'))
      await file.write(0, Buffer.from('new'))
      machine.crash('power')
      return show(machine, 'f')
    })
    expect([...seen].sort()).toEqual(['new', 'old'])
  })

  it('never loses what a sync has covered', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', Buffer.from('old'))
      await file.write(1, Buffer.from('EW'))
      await file.sync()
      await file.write(3, Buffer.from('?'))
      machine.crash('power')
      return show(machine, 'f').slice(0, 3)
    })
    expect([...seen]).toEqual(['oEW'])
  })

  it('never loses what was written durably, and may lose all that was written before it elsewhere', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('aaaa'))
      await file.write(0, sectors('bb'))
      await file.writeDurably(1024, sectors('c'))
      await file.write(1536, sectors('d'))
      machine.crash('power')
      return letters(machine.content('f')!)
    })
    for (const image of seen) expect(image).toMatch(/^[ab]{2}c[ad]$/)
    expect([...seen]).toEqual(expect.arrayContaining(['aaca', 'bbca', 'bbcd']))
  })

  it('keeps a durable write whatever becomes of the growth before it and the writes over it', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('a'))
      await file.write(512, sectors('zzz'))
      await file.writeDurably(512, sectors('b'))
      await file.write(512, sectors('c'))
      machine.crash('power')
      return letters(machine.content('f')!)
    })
    for (const image of seen) expect(image).toMatch(/^a[bc]([z.]{0,2})$/)
    expect([...seen]).toEqual(expect.arrayContaining(['ab', 'abzz', 'aczz']))
  })

  it('tears a write between sectors and nowhere else, also out of order', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('aaaa'))
      await file.write(0, sectors('bbbb'))
      machine.crash('power')
      return letters(machine.content('f')!)
    })
    for (const image of seen) expect(image).toMatch(/^[ab]{4}$/)
    expect(seen).toContain('aaaa')
    expect(seen).toContain('bbbb')
    expect(seen).toContain('bbaa')
    expect([...seen].some((image) => /ab/.test(image))).toBe(true)
  })

  it('leaves zeros where the file grew but the bytes did not arrive', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('a'))
      await file.write(512, sectors('bb'))
      await file.write(1536, sectors('c'))
      machine.crash('power')
      return letters(machine.content('f')!)
    })
    for (const image of seen) expect(image).toMatch(/^a([b.]([b.]([c.])?)?)?$/)
    expect([...seen].some((image) => image.includes('.') && image.includes('c'))).toBe(true)
    expect(seen).toContain('ab')
  })

  it('lets a later write overtake an earlier one, but never undoes one within a sector', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('aa'))
      await file.write(0, sectors('b'))
      await file.write(512, sectors('c'))
      await file.write(0, Buffer.from('Z'))
      machine.crash('power')
      const content = machine.content('f')!
      return String.fromCharCode(content[0]!, content[1]!, content[512]!)
    })
    expect([...seen].sort()).toEqual(['Zba', 'Zbc', 'aaa', 'aac', 'bba', 'bbc'])
  })

  it('may keep a write and lose the growth of the file before it', async () => {
    const seen = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('a'))
      await file.write(512, sectors('b'))
      await file.write(0, sectors('x'))
      machine.crash('power')
      return letters(machine.content('f')!)
    })
    expect([...seen].sort()).toEqual(['a', 'a.', 'ab', 'x', 'x.', 'xb'])
  })

  it('may or may not bring back what was truncated, until that is synced', async () => {
    const unsynced = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('abc'))
      await file.truncate(512)
      machine.crash('power')
      return letters(machine.content('f')!)
    })
    expect(unsynced).toContain('a')
    expect(unsynced).toContain('abc')
    for (const image of unsynced) expect(image).toMatch(/^a([b.][c.])?$/)
    const synced = await endings(async (machine, disk) => {
      const file = await durableFile(disk, 'f', sectors('abc'))
      await file.truncate(512)
      await file.sync()
      await file.write(512, sectors('d'))
      machine.crash('power')
      return letters(machine.content('f')!)
    })
    for (const image of synced) expect(image).toMatch(/^a[d.]?$/)
  })

  it('does what it is told to leave, when the test says so', async () => {
    for (const [survival, left] of [
      ['none', 'old'],
      ['all', 'new'],
    ] as const) {
      const machine = machineOf(1)
      const file = await durableFile(machine.mount(), 'f', Buffer.from('old'))
      await file.write(0, Buffer.from('new'))
      expect(machine.durableContent('f')?.toString()).toBe('old')
      machine.crash('power', survival)
      expect(show(machine, 'f')).toBe(left)
    }
  })
})
