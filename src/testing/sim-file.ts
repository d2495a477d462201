/**
 * One file of the simulated disk: what programs see (the page cache), what the platter holds, and the
 * writes and truncations between the two, in order. A power cut picks, sector by sector, how far
 * into that order the platter had come: so writes are lost, torn, or overtaken by later ones, as
 * write-back may do with anything that no sync has covered. A sector always holds what the program
 * had in it at some moment; the file's size is one more such thing.
 * A failed sync marks pages clean: its bytes stay visible and never reach the platter.
 */
import { assert } from '../base/invariant.ts'
import type { SimRandom } from './sim-random.ts'

export const SECTOR_BYTES = 512

/**
 * What a power cut leaves of unsynced effects: `none`, `all`, the first ones (the next one torn),
 * or any.
 */
export type Survival = 'none' | 'all' | 'prefix' | 'scatter'

export function pickSurvival(random: SimRandom): Survival {
  return random.pick(['none', 'all', 'prefix', 'prefix', 'scatter', 'scatter'] as const)
}

/** What is `durable` survives whatever the others do: in its own order among them. */
type Effect = { kind: 'write'; position: number; bytes: Buffer; durable?: true } | { kind: 'truncate'; size: number }

export class SimFile {
  readonly kind = 'file'
  #seen = new Content()
  #platter = new Content()
  #effects: Effect[] = []
  /** Effects that are over: synced, or given up by a failed sync. */
  #settled = 0
  /** Bytes that take room on the disk: up to where something was written. */
  occupied = 0

  get size(): number {
    return this.#seen.size
  }

  /** Effects performed so far; what a sync that is issued now must cover. */
  get performed(): number {
    return this.#settled + this.#effects.length
  }

  /** As programs see it. */
  read(from: number, to: number): Buffer {
    return this.#seen.slice(from, to)
  }

