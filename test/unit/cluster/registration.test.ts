import { beforeEach, describe, expect, it } from 'vitest'
import type { Coordinator } from '../../../src/cluster/coordinator.ts'
import { MemoryCoordinator } from '../../../src/cluster/memory-coordinator.ts'
import { Registration } from '../../../src/cluster/registration.ts'
import { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimRandom } from '../../../src/testing/sim-random.ts'
import { FaultyCoordinator } from '../../support/faulty-coordinator.ts'
import { brokerOf } from '../../support/leadership-of.ts'
import { NotingLogger } from '../../support/noting-logger.ts'
import { settle } from '../../support/settle.ts'
import { UnsureCoordinator } from '../../support/unsure-coordinator.ts'

const TTL_MS = 5000

let clock: SimClock
let store: MemoryCoordinator
let net: FaultyCoordinator
let logger: NotingLogger
/** When the last keep-alive was sent. */
let keptAt: number

beforeEach(() => {
  clock = new SimClock()
  store = new MemoryCoordinator({ clock, random: new SimRandom('store') })
  net = new FaultyCoordinator(store, (call) => {
    if (call === 'keepAlive') keptAt = clock.monotonic()
  })
  logger = new NotingLogger()
})

function registrationOf(seed: string, coordinator: Coordinator = net): Registration {
  const broker = brokerOf('node-1', 0, { startedAt: 1_700_000_000_000 })
  return new Registration({ coordinator, clock, random: new SimRandom(seed), logger, broker, ttlMs: TTL_MS })
}

const epochInStore = async (): Promise<number> => (await store.get('brokers/node-1'))?.createRevision ?? 0

