/**
 * What was decided about messages and not yet told to the broker, gathered into few frames; which of the
 * acknowledgements that somebody awaits are under way; and which may have been lost with a connection, so that a
 * message that was done is not done again when it comes back. A decision; subscription.ts sends the frames.
 */
import type { Decision } from './message.ts'
import { LIMITS } from './protocol/limits.ts'

export interface SettlementFrame {
  type: 'ack' | 'nack' | 'reject' | 'release' | 'extend'
  ids: string[]
  request?: number
  delayMs?: number
  reason?: string
  ms?: number
}

interface Final {
  readonly id: string
  readonly verb: 'ack' | 'reject'
  readonly reason: string | undefined
  /** Somebody waits to hear whether it is durable. */
  readonly done: ((isAcked: boolean) => void) | null
}

/** Frames whose answer is awaited at the same time; what is decided meanwhile goes into the next one. */
const AWAITED_MAX = 16
const FRAME_IDS_BYTES = LIMITS.frameBytes / 2
/** Decisions remembered in case they were lost, and for how long after a connection was. */
export const RECENT_MAX = 10_000
export const RECENT_MS = 60_000

export class Settlements {
  #finals: Final[] = []
  /** By everything but the ids. Extensions first, then what failed, then what is handed back behind it. */
  readonly #others = new Map<string, SettlementFrame>()
  readonly #awaited = new Map<number, readonly Final[]>()
  #requests = 0
  /** Acknowledged or rejected, and not known to be durable: the attempt that was, and what was decided. */
  readonly #recent = new Map<string, { attempt: number; final: Final }>()
  #lostAt = Number.NEGATIVE_INFINITY

  /** Nothing is to be sent, and no answer is awaited. */
  get isClear(): boolean {
    return this.#finals.length === 0 && this.#others.size === 0 && this.#awaited.size === 0
  }

  add(id: string, attempt: number, decision: Decision, done: Final['done']): void {
    const { verb } = decision
    if (verb === 'ack' || verb === 'reject') {
      const reason = verb === 'reject' ? decision.reason : undefined
      const final = { id, verb, reason, done }
      this.#finals.push(final)
      this.#remember(id, attempt, final)
      return
    }
    done?.(false)
    if (verb === 'release') return this.#gather('release', { type: 'release', ids: [id] })
    const { delayMs, reason } = decision
    const frame: SettlementFrame = { type: 'nack', ids: [id] }
    if (delayMs !== undefined) frame.delayMs = delayMs
    if (reason !== undefined) frame.reason = reason.slice(0, LIMITS.reasonBytes)
    this.#gather(`nack ${delayMs} ${frame.reason}`, frame)
  }

  extend(ids: string[], ms: number): void {
    if (ids.length > 0) this.#gather(`extend ${ms}`, { type: 'extend', ids, ms })
  }

  /** The frames to send now, in order. */
  take(): SettlementFrame[] {
    const order = ['extend', 'nack', 'release']
    const others = [...this.#others.values()].sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type))
    this.#others.clear()
    const frames = others.flatMap((frame) => partsOf(frame.ids).map((ids) => ({ ...frame, ids })))
    return frames.concat(this.#takeFinals())
  }

  /** The broker's answer to a frame that asked for one: these are acknowledged, durably. */
  acked(request: unknown, ids: readonly string[]): void {
    const finals = this.#awaited.get(request as number)
    if (!finals) return
    this.#awaited.delete(request as number)
    const acked = new Set(ids)
    for (const { id, done } of finals) {
      if (acked.has(id)) this.#recent.delete(id)
      done?.(acked.has(id))
    }
  }

  /** The broker could not do what such a frame asked for. */
  failed(request: unknown): void {
    this.acked(request, [])
  }

  /** Says the latest acknowledgements again, so that the answer tells that they are durable. */
  confirmLatest(count: number): void {
    for (const { final } of [...this.#recent.values()].slice(-count)) {
      this.#finals.push({ ...final, done: () => undefined })
    }
  }

  /** The connection is gone. What was final is told again over the next one; the rest has no meaning any more. */
  left(now: number): void {
    this.#others.clear()
    this.#lostAt = now
    const again = [...this.#awaited.values()].flat().filter(({ done }) => done !== null)
    this.#awaited.clear()
    this.#finals = again.concat(this.#finals)
  }

  /** There will be no other connection: nobody waits in vain. */
  end(): void {
    this.#others.clear()
    const finals = [...this.#awaited.values()].flat().concat(this.#finals)
    this.#awaited.clear()
    this.#finals = []
    for (const { done } of finals) done?.(false)
  }

  /**
   * This delivery is of a message that was settled here just before a connection was lost: it has been settled again,
   * and needs no handling. The attempt must follow the one that was settled: after a seek it would not.
   */
  isRepeated(id: string, attempt: number, now: number): boolean {
    const recent = this.#recent.get(id)
    if (!recent || now - this.#lostAt > RECENT_MS || attempt !== recent.attempt + 1) return false
    const final = { ...recent.final, done: null }
    this.#finals.push(final)
    this.#remember(id, attempt, final)
    return true
  }

  #takeFinals(): SettlementFrame[] {
    const frames: SettlementFrame[] = []
    const kept: Final[] = []
    const groups = new Map<string, Final[]>()
    for (const final of this.#finals) {
      const group = final.verb === 'ack' ? 'ack' : `reject ${final.reason}`
      const finals = groups.get(group)
      if (finals) finals.push(final)
      else groups.set(group, [final])
    }
    for (const finals of groups.values()) {
      let at = 0
      for (const ids of partsOf(finals.map(({ id }) => id))) {
        const part = finals.slice(at, at + ids.length)
        at += ids.length
        const isAwaited = part.some(({ done }) => done !== null)
        if (isAwaited && this.#awaited.size >= AWAITED_MAX) {
          kept.push(...part)
          continue
        }
        const { verb: type, reason } = part[0]!
        const frame: SettlementFrame = { type, ids }
        if (reason !== undefined) frame.reason = reason.slice(0, LIMITS.reasonBytes)
        if (isAwaited) {
          frame.request = ++this.#requests
          this.#awaited.set(frame.request, part)
        }
        frames.push(frame)
      }
    }
    this.#finals = kept
    return frames
  }

  #gather(key: string, frame: SettlementFrame): void {
    const same = this.#others.get(key)
    if (same) same.ids.push(...frame.ids)
    else this.#others.set(key, frame)
  }

  #remember(id: string, attempt: number, final: Final): void {
    this.#recent.delete(id)
    this.#recent.set(id, { attempt, final })
    if (this.#recent.size > RECENT_MAX) this.#recent.delete(this.#recent.keys().next().value!)
  }
}

/** As many ids as fit into a frame, again and again. */
function partsOf(ids: string[]): string[][] {
  const parts: string[][] = []
  let bytes = FRAME_IDS_BYTES
  for (const id of ids) {
    bytes += id.length + 3
    const part = parts.at(-1)
    if (part && part.length < LIMITS.idsPerFrame && bytes <= FRAME_IDS_BYTES) part.push(id)
    else {
      parts.push([id])
      bytes = id.length + 3
    }
  }
  return parts
}