  /** What a power cut would leave if nothing unsynced survived. */
  durable(): Buffer {
    const image = withDurable(this.#platter, this.#effects)
    return image.slice(0, image.size)
  }

  write(position: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const effect: Effect = { kind: 'write', position, bytes: Buffer.from(bytes) }
    this.#effects.push(effect)
    apply(this.#seen, effect)
    this.occupied = Math.max(this.occupied, position + bytes.length)
  }

  /** These bytes reach the platter; what was written before them, elsewhere, as it may. */
  writeDurably(position: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.write(position, bytes)
    const effect = this.#effects.at(-1)!
    assert(effect.kind === 'write', 'a write was performed')
    effect.durable = true
    this.#settleDurable()
  }

  truncate(size: number): void {
    const effect: Effect = { kind: 'truncate', size }
    this.#effects.push(effect)
    apply(this.#seen, effect)
    this.occupied = Math.min(this.occupied, size)
  }

  /** @param issuedAt `performed` when the sync was asked for; what came since is covered or not. */
  sync(issuedAt: number, random: SimRandom): void {
    const covered = this.#effects.splice(0, this.#covered(issuedAt, random))
    this.#settled += covered.length
    for (const effect of covered) apply(this.#platter, effect)
    this.#settleDurable()
  }

  failSync(issuedAt: number, random: SimRandom): void {
    const given = this.#effects.splice(0, this.#covered(issuedAt, random))
    this.#settled += given.length
    const survival = random.chance(0.7) ? 'none' : pickSurvival(random)
    this.#platter = surviving(this.#platter, given, survival, random)
    this.#settleDurable()
  }

  #settleDurable(): void {
    const others = this.#effects.findIndex((effect) => !isDurable(effect))
    const settled = this.#effects.splice(0, others === -1 ? this.#effects.length : others)
    this.#settled += settled.length
    for (const effect of settled) apply(this.#platter, effect)
  }

  #covered(issuedAt: number, random: SimRandom): number {
    const certain = Math.max(0, issuedAt - this.#settled)
    const concurrent = this.#effects.length - certain
    return concurrent === 0 ? certain : certain + random.integer(concurrent + 1)
  }

  /** The power is gone: what is on the platter is all there is. */
  crash(random: SimRandom, survival: Survival): void {
    this.#platter = surviving(this.#platter, this.#effects, survival, random)
    this.#settled += this.#effects.length
    this.#effects = []
    this.#seen = this.#platter.copy()
    this.occupied = this.#seen.size
  }

  /** One bit of one byte turns round, for programs and on the platter. */
  flip(position: number, bit: number): void {
    this.#seen.flip(position, bit)
    this.#platter.flip(position, bit)
  }
}

/** Bytes that grow; whatever is not written is zero, also behind the end. */
class Content {
  size = 0
  #bytes: Buffer = Buffer.alloc(0)

  slice(from: number, to: number): Buffer {
    return Buffer.from(this.#bytes.subarray(from, Math.max(from, Math.min(to, this.size))))
  }

  copy(): Content {
    const copy = new Content()
    copy.write(0, this.#bytes.subarray(0, this.size))
    return copy
  }

  write(position: number, bytes: Uint8Array): void {
    this.#reserve(position + bytes.length)
    this.#bytes.set(bytes, position)
    this.size = Math.max(this.size, position + bytes.length)
  }

  truncate(size: number): void {
    if (size < this.size) this.clear(size, this.size)
    else this.#reserve(size)
    this.size = size
  }

  clear(from: number, to: number): void {
    this.#bytes.fill(0, from, Math.max(from, to))
  }

  flip(position: number, bit: number): void {
    if (position < this.size) this.#bytes[position]! ^= 1 << bit
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#bytes.length) return
    const grown = Buffer.alloc(Math.max(bytes, 2 * this.#bytes.length))
    grown.set(this.#bytes.subarray(0, this.size))
    this.#bytes = grown
  }
}

function apply(content: Content, effect: Effect): void {
  if (effect.kind === 'write') content.write(effect.position, effect.bytes)
  else content.truncate(effect.size)
}

function isDurable(effect: Effect): boolean {
  return effect.kind === 'write' && effect.durable === true
}

function withDurable(before: Content, effects: readonly Effect[]): Content {
  const image = before.copy()
  for (const effect of effects) if (isDurable(effect)) apply(image, effect)
  return image
}

function surviving(before: Content, effects: readonly Effect[], survival: Survival, random: SimRandom): Content {
  const image = before.copy()
  switch (survival) {
    case 'none':
      return withDurable(before, effects)
    case 'all':
      for (const effect of effects) apply(image, effect)
      return image
    case 'prefix':
      keepPrefix(image, effects, random)
      return image
    case 'scatter':
      keepAnySectors(image, effects, random)
      return image
  }
}

/** Some effects in order, then the beginning of one more, whole sectors of it. */
function keepPrefix(image: Content, effects: readonly Effect[], random: SimRandom): void {
  const whole = random.integer(effects.length + 1)
  for (const effect of effects.slice(0, whole)) apply(image, effect)
  const torn = effects[whole]
  if (torn?.kind === 'write' && !isDurable(torn)) keepBeginning(image, torn, random)
  for (const effect of effects.slice(whole)) if (isDurable(effect)) apply(image, effect)
}

function keepBeginning(image: Content, torn: Effect & { kind: 'write' }, random: SimRandom): void {
  const end = torn.position + torn.bytes.length
  const firstSector = Math.floor(torn.position / SECTOR_BYTES)
  const sectors = Math.ceil(end / SECTOR_BYTES) - firstSector
  const to = Math.min(end, (firstSector + random.integer(sectors)) * SECTOR_BYTES)
  if (to > torn.position) image.write(torn.position, torn.bytes.subarray(0, to - torn.position))
}

/** Every sector, and the size, as it was after some number of the effects, each by its own number. */
function keepAnySectors(image: Content, effects: readonly Effect[], random: SimRandom): void {
  const sizes = [image.size]
  for (const effect of effects) {
    const size = sizes.at(-1)!
    sizes.push(effect.kind === 'write' ? Math.max(size, effect.position + effect.bytes.length) : effect.size)
  }
  const extent = Math.max(...sizes)
  image.truncate(extent)
  const reached = new Map<number, number>()
  const { certain, lastDurable, durableEnd } = durableSectors(effects)
  const hasReached = (sector: number, effect: number): boolean => {
    const least = certain.get(sector) ?? 0
    const count = reached.get(sector) ?? least + random.integer(effects.length - least + 1)
    reached.set(sector, count)
    return effect < count
  }
  for (const [index, effect] of effects.entries()) {
    const from = effect.kind === 'write' ? effect.position : effect.size
    const to = effect.kind === 'write' ? from + effect.bytes.length : extent
    for (let at = from; at < to; ) {
      const sector = Math.floor(at / SECTOR_BYTES)
      const end = Math.min(to, (sector + 1) * SECTOR_BYTES)
      if (hasReached(sector, index)) {
        if (effect.kind === 'write') image.write(at, effect.bytes.subarray(at - from, end - from))
        else image.clear(at, end)
      }
      at = end
    }
  }
  image.truncate(random.pick(sizes.map((size, count) => (count > lastDurable ? size : Math.max(size, durableEnd)))))
}

/** How many effects each sector has certainly seen, the last durable write among all (-1: none), and how far they reach. */
function durableSectors(effects: readonly Effect[]): {
  certain: Map<number, number>
  lastDurable: number
  durableEnd: number
} {
  const certain = new Map<number, number>()
  let lastDurable = -1
  let durableEnd = 0
  for (const [index, effect] of effects.entries()) {
    if (effect.kind !== 'write' || !isDurable(effect)) continue
    const end = effect.position + effect.bytes.length
    for (let sector = Math.floor(effect.position / SECTOR_BYTES); sector * SECTOR_BYTES < end; sector++)
      certain.set(sector, index + 1)
    lastDurable = index
    durableEnd = Math.max(durableEnd, end)
  }
  return { certain, lastDurable, durableEnd }
}
