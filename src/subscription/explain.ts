/**
 * Why a subscription delivers nothing: looks at what stands between its messages and its consumers, in the
 * order in which a person should. A decision over state that is there anyway: no message is read for it.
 */
import { formatMessageId, formatTimestamp } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import type { Consumer, Pull } from './consumer.ts'
import { isOrdered } from './dispatch.ts'
import type { DeliveryReason, SubscriptionExplanation } from './explanation.ts'
import type { Lane } from './lane.ts'
import { type Shown, stateOf, sum } from './subscription-state.ts'

export interface Explained extends Shown {
  readonly name: string
  readonly topic: string
  readonly pulls: readonly Pull[]
  readonly clock: Clock
}

/** Reasons of single partitions that one answer tells; the first ones say enough. */
const LANE_REASONS_MAX = 50

export function explain(subject: Explained): SubscriptionExplanation {
  const { name, topic, settings, lanes, consumers, pulls, clock } = subject
  const { backlog, unacked, redelivering, deadLettering } = stateOf(subject, clock.now())
  const reasons = backlog === 0 ? [caughtUp()] : reasonsOf(subject)
  return {
    subscription: name,
    topic,
    verdict: reasons[0]!.detail,
    reasons,
    backlog,
    unacked,
    redelivering,
    deadLettering,
    parked: sum(lanes, (lane) => lane.keys?.held ?? 0),
    maxUnacked: settings.maxUnacked,
    consumers: consumers.map(({ port, outstanding, isPaused }, index) => ({
      name: port.name,
      unacked: outstanding,
      prefetch: port.prefetch,
      paused: isPaused,
      ready: port.ready(),
      active: !isOrdered(settings.type) || index === 0,
    })),
    pulls: pulls.length,
  }
}

/** A time of the monotonic clock as people read it. */
export function wallTime(clock: Clock, monotonicMs: number): string {
  return formatTimestamp(Math.round(clock.now() + monotonicMs - clock.monotonic()))
}

function caughtUp(): DeliveryReason {
  return { code: 'caught_up', detail: 'Everything that was published has been acknowledged.' }
}

function reasonsOf(subject: Explained): DeliveryReason[] {
  const lanes = subject.lanes.filter((lane) => lane.backlog > 0)
  const ofLanes: DeliveryReason[] = []
  for (const lane of lanes) {
    if (ofLanes.length >= LANE_REASONS_MAX) break
    ofLanes.push(...laneReasons(subject, lane))
  }
  const ofConsumers = consumerReasons(subject)
  const isUnwritable = ({ code }: DeliveryReason): boolean => code === 'storage_full' || code === 'log_unwritable'
  // Without a consumer, or without a disk, nothing else matters; what is about single messages comes last.
  const reasons = [...ofConsumers, ...ofLanes.filter(isUnwritable)]
  const unsettled = sum(lanes, (lane) => lane.ledger.unsettled)
  const { maxUnacked } = subject.settings
  if (unsettled >= maxUnacked) {
    const detail = `${unsettled} messages are not acknowledged, as many as maxUnacked (${maxUnacked}) lets be: no new ones go out.`
    reasons.push({ code: 'max_unacked', detail })
  }
  const left = sum(lanes, (lane) => lane.backlog - lane.ledger.leased)
  if (left === 0) {
    const detail = `All ${sum(lanes, (lane) => lane.ledger.leased)} messages that are left lie with consumers and are not acknowledged.`
    // That they have no room for more does not matter then.
    return [{ code: 'all_outstanding', detail }, ...reasons.filter(({ code }) => code !== 'no_credit')]
  }
  reasons.push(...ofLanes.filter((reason) => !isUnwritable(reason)))
  if (reasons.length === 0)
    reasons.push({ code: 'delivering', detail: 'Nothing is in the way: messages are going out.' })
  return reasons
}

