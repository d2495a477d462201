/**
 * Load at a rate that does not wait for answers: request number n is due at n / rate, whatever became of those
 * before. Where no connection is free it queues, and its latency runs from when it was due.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Latencies } from './latency.ts'

export interface OpenLoop {
  ratePerSecond: number
  durationMs: number
  /** Not measured at the beginning. */
  warmUpMs: number
  /** Starts one request now; `done` is called when its answer is there. */
  start: (dueAt: number, done: () => void) => void
}

export interface OpenLoopResult {
  latencies: Latencies
  sent: number
  /** Answers a second that really came. */
  perSecond: number
}

export async function openLoop({ ratePerSecond, durationMs, warmUpMs, start }: OpenLoop): Promise<OpenLoopResult> {
  const latencies = new Latencies()
  const beganAt = performance.now()
  const endsAt = beganAt + warmUpMs + durationMs
  let sent = 0
  let open = 0
  let answered = 0
  let lastAnswerAt = beganAt
  for (let now = beganAt; now < endsAt; now = performance.now()) {
    const due = Math.floor(((now - beganAt) * ratePerSecond) / 1000)
    for (; sent < due; sent++) {
      const dueAt = beganAt + (sent * 1000) / ratePerSecond
      const measured = dueAt >= beganAt + warmUpMs
      open++
      start(dueAt, () => {
        open--
        if (!measured) return
        lastAnswerAt = performance.now()
        latencies.add(lastAnswerAt - dueAt)
        answered++
      })
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  for (const giveUpAt = performance.now() + 30_000; open > 0 && performance.now() < giveUpAt; ) await sleep(5)
  const spanMs = Math.max(lastAnswerAt - beganAt - warmUpMs, 1)
  return { latencies, sent, perSecond: (answered * 1000) / spanMs }
}
