/**
 * What was decided about the parked messages of one simulated subscription, and what may come of it: a resumed
 * one begins again, a discarded one never comes again, a replaced one comes with its new value and no other.
 */
import { type Place, placeOf, type Sighting } from './sighting.ts'
import type { Witness } from './witness.ts'

interface Replacement {
  /** All that were asked for. */
  values: string[]
  /** The one that was answered last; null: nobody knows which holds. */
  sure: string | null
}

export interface ParkingPorts {
  sightingOf: (place: string) => Sighting | undefined
  acked: (place: Place) => void
  confirmed: (place: Place) => void
}

export class ParkingWitness {
  readonly #witness: Witness
  readonly #name: string
  readonly #ports: ParkingPorts
  readonly #replacements: Map<string, Replacement> = new Map()

  constructor(witness: Witness, name: string, ports: ParkingPorts) {
    this.#witness = witness
    this.#name = name
    this.#ports = ports
  }

  /** Somebody asks for it: from now on it may have happened. */
  deciding(place: Place, action: string, value: string | null): void {
    const name = placeOf(place)
    this.#witness.note(`${action} ${this.#name} ${name} ${value ?? ''}`)
    const seen = this.#ports.sightingOf(name)
    if (seen && action !== 'skip') Object.assign(seen, { attempt: 0, isExact: false })
    if (value !== null) {
      const values = [...(this.#replacements.get(name)?.values ?? []), value]
      this.#replacements.set(name, { values, sure: null })
    }
    if (action === 'discard') this.#ports.acked(place)
  }

  /** It was answered: it has happened, and lasts. */
  decided(place: Place, action: string, value: string | null): void {
    this.#witness.note(`${action} done ${this.#name} ${placeOf(place)}`)
    if (action === 'discard') this.#ports.confirmed(place)
    const replacement = this.#replacements.get(placeOf(place))
    // A later one may have been asked for meanwhile.
    if (value !== null && replacement?.values.at(-1) === value) replacement.sure = value
  }

  /** A letter of it may come back, with the value that it had then. */
  forgetPlace(place: string): void {
    const replacement = this.#replacements.get(place)
    if (replacement) replacement.sure = null
  }

  /** The subscription moved: either value may come. */
  forget(lane: string): void {
    for (const [place, replacement] of this.#replacements) if (place.startsWith(`${lane}:`)) replacement.sure = null
  }

  forgetTopic(topic: string): void {
    for (const place of this.#replacements.keys()) if (place.startsWith(`${topic}/`)) this.#replacements.delete(place)
  }

  /** Whether the value was given for what stands at the place; a violation where another one had to come. */
  isReplacement(place: string, value: string, label: string): boolean {
    const replacement = this.#replacements.get(place)
    if (!replacement) return false
    if (replacement.sure !== null && value !== replacement.sure)
      throw this.#witness.violated('D-REPL', `it was replaced by ${replacement.sure}: ${label}`)
    return replacement.values.includes(value)
  }

  /** Values that letters of the message may have besides its own. */
  valuesOf(place: string): readonly string[] {
    return this.#replacements.get(place)?.values ?? []
  }
}
