/** The Disk contract against real files and against the simulated disk, and what only real files have. */
import fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { makeDataDirectory, nodeDisk } from '../../src/base/node-disk.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import { SimRandom } from '../../src/testing/sim-random.ts'
import { diskContract } from './disk.ts'

diskContract('node disk', async () => {
  const root = await fs.mkdtemp(join(tmpdir(), 'tidings-disk-'))
  return { disk: nodeDisk(root), dispose: () => fs.rm(root, { recursive: true }) }
})

diskContract('simulated disk', () => {
  const machine = new SimDisk({ random: new SimRandom('contract') })
  return Promise.resolve({ disk: machine.mount(), dispose: () => Promise.resolve() })
})

describe('node disk on its file system', () => {
  let directory: string

  beforeEach(async () => {
    directory = await fs.mkdtemp(join(tmpdir(), 'tidings-disk-'))
  })

  afterEach(() => fs.rm(directory, { recursive: true }))

  async function modeOf(path: string): Promise<number> {
    return (await fs.stat(path)).mode & 0o777
  }

  it('lets nobody but the owner read what it makes', async () => {
    const root = join(directory, 'data')
    await makeDataDirectory(root)
    const disk = nodeDisk(root)
    await disk.makeDirectory('d')
    const file = await disk.open('d/f', 'create')
    await file.close()
    expect(await modeOf(root)).toBe(0o700)
    expect(await modeOf(join(root, 'd'))).toBe(0o700)
    expect(await modeOf(join(root, 'd/f'))).toBe(0o600)
  })

  it('makes the data directory with its parents, and leaves one that is there alone', async () => {
    const root = join(directory, 'a/b/c')
    await makeDataDirectory(root)
    await fs.writeFile(join(root, 'f'), 'abc')
    await makeDataDirectory(root)
    expect(await fs.readdir(root)).toEqual(['f'])
    await expect(makeDataDirectory(join(root, 'f'))).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(makeDataDirectory(join(root, 'f/d'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  })

  it('tells the room that the file system tells', async () => {
    const { bavail, bsize } = await fs.statfs(directory)
    const free = await nodeDisk(directory).freeBytes()
    expect(Math.abs(free - bavail * bsize)).toBeLessThan(2 ** 30)
  })
})
