import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import type { Disk } from '../../../src/base/disk.ts'
import { Log } from '../../../src/log/log.ts'
import type { SealedFile } from '../../../src/log/sealed-file.ts'
import { SegmentBody } from '../../../src/server/segment-body.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { settle } from '../../support/settle.ts'
import { batch, logOptions } from '../../support/storage.ts'

/** Segments of several chunks each, and how many handles are open on them. */
async function rig() {
  const disk = new SimDisk({ random: new SimRandom(1) }).mount()
  const handles = { open: 0 }
  const counted: Disk = {
    ...disk,
    open: async (path, mode) => {
      const file = await disk.open(path, mode)
      handles.open += 1
      return { ...file, close: () => file.close().then(() => void (handles.open -= 1)) }
    },
  }
  const log = await Log.create(logOptions(counted, { segmentBytes: 200_000 }))
  for (let i = 0; i < 9; i++) {
    const one = batch(i, [`${i}`.padEnd(70_000, 'x')], { durablePosition: log.durablePosition })
    await log.prepare(one.bytes.length)
    await log.write(one.bytes, [one])
  }
  await log.sync()
  const file = (await log.openSealed(0))!
  handles.open = 1
  const content = await file.read(0, file.bytes)
  return { disk, log, file, content, handles, clock: new SimClock() }
}

function bodyOf(file: SealedFile, clock: SimClock, ended: () => void = () => undefined): SegmentBody {
  const options = { clock, writeTimeoutMs: 1000, read: () => undefined, ended }
  return new SegmentBody(file, { from: 0, to: file.bytes }, options)
}

async function all(body: SegmentBody): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of body) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

describe('the body of a segment', () => {
  it('goes on to its end when retention removes the segment meanwhile', async () => {
    const { disk, log, file, content, handles, clock } = await rig()
    const body = bodyOf(file, clock)
    const reader = body[Symbol.asyncIterator]()
    const first = (await reader.next()).value as Buffer
    await log.removeBelow(4)
    expect(await disk.list('log')).not.toContain('00000000000000000000.log')
    expect(await log.openSealed(0)).toBeNull()
    const rest: Buffer[] = []
    for (let next = await reader.next(); !next.done; next = await reader.next()) rest.push(next.value as Buffer)
    expect(Buffer.concat([first, ...rest]).equals(content)).toBe(true)
    await settle()
    expect(handles.open).toBeLessThanOrEqual(0)
  })

  it('reads only as fast as it is taken', async () => {
    const { file, clock } = await rig()
    let read = 0
    const options = { clock, writeTimeoutMs: 1000, read: (bytes: number) => (read += bytes), ended: () => undefined }
    const body = new SegmentBody(file, { from: 0, to: file.bytes }, options)
    body.pause()
    body.read(0)
    for (let turn = 0; turn < 50; turn++) await settle()
    expect(read).toBeLessThanOrEqual(2 * 65_536)
    expect(read).toBeGreaterThan(0)
    body.destroy()
  })

  it('closes the file when whoever asked is gone', async () => {
    const { file, handles, clock } = await rig()
    let isOver = false
    const body = bodyOf(file, clock, () => (isOver = true))
    await body[Symbol.asyncIterator]().next()
    body.destroy()
    await once(body, 'close')
    expect(isOver).toBe(true)
    expect(handles.open).toBe(0)
  })

  it('ends somebody who takes nothing', async () => {
    const { file, handles, clock } = await rig()
    const body = bodyOf(file, clock)
    body.read(0)
    await settle()
    await settle()
    clock.advance(999)
    expect(body.destroyed).toBe(false)
    const failed = once(body, 'error')
    clock.advance(1)
    expect(String(await failed)).toContain('takes nothing')
    expect(handles.open).toBe(0)
  })

  it('fails rather than ending early when bytes are missing', async () => {
    const { disk, file, clock } = await rig()
    const raw = await disk.open('log/00000000000000000000.log', 'edit')
    await raw.truncate(100_000)
    await expect(all(bodyOf(file, clock))).rejects.toThrow('where')
  })
})

describe('the hash of a segment', () => {
  it('is computed once, also when whoever asked first has gone', async () => {
    const { log, file, handles } = await rig()
    const hashing = file.contentHash()
    await file.close()
    const other = (await log.openSealed(0))!
    expect(await other.contentHash()).toBe(await hashing)
    expect(other.contentHash()).toBe(file.contentHash())
    await other.close()
    await settle()
    expect(handles.open).toBe(0)
  })

  it('is asked for again after a failure', async () => {
    const { disk, log, file, content } = await rig()
    const raw = await disk.open('log/00000000000000000000.log', 'edit')
    await raw.truncate(100)
    await expect(file.contentHash()).rejects.toThrow('where')
    await raw.write(0, content)
    expect(await (await log.openSealed(0))!.contentHash()).toMatch(/^[0-9a-f]{64}$/)
  })
})
