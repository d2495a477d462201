/**
 * One message as the consumers of one simulated subscription know it, from its first delivery on. Types and
 * names only; `subscription-witness.ts` keeps them.
 */
import type { Published } from './topic-witness.ts'
import type { Moment } from './witness.ts'

/** A message at its place. */
export interface Place {
  topic: string
  partition: number
  offset: number
}

export interface Arrival extends Place {
  value: string
  /** When it was stored. */
  timestamp: number
  attempt: number
  /** With whom it is now. */
  holder: string
  /** It surely lies with the holder until then, and surely does not after `overAt`. */
  heldUntil: number
  overAt: number
  /** Not handed over before: what a pull got was on its way for a while. */
  since: Moment
}

/** One message as the subscription's consumers know it. */
export interface Sighting extends Place {
  published: Published
  attempt: number
  /** The same attempt may come again: it was handed back, or a power cut took the record of a first one. */
  mayRepeat: boolean
  /** Nothing can have counted that nobody saw. */
  isExact: boolean
  holder: string | null
  heldUntil: number
  overAt: number
  /** Was nacked: blocks what comes after it. */
  hasFailed: boolean
  isRejected: boolean
  /** When it last changed hands. */
  moment: number
  ack: 'none' | 'sent' | 'confirmed'
}

export function placeOf({ topic, partition, offset }: Place): string {
  return `${topic}/${partition}:${offset}`
}

export function laneOf({ topic, partition }: Place): string {
  return `${topic}/${partition}`
}