/** Lets time pass in steps short enough that every timer's promises run before the next. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50)
    for (let turn = 0; turn < 4; turn++) await settle()
  }
}

async function started(seed = 'r'): Promise<Registration> {
  const registration = registrationOf(seed)
  await registration.start()
  return registration
}

describe('a registration', () => {
  it('hangs on a lease, and its create revision is the broker epoch', async () => {
    const registration = await started()
    const entry = await store.get('brokers/node-1')
    expect(entry?.lease).not.toBeNull()
    expect(registration.brokerEpoch).toBe(entry?.createRevision)
    expect(registration.holds).toBe(true)
  })

  it('lasts while it is kept alive, under the same epoch', async () => {
    const registration = await started()
    const epoch = registration.brokerEpoch
    await pass(TTL_MS * 5)
    expect(registration.holds).toBe(true)
    expect(registration.brokerEpoch).toBe(epoch)
    expect(await epochInStore()).toBe(epoch)
  })

  it('ends at once when it is stopped', async () => {
    const registration = await started()
    await registration.stop()
    expect(await epochInStore()).toBe(0)
    expect(registration.brokerEpoch).toBeNull()
    expect(registration.holds).toBe(false)
    await pass(TTL_MS * 3)
    expect(await epochInStore()).toBe(0)
  })

  it('waits for the one before to end, says so once in a while, and has another epoch then', async () => {
    await started('before')
    const before = await epochInStore()
    // The process died: nobody keeps the lease alive.
    net.isCut = true
    const after = registrationOf('after', store)
    const starting = after.start()
    await pass(TTL_MS / 2)
    expect(after.brokerEpoch).toBeNull()
    expect(await epochInStore()).toBe(before)
    expect(logger.count(/another registration of this node is in the store/)).toBe(1)
    await pass(TTL_MS)
    await starting
    expect(after.brokerEpoch).toBeGreaterThan(before)
    expect(after.holds).toBe(true)
  })

  it('is made by one of two brokers of the same name; the other waits', async () => {
    const [one, two] = [registrationOf('one'), registrationOf('two')]
    void one.start()
    void two.start()
    await pass(TTL_MS * 4)
    expect([one, two].filter(({ holds }) => holds)).toHaveLength(1)
    expect([one, two].filter(({ brokerEpoch }) => brokerEpoch !== null)).toHaveLength(1)
    const [first, second] = one.holds ? [one, two] : [two, one]
    await first.stop()
    await pass(1000)
    expect(second.holds).toBe(true)
    await second.stop()
  })

  it('gives up when it is stopped while it waits, and leaves nothing behind', async () => {
    net.isCut = true
    const registration = registrationOf('r')
    const starting = registration.start()
    await pass(500)
    await registration.stop()
    await starting
    net.isCut = false
    await pass(TTL_MS)
    expect(await epochInStore()).toBe(0)
    expect(registration.brokerEpoch).toBeNull()
  })

  it('leaves nothing behind when it is stopped in the midst of being made', async () => {
    net.hold('transact')
    const registration = registrationOf('r')
    const starting = registration.start()
    await settle()
    const stopping = registration.stop()
    net.release('transact')
    await Promise.all([starting, stopping])
    expect(await epochInStore()).toBe(0)
    expect(registration.brokerEpoch).toBeNull()
  })
})

describe('a registration that holds', () => {
  it('R-FENCE: holds no longer than its lease can last, counted from when the keep-alive was sent', async () => {
    const registration = await started()
    await pass(TTL_MS)
    net.hold('keepAlive')
    // Sent on the way; the store hears of it later.
    await pass(TTL_MS * 0.6)
    const sentAt = keptAt
    expect(clock.monotonic() - sentAt).toBeGreaterThan(500)
    net.release('keepAlive')
    await settle()
    net.isCut = true
    expect(registration.holds).toBe(true)
    while (registration.holds) clock.advance(10)
    expect(clock.monotonic() - sentAt).toBeLessThan(TTL_MS)
    expect(clock.monotonic() - sentAt).toBeGreaterThan(TTL_MS * 0.9)
    // The store, which heard of it later, still has the entry.
    expect(await epochInStore()).toBe(registration.brokerEpoch)
  })

  it('R-FENCE: has stopped to hold whenever the entry is gone, whatever gets lost on the way', async () => {
    const random = new SimRandom('fence')
    const registration = await started()
    let lapses = 0
    for (let step = 0; step < 1500; step++) {
      net.isCut = random.chance(net.isCut ? 0.99 : 0.02)
      clock.advance(50)
      await settle()
      const epoch = await epochInStore()
      if (registration.holds) expect(registration.brokerEpoch).toBe(epoch)
      else lapses++
    }
    expect(lapses).toBeGreaterThan(20)
    net.isCut = false
    await pass(TTL_MS * 2)
    expect(registration.holds).toBe(true)
    await registration.stop()
  })

  it('outlives an outage of the store that is shorter than its lease', async () => {
    const registration = await started()
    const epoch = registration.brokerEpoch
    net.isCut = true
    await pass(TTL_MS * 0.6)
    net.isCut = false
    await pass(TTL_MS * 2)
    expect(registration.holds).toBe(true)
    expect(registration.brokerEpoch).toBe(epoch)
  })

  it('gets another epoch after it was lost, and says so', async () => {
    const registration = await started()
    const before = registration.brokerEpoch!
    const seen: (number | null)[] = []
    registration.onChange(() => seen.push(registration.brokerEpoch))
    net.isCut = true
    await pass(TTL_MS * 2)
    expect(registration.holds).toBe(false)
    expect(registration.brokerEpoch).toBe(before)
    net.isCut = false
    await pass(1000)
    expect(registration.brokerEpoch).toBeGreaterThan(before)
    expect(registration.holds).toBe(true)
    expect(seen).toEqual([null, registration.brokerEpoch])
    expect(logger.count(/registering anew/)).toBe(1)
  })

  it('notices that somebody deleted its entry by hand', async () => {
    const registration = await started()
    const before = registration.brokerEpoch!
    await store.transact([], [{ delete: 'brokers/node-1' }])
    await pass(TTL_MS)
    expect(registration.brokerEpoch).toBeGreaterThan(before)
    expect(await epochInStore()).toBe(registration.brokerEpoch)
  })

  it('says that it is on its way out under the same epoch, with a later keep-alive when the store was away', async () => {
    const registration = await started()
    const epoch = registration.brokerEpoch
    await registration.announce({ draining: true })
    expect(JSON.parse((await store.get('brokers/node-1'))?.value ?? '')).toMatchObject({ draining: true })
    net.isCut = true
    await registration.announce({ draining: false })
    net.isCut = false
    await pass(TTL_MS)
    expect(JSON.parse((await store.get('brokers/node-1'))?.value ?? '')).toMatchObject({ draining: false })
    expect(await epochInStore()).toBe(epoch)
    expect(registration.brokerEpoch).toBe(epoch)
    await registration.stop()
    expect(await epochInStore()).toBe(0)
  })
})

describe('registrations whose answers get lost', () => {
  it('are there once, are known for what they are, and leave nothing behind', async () => {
    const lost = { before: 0, after: 0, late: 0 }
    for (let seed = 0; seed < 40; seed++) {
      const unsure = new UnsureCoordinator(store, new SimRandom(seed), 0.7)
      const registration = registrationOf(`r-${seed}`, unsure)
      const starting = registration.start()
      for (let waited = 0; registration.brokerEpoch === null && waited < 40_000; waited += 500) await pass(500)
      await starting
      expect(registration.brokerEpoch).toBe(await epochInStore())
      await unsure.deliverAll().catch(() => undefined)
      expect(registration.brokerEpoch).toBe(await epochInStore())
      await registration.stop()
      await unsure.deliverAll().catch(() => undefined)
      for (const fate of ['before', 'after', 'late'] as const) lost[fate] += unsure.lost[fate]
      // A try that was given up takes its lease along, at the latest when that runs out.
      await pass(TTL_MS)
      expect(await epochInStore()).toBe(0)
    }
    expect(Math.min(lost.before, lost.after, lost.late)).toBeGreaterThan(5)
  }, 60_000)
})
