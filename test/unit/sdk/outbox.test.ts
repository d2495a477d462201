import { TidingsError } from '@tidings/sdk/protocol'
import { describe, expect, it } from 'vitest'
import { Outbox } from '../../../sdk/src/outbox.ts'
import { draftOf, type PublishOptions } from '../../../sdk/src/publish-entry.ts'
import type { Pending, Shipment } from '../../../sdk/src/shipment.ts'

/** One message fills a frame, so that frames need not wait for more. */
const LIMITS = { bufferBytes: 1000, batchCount: 1, batchBytes: 500 }
const overloaded = new TidingsError('overloaded', 'later')
const bad = new TidingsError('schema_violation', 'no')
const NOTHING = { entry: null, mayBeStored: false }

class Rig {
  readonly outbox: Outbox
  readonly outcomes = new Map<string, string>()
  readonly #names = new Map<Pending, string>()
  #producers = 0
  #keys = 0

  constructor(limits: Partial<typeof LIMITS> = {}) {
    this.outbox = new Outbox(
      { ...LIMITS, ...limits },
      { producerId: () => ++this.#producers, idempotencyKey: () => `key-${this.#keys++}` },
    )
  }

  add(name: string, deadline = 1000, options: PublishOptions = {}, isTry = false): Pending {
    const note = (outcome: string): void => {
      expect(this.outcomes.has(name)).toBe(false)
      this.outcomes.set(name, outcome)
    }
    const entry: Pending = {
      resolve: () => note('stored'),
      reject: (error) => note(`${error.code} ${error.outcome}`),
      deadline,
      bytes: 0,
      idempotencyKey: '',
      unlisten: null,
      isSettled: false,
      shipment: null,
    }
    this.#names.set(entry, name)
    this.outbox.add(draftOf(name, options), entry, isTry)
    return entry
  }

  /** The frames that may go now, as `<sequence>:<names>`. */
  send(): string[] {
    const sent: string[] = []
    for (let shipment = this.outbox.next(1); shipment; shipment = this.outbox.next(1)) sent.push(this.show(shipment))
    return sent
  }

  show({ sequence, entries }: Shipment): string {
    return `${sequence}:${entries.map((entry) => this.#names.get(entry)).join('')}`
  }

  find(sequence: number): Shipment {
    return this.outbox.find(false, sequence)!
  }

  stored(sequence: number, isKeyed = false): void {
    const shipment = this.outbox.find(isKeyed, sequence)!
    this.outbox.stored(
      shipment,
      shipment.entries.map((_, i) => ({ topic: 't', partition: 0, offset: i, id: `0:${i}` })),
    )
  }
}

describe('an outbox', () => {
  it('fills frames up to a count and to bytes, and lets one that is larger alone go alone', () => {
    const rig = new Rig({ batchCount: 3, batchBytes: 300 })
    for (const name of 'abcd') rig.add(name)
    rig.add('E'.repeat(400))
    rig.add('f')
    expect(rig.send()).toEqual(['0:abc', '1:d'])
    rig.stored(0)
    rig.stored(1)
    expect(rig.send()).toEqual([`2:${'E'.repeat(400)}`, '3:f'])
  })

  it('has eight frames under way', () => {
    const rig = new Rig()
    for (const name of 'abcdefghij') rig.add(name)
    expect(rig.send()).toHaveLength(8)
    rig.stored(3)
    expect(rig.send()).toEqual(['8:i'])
    for (const sequence of [0, 1, 2, 4, 5, 6, 7, 8]) rig.stored(sequence)
    expect(rig.send()).toEqual(['9:j'])
    rig.stored(9)
    expect([rig.outbox.isEmpty, rig.outbox.heldBytes, rig.outbox.dueAt]).toEqual([true, 0, Number.POSITIVE_INFINITY])
  })

  it('sends what was not answered again as it was, and what is new behind it', () => {
    const rig = new Rig()
    for (const name of 'abc') rig.add(name)
    rig.send()
    rig.stored(1)
    rig.outbox.left(overloaded)
    rig.add('d')
    expect(rig.send()).toEqual(['0:a', '2:c', '3:d'])
  })

  it('sends nothing after a refusal until what was sent behind it is answered', () => {
    const rig = new Rig()
    for (const name of 'abc') rig.add(name)
    rig.send()
    rig.outbox.returned(rig.find(0), overloaded, NOTHING)
    expect(rig.send()).toEqual([])
    rig.outbox.returned(rig.find(1), overloaded, NOTHING)
    rig.outbox.returned(rig.find(2), overloaded, NOTHING)
    expect(rig.send()).toEqual(['0:a', '1:b', '2:c'])
  })

  it('keeps the number of a refused frame behind which one is stored, or may be', () => {
    const stored = new Rig()
    for (const name of 'ab') stored.add(name)
    stored.send()
    stored.stored(1)
    stored.outbox.returned(stored.find(0), overloaded, NOTHING)
    stored.add('c')
    expect(stored.send()).toEqual(['0:a', '2:c'])
    const lost = new Rig()
    for (const name of 'ab') lost.add(name)
    lost.send()
    lost.outbox.returned(lost.find(0), overloaded, NOTHING)
    lost.outbox.left(overloaded)
    lost.add('c')
    expect(lost.send()).toEqual(['0:a', '1:b', '2:c'])
  })

  it('takes the entry that is to blame out of its frame, whose number stays', () => {
    const rig = new Rig({ batchCount: 4 })
    for (const name of 'abcde') rig.add(name)
    expect(rig.send()).toEqual(['0:abcd', '1:e'])
    rig.outbox.returned(rig.find(0), bad, { entry: 2, mayBeStored: false })
    rig.outbox.returned(rig.find(1), overloaded, NOTHING)
    expect(rig.send()).toEqual(['0:abd', '1:e'])
    expect([...rig.outcomes]).toEqual([['c', 'schema_violation not_stored']])
  })

  it('gives the number of a frame that is refused for good to the next, also when the rest is not answered', () => {
    for (const isLost of [false, true]) {
      const rig = new Rig()
      for (const name of 'abc') rig.add(name)
      rig.send()
      rig.outbox.refused(rig.find(0), bad, false)
      if (isLost) rig.outbox.left(overloaded)
      else for (const sequence of [1, 2]) rig.outbox.returned(rig.find(sequence), overloaded, NOTHING)
      expect(rig.send()).toEqual(['0:b', '1:c'])
      expect([rig.outbox.producerId, ...rig.outcomes]).toEqual([1, ['a', 'schema_violation not_stored']])
    }
  })

  it('begins anew under another name when nobody knows whether a number is used', () => {
    const rig = new Rig()
    for (const name of 'ab') rig.add(name)
    rig.send()
    rig.outbox.refused(rig.find(0), new TidingsError('internal', 'oh'), false)
    rig.outbox.returned(rig.find(1), overloaded, NOTHING)
    expect([rig.send(), rig.outbox.producerId]).toEqual([['0:b'], 2])
    expect([...rig.outcomes]).toEqual([['a', 'internal unknown']])
  })

  it('sends keyed frames alone, and gathers what comes behind them while it may not be sent', () => {
    const rig = new Rig({ batchCount: 9 })
    rig.add('a')
    rig.add('b', 1000, { idempotencyKey: 'mine' })
    rig.add('c')
    expect(rig.send()).toEqual(['0:a'])
    rig.stored(0)
    expect(rig.send()).toEqual(['0:bc'])
    rig.add('d')
    rig.add('e')
    expect(rig.send()).toEqual([])
    rig.stored(0, true)
    expect(rig.send()).toEqual(['1:de'])
  })

  it('says of what is too late whether it may be stored, and does not send it if it was not', () => {
    const rig = new Rig()
    for (const name of 'abcdefgh') rig.add(name, name === 'a' ? 50 : 1000)
    rig.send()
    rig.add('queued', 50)
    rig.add('later', 90)
    rig.outbox.expire(50)
    expect([...rig.outcomes]).toEqual([
      ['a', 'outcome_unknown unknown'],
      ['queued', 'unavailable not_stored'],
    ])
    expect(rig.outbox.dueAt).toBe(90)
    rig.stored(0)
    expect(rig.send()).toEqual(['8:later'])
  })

  it('tells what stood in the way last', () => {
    const rig = new Rig()
    rig.add('refused', 50)
    rig.send()
    rig.outbox.returned(rig.find(0), overloaded, NOTHING)
    rig.outbox.expire(50)
    expect([...rig.outcomes]).toEqual([['refused', 'overloaded not_stored']])
  })

  it('forgets what nobody waits for once it need not be sent before something else', () => {
    const rig = new Rig()
    const first = rig.add('a')
    rig.send()
    rig.outbox.left(overloaded)
    rig.outbox.abort(first, undefined)
    rig.add('b')
    expect([rig.send(), rig.outbox.producerId]).toEqual([['0:b'], 2])
    const mixed = new Rig()
    const dead = mixed.add('a')
    mixed.add('b')
    mixed.send()
    mixed.outbox.left(overloaded)
    mixed.outbox.abort(dead, undefined)
    // The second may be stored, and is known by its number only behind the first.
    expect([mixed.send(), mixed.outbox.producerId]).toEqual([['0:a', '1:b'], 1])
  })

  it('takes an entry back while it is not sent', () => {
    const rig = new Rig({ batchCount: 3 })
    const entries = ['a', 'b', 'c'].map((name) => rig.add(name))
    rig.outbox.abort(entries[1]!, undefined)
    expect(rig.send()).toEqual(['0:ac'])
    rig.outbox.abort(entries[0]!, undefined)
    rig.stored(0)
    expect([...rig.outcomes]).toEqual([
      ['b', 'aborted not_stored'],
      ['a', 'outcome_unknown unknown'],
      ['c', 'stored'],
    ])
  })

  it('has room up to its bytes, and for anything when it is empty', () => {
    const rig = new Rig({ bufferBytes: 40 })
    expect(rig.outbox.hasRoom(5000)).toBe(true)
    rig.add('a')
    const left = 40 - rig.outbox.heldBytes
    expect([rig.outbox.hasRoom(left), rig.outbox.hasRoom(left + 1)]).toEqual([true, false])
    rig.add('b', 1000, {}, true)
    expect(() => rig.add('much too long', 1000, {}, true)).toThrow('buffer is full')
    expect(rig.send()).toEqual(['0:a', '1:b'])
  })
})
