/** As many requests as the connections carry, each sending its next when its answer is there: the most, not the latency. */
import type { Connections, Request } from './connections.ts'

export interface ClosedLoop {
  connections: Connections
  count: number
  warmUpMs: number
  durationMs: number
  next: () => Request
}

/** Answers a second after the warm-up. */
export async function closedLoop({ connections, count, warmUpMs, durationMs, next }: ClosedLoop): Promise<number> {
  const measureAt = performance.now() + warmUpMs
  const endsAt = measureAt + durationMs
  let answered = 0
  let open = count
  await new Promise<void>((resolve) => {
    const turn = (): void => {
      const now = performance.now()
      if (now >= measureAt && now < endsAt) answered++
      if (now < endsAt) connections.send(next(), turn)
      else if (--open === 0) resolve()
    }
    for (let i = 0; i < count; i++) connections.send(next(), turn)
  })
  return (answered * 1000) / durationMs
}
