/**
 * What a subscription shows of itself: counts over its lanes, and its consumers. Pure, from state that is
 * there anyway.
 */
import type { SubscriptionSettings } from '@tidings/sdk/protocol'
import type { Consumer } from './consumer.ts'
import { isOrdered } from './dispatch.ts'
import type { Lane } from './lane.ts'
import type { SubscriptionState } from './subscription.ts'

export interface Shown {
  readonly settings: SubscriptionSettings
  readonly isPattern: boolean
  readonly lanes: readonly Lane[]
  /** In order of arrival. */
  readonly consumers: readonly Consumer[]
}

/** `wall` is the time now, milliseconds since the epoch. */
export function stateOf({ settings, isPattern, lanes, consumers }: Shown, wall: number): SubscriptionState {
  return {
    backlog: sum(lanes, (lane) => lane.backlog),
    unacked: sum(lanes, (lane) => lane.ledger.leased),
    redelivering: sum(lanes, (lane) => lane.ledger.waiting),
    deadLettering: sum(lanes, (lane) => lane.ledger.doomedCount),
    parked: sum(lanes, (lane) => lane.keys?.parked.size ?? 0),
    consumers: consumers.map(({ port, outstanding, isPaused }, index) => ({
      name: port.name,
      unacked: outstanding,
      prefetch: port.prefetch,
      weight: port.weight,
      paused: isPaused,
      active: !isOrdered(settings.type) || index === 0,
    })),
    oldestUnackedAgeMs: oldestUnackedAgeMs(lanes, wall),
    cursors: lanes.map(({ topic, partition, ledger }) => ({
      ...(isPattern ? { topic } : {}),
      partition: partition.number,
      ackedThrough: ledger.floor,
      ackedAhead: ledger.ackedAhead,
    })),
  }
}

export function sum(lanes: readonly Lane[], count: (lane: Lane) => number): number {
  let total = 0
  for (const lane of lanes) total += count(lane)
  return total
}

function oldestUnackedAgeMs(lanes: readonly Lane[], wall: number): number | null {
  let oldest: number | null = null
  for (const lane of lanes) {
    const timestamp = lane.oldestTimestamp()
    if (timestamp !== null) oldest = Math.min(oldest ?? timestamp, timestamp)
  }
  return oldest === null ? null : Math.max(0, wall - oldest)
}
