/**
 * What was decided about messages and not yet told to the broker, gathered into few requests of ranges; which of the
 * acknowledgements that somebody awaits are under way; and, with recent-finals.ts, which may have been lost with a
 * connection, so that a message that was done is not done again when it comes back. A decision; consumer.ts sends.
 */
import type { Decision } from './message.ts'
import type { Parcel, Span } from './parcel.ts'
import type { ConsumeRequest, FrameRange } from './protocol/consume-frames.ts'
import * as LIMITS from './protocol/limits.ts'
import { type Final, RecentFinals } from './recent-finals.ts'
import { append, holds, inOrder, type Stretch, sizeOf } from './stretch.ts'

type Done = (isAcked: boolean) => void

/** What is said alike about several stretches. */
interface Group {
  verb: 'extend' | 'nack' | 'release'
  delayMs?: number | undefined
  reason?: string | undefined
  ms?: number
  stretches: Stretch[]
}

/** Requests whose answer is awaited at the same time; what is decided meanwhile goes into the next one. */
const AWAITED_MAX = 16
const ORDER: readonly Group['verb'][] = ['extend', 'nack', 'release']

export class Settlements {
  #finals: Final[] = []
  /** By everything but the messages. Extensions first, then what failed, then what is handed back behind it. */
  readonly #others = new Map<string, Group>()
  readonly #awaited = new Map<number, readonly Final[]>()
  readonly #recent = new RecentFinals()
  #requests = 0

  /** Nothing is to be sent, and no answer is awaited. */
  get isClear(): boolean {
    return this.#finals.length === 0 && this.#others.size === 0 && this.#awaited.size === 0
  }

