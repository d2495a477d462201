import { murmur2 } from '@tidings/sdk/protocol'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { KeySlots, SLOTS, type SlotMember, slotOf } from '../../../src/subscription/key-slots.ts'

const member = (name: string, weight = 1): SlotMember => ({ name, weight })

/** Who owns each slot, by index in `members`. */
function owners(slots: KeySlots<SlotMember>): (SlotMember | null)[] {
  return Array.from({ length: SLOTS }, (_, slot) => slots.ownerOf(slot))
}

/** How many slots each has. */
function shares(all: readonly (SlotMember | null)[]): Map<SlotMember | null, number> {
  const counts = new Map<SlotMember | null, number>()
  for (const owner of all) counts.set(owner, (counts.get(owner) ?? 0) + 1)
  return counts
}

/** A membership is a list of numbers; equal numbers are one consumer, and some have equal names. */
const memberships = fc.array(fc.uniqueArray(fc.nat(7), { maxLength: 6 }), { minLength: 1, maxLength: 8 })

describe('key slots', () => {
  it('belong to nobody while nobody is there', () => {
    const slots = new KeySlots<SlotMember>()
    expect(slots.ownerOf(5)).toBeNull()
    slots.assign([member('a')])
    slots.assign([])
    expect(slots.ownerOf(5)).toBeNull()
  })

  it('move from nobody but those who leave, and to nobody but those who join', () => {
    fc.assert(
      fc.property(memberships, fc.array(fc.nat(SLOTS - 1), { minLength: 1, maxLength: 50 }), (history, probes) => {
        const people = Array.from({ length: 8 }, (_, i) => member(`name ${i % 3}`, 1 + (i % 2)))
        const slots = new KeySlots<SlotMember>()
        let present: SlotMember[] = []
        let before = probes.map((slot) => slots.ownerOf(slot))
        for (const ids of history) {
          const next = ids.map((id) => people[id]!)
          slots.assign(next)
          const after = probes.map((slot) => slots.ownerOf(slot))
          after.forEach((owner, i) => {
            expect(owner === null).toBe(next.length === 0)
            if (owner === before[i]) return
            const former = before[i] ?? null
            const hasLeft = former === null || !next.includes(former)
            const hasJoined = owner === null || !present.includes(owner)
            expect(hasLeft || hasJoined).toBe(true)
          })
          present = next
          before = after
        }
      }),
    )
  })

  it('are shared evenly, or by weight', () => {
    const slots = new KeySlots<SlotMember>()
    const even = ['a', 'b', 'c', 'd'].map((name) => member(name))
    slots.assign(even)
    for (const share of shares(owners(slots)).values()) expect(Math.abs(share - SLOTS / 4)).toBeLessThan(SLOTS / 40)
    const weighted = [member('a', 1), member('b', 2), member('c', 5)]
    slots.assign(weighted)
    const counts = shares(owners(slots))
    for (const one of weighted) {
      expect(Math.abs(counts.get(one)! - (SLOTS * one.weight) / 8)).toBeLessThan(SLOTS / 40)
    }
  })

  it('move as little as they must when one joins: its share, from all others alike', () => {
    const slots = new KeySlots<SlotMember>()
    const first = Array.from({ length: 9 }, (_, i) => member(`consumer ${i}`))
    slots.assign(first)
    const before = owners(slots)
    const joined = member('another')
    slots.assign([...first, joined])
    const lost = shares(before.filter((_, slot) => slots.ownerOf(slot) === joined))
    expect(lost.size).toBe(9)
    for (const count of lost.values()) expect(Math.abs(count - SLOTS / 90)).toBeLessThan(SLOTS / 400)
  })

  it('come back to a consumer that reconnects under its name', () => {
    const slots = new KeySlots<SlotMember>()
    const [a, b, c] = [member('a'), member('b'), member('b')]
    slots.assign([a, b, c])
    const before = owners(slots)
    slots.assign([a, c])
    const again = member('b')
    slots.assign([a, c, again])
    before.forEach((owner, slot) => expect(slots.ownerOf(slot)).toBe(owner === b ? again : owner))
  })

  it('tell by their generation whether anything can have moved', () => {
    const slots = new KeySlots<SlotMember>()
    const [a, b] = [member('a'), member('b')]
    slots.assign([a, b])
    const { generation } = slots
    slots.assign([b, a])
    expect(slots.generation).toBe(generation)
    slots.assign([b])
    expect(slots.generation).not.toBe(generation)
  })

  it('spread the keys of one partition, which share the rest of their hash', () => {
    const slots = new Set<number>()
    for (let i = 0; i < 40_000; i++) {
      const hash = murmur2(Buffer.from(`customer-${i}`))
      if ((hash & 0x7fffffff) % 16 === 3) slots.add(slotOf(hash))
    }
    expect(slots.size).toBeGreaterThan(2400)
  })
})