/** What keeps everybody who could get messages from getting any. */
function consumerReasons({ settings, consumers, pulls }: Explained): DeliveryReason[] {
  const active = isOrdered(settings.type) ? consumers.slice(0, 1) : consumers
  if (active.length === 0 && pulls.length === 0) {
    return [{ code: 'no_consumer', detail: 'No consumer is connected and no pull waits.' }]
  }
  if (active.some((consumer) => consumer.credit() > 0) || pulls.some((pull) => pull.credit() > 0)) return []
  const paused = active.filter(({ isPaused }) => isPaused)
  const full = active.filter((consumer) => !consumer.isPaused && consumer.outstanding >= consumer.port.prefetch)
  const backedUp = active.filter((consumer) => !paused.includes(consumer) && !full.includes(consumer))
  const reasons: DeliveryReason[] = []
  const tell = (code: DeliveryReason['code'], who: readonly Consumer[], what: string): void => {
    if (who.length > 0) reasons.push({ code, detail: `${what} ${named(who)}.` })
  }
  tell('no_credit', full, 'Their prefetch is used up, and they acknowledge nothing:')
  tell('socket_backed_up', backedUp, 'They do not read what was sent to them:')
  tell('consumers_paused', paused, 'They have paused:')
  return reasons
}

/** `"a" (256 messages), "b" (3 messages)`. */
function named(consumers: readonly Consumer[]): string {
  const names = consumers
    .slice(0, 3)
    .map(({ name, outstanding }) => `${JSON.stringify(name)} (${outstanding} messages)`)
  return names.join(', ') + (consumers.length > 3 ? ` and ${consumers.length - 3} more` : '')
}

function laneReasons(subject: Explained, lane: Lane): DeliveryReason[] {
  const place = { ...(subject.isPattern ? { topic: lane.topic } : {}), partition: lane.partition.number }
  const reasons: DeliveryReason[] = []
  const { stalled } = lane.cursor
  if (stalled) {
    const code = stalled.code === 'storage_full' ? 'storage_full' : 'log_unwritable'
    reasons.push({ code, ...place, detail: `The subscription log cannot be written: ${stalled.message}.` })
  }
  const { failure } = lane.deadLetters
  const doomed = lane.ledger.doomedCount
  if (failure) {
    const detail = `${doomed} dead letters cannot be written: ${failure.message}; the broker goes on trying.`
    reasons.push({ code: 'dead_letter_failing', ...place, detail })
  } else if (doomed > 0) {
    reasons.push({ code: 'dead_lettering', ...place, detail: `${doomed} dead letters are being written.` })
  }
  const held = heldBack(subject, lane)
  if (held) reasons.push({ ...held, ...place })
  if (lane.isLoading) {
    reasons.push({ code: 'reading_disk', ...place, detail: 'The next messages are being read from the disk.' })
  }
  return reasons
}

/** What of the ledger keeps messages from going out. */
function heldBack(
  { clock, settings, isPattern }: Explained,
  { topic, partition, ledger, keys }: Lane,
): DeliveryReason | null {
  const idOf = (offset: number): string => `${isPattern ? `${topic}/` : ''}${formatMessageId(partition.number, offset)}`
  const lowest = ledger.describe(ledger.floor)
  if (isOrdered(settings.type)) {
    const isDelayed = lowest.state === 'waiting' && lowest.notBefore > clock.monotonic()
    const isFailed = lowest.state === 'outstanding' && lowest.failure !== null && lowest.failure !== 'disconnected'
    if (isDelayed || isFailed || lowest.state === 'doomed') {
      const id = idOf(ledger.floor)
      const until = isDelayed ? { until: wallTime(clock, lowest.notBefore) } : {}
      const detail = `Message ${id} failed and holds back all later ones until it is acknowledged or given up on.`
      return { code: 'blocked_by_failed', id, ...until, detail }
    }
  }
  if (keys && keys.held > 0) {
    return {
      code: 'parked',
      detail: `${keys.held} messages of ${keys.parked.size} parked keys wait until somebody decides.`,
    }
  }
  if (lowest.state === 'waiting' && lowest.blockedBy !== null) {
    const [id, before] = [idOf(ledger.floor), idOf(lowest.blockedBy)]
    return {
      code: 'key_blocked',
      id: before,
      detail: `Message ${id} waits until ${before}, of the same key, is settled.`,
    }
  }
  if (ledger.retryAt === Number.POSITIVE_INFINITY) return null
  const until = wallTime(clock, ledger.retryAt)
  return {
    code: 'waiting_backoff',
    until,
    detail: `Failed messages wait for their next attempt, the first until ${until}.`,
  }
}
