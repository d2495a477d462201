/**
 * Whose a key is: a decision. Keys fall into 65,536 slots by the upper half of their hash (the lower half
 * chose the partition), and each slot belongs to the consumer with the highest score for it: weighted
 * rendezvous hashing. So a consumer that joins takes its share from all others and nothing else moves, one
 * that leaves gives its share to all others; there are no ranges that could collide or drift.
 *
 * A consumer's seed comes from its name, and from how many of that name were there when it came: one
 * that reconnects gets its keys back. Owners are worked out when they are asked for, once per membership.
 * Called by the key ledgers of one subscription, and by whoever tells it who is there.
 */
import { murmur2 } from '@tidings/sdk/protocol'

export interface SlotMember {
  readonly name: string
  /** Its share of the slots in relation to the others'. */
  readonly weight: number
}

const SLOT_BITS = 16
export const SLOTS = 1 << SLOT_BITS

const encoder = new TextEncoder()

/** The slot of a key with that murmur2. */
export function slotOf(hash: number): number {
  return hash >>> SLOT_BITS
}

interface Seat<M> {
  member: M
  ordinal: number
  seed: number
}

export class KeySlots<M extends SlotMember> {
  #seats: readonly Seat<M>[] = []
  #isWeighted = false
  #generation = 0
  readonly #owners = new Map<number, M>()

  /** Changes with the membership: what was answered before may not hold any more. */
  get generation(): number {
    return this.#generation
  }

  /** Who is there now. */
  assign(members: readonly M[]): void {
    const before = new Map(this.#seats.map((seat) => [seat.member, seat]))
    if (members.length === before.size && members.every((member) => before.has(member))) return
    const seats = members.flatMap((member) => before.get(member) ?? [])
    for (const member of members) if (!before.has(member)) seats.push(seatOf(member, seats))
    this.#seats = seats
    this.#isWeighted = members.some(({ weight }) => weight !== members[0]?.weight)
    this.#owners.clear()
    this.#generation++
  }

  /** Null: nobody is there. */
  ownerOf(slot: number): M | null {
    const known = this.#owners.get(slot)
    if (known) return known
    const owner = this.#highest(slot)
    if (owner) this.#owners.set(slot, owner)
    return owner
  }

  #highest(slot: number): M | null {
    let highest = -1
    let owner: M | null = null
    for (const { member, seed } of this.#seats) {
      const hash = mix(seed ^ Math.imul(slot, 0x9e3779b1))
      // With equal weights the order of the scores is that of the hashes, which spares a logarithm each.
      const score = this.#isWeighted ? -member.weight / Math.log((hash + 0.5) / 0x1_0000_0000) : hash
      if (score <= highest) continue
      highest = score
      owner = member
    }
    return owner
  }
}

/** A seat with the lowest number that none of that name has. */
function seatOf<M extends SlotMember>(member: M, seats: readonly Seat<M>[]): Seat<M> {
  const taken = new Set(seats.filter((seat) => seat.member.name === member.name).map(({ ordinal }) => ordinal))
  let ordinal = 0
  while (taken.has(ordinal)) ordinal++
  return { member, ordinal, seed: mix(murmur2(encoder.encode(member.name)) + Math.imul(ordinal, 0x85ebca6b)) | 0 }
}

/** Spreads 32 bits (the finish of MurmurHash3): unsigned. */
function mix(value: number): number {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