  /** Topics of which something final is to be told. */
  get topics(): Set<string> {
    return new Set(this.#finals.map(({ topic }) => topic))
  }

  /** An acknowledgement or a reject. `isLeased`: false when its delivery is gone, so that the message will come again. */
  final(
    at: Stretch,
    attempt: number,
    decision: Decision & { verb: 'ack' | 'reject' },
    done: Done | null,
    isLeased = true,
  ): void {
    const { topic, partition, from, to } = at
    const { verb } = decision
    const reason = verb === 'reject' ? decision.reason : undefined
    let final = this.#finals.at(-1)
    const isNext = final?.to === from && final.partition === partition && final.topic === topic
    if (isNext && final!.verb === verb && final!.attempt === attempt && final!.reason === reason) final!.to = to
    else {
      final = { topic, partition, from, to, attempt, verb, reason, waiters: null }
      this.#finals.push(final)
    }
    if (done) (final!.waiters ??= []).push({ offset: from, done })
    if (!isLeased) this.#recent.lost({ topic, partition, from, to, attempt, verb, reason, waiters: null })
  }

  nack(at: Stretch, delayMs: number | undefined, reason: string | undefined): void {
    this.#gather(`nack ${delayMs} ${reason}`, { verb: 'nack', delayMs, reason, stretches: [] }, at)
  }

  release(at: Stretch): void {
    this.#gather('release', { verb: 'release', stretches: [] }, at)
  }

  extend(at: Stretch, ms: number): void {
    this.#gather(`extend ${ms}`, { verb: 'extend', ms, stretches: [] }, at)
  }

  /** The requests to send now, in order. What concerns a topic that has no number yet is kept. */
  take(numberOf: (topic: string) => number | undefined): ConsumeRequest[] {
    const requests: ConsumeRequest[] = []
    const groups = [...this.#others.values()].sort((a, b) => ORDER.indexOf(a.verb) - ORDER.indexOf(b.verb))
    this.#others.clear()
    for (const { verb, delayMs, reason, ms = 0, stretches } of groups) {
      for (const part of partsOf(merged(stretches))) {
        const common = { request: 0, ranges: rangesOf(part, numberOf) }
        if (verb === 'nack') requests.push({ type: 'nack', delayMs, reason, ...common })
        else if (verb === 'extend') requests.push({ type: 'extend', ms, ...common })
        else requests.push({ type: 'release', ...common })
      }
    }
    this.#takeFinals(numberOf, requests)
    return requests
  }

  /** The broker's answer to a request that asked for one: these are acknowledged, durably. */
  acked(request: number, ranges: readonly Stretch[]): void {
    const finals = this.#awaited.get(request)
    if (!finals) return
    this.#awaited.delete(request)
    const isAll = sizeOf(ranges) === sizeOf(finals)
    const acked = isAll ? [] : [...ranges].sort(inOrder)
    if (ranges.length > 0) this.#recent.durable(finals)
    for (const { topic, partition, waiters } of finals) {
      if (waiters) for (const { offset, done } of waiters) done(isAll || holds(acked, topic, partition, offset))
    }
  }

  /** The broker could not do what such a request asked for. */
  failed(request: number): void {
    this.acked(request, [])
  }

  /** Says the latest acknowledgements again, so that the answer tells that they, and all before them, are durable. */
  confirmLatest(): void {
    for (const final of this.#finals) final.waiters ??= [{ offset: final.from, done: () => undefined }]
    for (const final of this.#recent.latest()) {
      this.#finals.push({ ...final, waiters: [{ offset: final.from, done: () => undefined }] })
    }
  }

  /** The connection is gone. What was final is told again over the next one; the rest has no meaning any more. */
  left(now: number): void {
    this.#others.clear()
    const underWay = [...this.#awaited.values()].flat()
    this.#awaited.clear()
    this.#recent.left(now, underWay.concat(this.#finals))
    this.#finals = underWay.filter(({ waiters }) => waiters !== null).concat(this.#finals)
  }

  /** There will be no other connection: nobody waits in vain. */
  end(): void {
    this.#others.clear()
    const finals = [...this.#awaited.values()].flat().concat(this.#finals)
    this.#awaited.clear()
    this.#finals = []
    for (const { waiters } of finals) for (const { done } of waiters ?? []) done(false)
  }

  /**
   * The messages of a parcel that need handling: without those that were settled here just before a connection was
   * lost, which have been settled again.
   */
  fresh(parcel: Parcel, now: number): Span[] {
    const { topic, partition, baseOffset, attempt, count } = parcel
    if (!this.#recent.mayRepeat(now)) return [{ parcel, from: 0, to: count }]
    const fresh: Span[] = []
    let from = 0
    for (let index = 0; index < count; index++) {
      const offset = baseOffset + index
      const lost = this.#recent.repeated(topic, partition, offset, attempt)
      if (!lost) continue
      const at = { topic, partition, from: offset, to: offset + 1 }
      if (lost.verb === 'ack') this.final(at, attempt, { verb: 'ack' }, null, false)
      else
        this.final(
          at,
          attempt,
          { verb: 'reject', ...(lost.reason === undefined ? {} : { reason: lost.reason }) },
          null,
          false,
        )
      if (from < index) fresh.push({ parcel, from, to: index })
      from = index + 1
    }
    if (from < count) fresh.push({ parcel, from, to: count })
    return fresh
  }

  #takeFinals(numberOf: (topic: string) => number | undefined, requests: ConsumeRequest[]): void {
    const kept: Final[] = []
    const groups = new Map<string, Final[]>()
    for (const final of this.#finals) {
      if (numberOf(final.topic) === undefined) {
        kept.push(final)
        continue
      }
      const group = final.verb === 'ack' ? 'ack' : `reject ${final.reason}`
      const finals = groups.get(group)
      if (finals) finals.push(final)
      else groups.set(group, [final])
    }
    for (const finals of groups.values()) {
      for (const part of partsOf(finals)) {
        const isAwaited = part.some(({ waiters }) => waiters !== null)
        if (isAwaited && this.#awaited.size >= AWAITED_MAX) {
          kept.push(...part)
          continue
        }
        const request = isAwaited ? this.#nextRequest() : 0
        if (isAwaited) this.#awaited.set(request, part)
        for (const final of part) this.#recent.sent(final)
        const { verb, reason } = part[0]!
        const ranges = rangesOf(merged(part.map(bare)), numberOf)
        requests.push(verb === 'ack' ? { type: 'ack', request, ranges } : { type: 'reject', request, reason, ranges })
      }
    }
    this.#finals = kept
  }

  #nextRequest(): number {
    this.#requests = (this.#requests % 0x7fffffff) + 1
    return this.#requests
  }

  #gather(key: string, group: Group, { topic, partition, from, to }: Stretch): void {
    let same = this.#others.get(key)
    if (!same) {
      same = group
      this.#others.set(key, same)
    }
    append(same.stretches, topic, partition, from, to)
  }
}

/** In order, neighbours joined; none longer than a request may name. */
function merged(stretches: Stretch[]): Stretch[] {
  if (stretches.length > 1) stretches.sort(inOrder)
  const all: Stretch[] = []
  for (const { topic, partition, from, to } of stretches) append(all, topic, partition, from, to)
  return all.some(({ from, to }) => to - from > LIMITS.offsetsPerFrame) ? all.flatMap(cut) : all
}

function cut({ topic, partition, from, to }: Stretch): Stretch[] {
  const pieces: Stretch[] = []
  for (let at = from; at < to; at += LIMITS.offsetsPerFrame) {
    pieces.push({ topic, partition, from: at, to: Math.min(to, at + LIMITS.offsetsPerFrame) })
  }
  return pieces
}

/** As many as a request may name, again and again. */
function partsOf<S extends Stretch>(stretches: S[]): S[][] {
  const parts: S[][] = []
  let offsets = 0
  for (const stretch of stretches) {
    const size = stretch.to - stretch.from
    offsets += size
    const part = parts.at(-1)
    if (part && part.length < LIMITS.rangesPerFrame && offsets <= LIMITS.offsetsPerFrame) part.push(stretch)
    else {
      parts.push([stretch])
      offsets = size
    }
  }
  return parts
}

function bare({ topic, partition, from, to }: Stretch): Stretch {
  return { topic, partition, from, to }
}

function rangesOf(stretches: readonly Stretch[], numberOf: (topic: string) => number | undefined): FrameRange[] {
  const ranges: FrameRange[] = []
  for (const { topic: name, partition, from, to } of stretches) {
    const topic = numberOf(name)
    if (topic !== undefined) ranges.push({ topic, partition, from, to })
  }
  return ranges
}
