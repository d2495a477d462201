import { describe, expect, it } from 'vitest'
import type { Message } from '../../../src/subscription/key-queue.ts'
import { KeyQueues } from '../../../src/subscription/key-queues.ts'

let looks = 0

function message(from: number, key: string | null, queues: KeyQueues): Message {
  const known = { from, to: from + 1, state: 'ready' as const, attempts: 1, failed: true, failure: null, notBefore: 0 }
  const one = { ...known, queue: queues.line, holder: null, deadline: 0 }
  return Object.defineProperty(one, 'key', {
    get: () => {
      looks += 1
      return key
    },
  }) as Message
}

function wait(queues: KeyQueues, one: Message): void {
  one.queue.waiting.insert(one)
  queues.joined(one)
}

describe('the queues of an exclusive subscription that parks', () => {
  it('know what waits behind a parked message in order, without a look at the whole line', () => {
    const queues = new KeyQueues(true)
    const later: Message[] = []
    for (let offset = 1; offset <= 20_000; offset++) {
      const key = offset % 5 === 0 ? null : offset % 1000 === 1 ? 'x' : `k${offset}`
      const one = message(offset, key, queues)
      wait(queues, one)
      if (key === 'x' && offset > 5000) later.push(one)
    }
    const parked = message(5000, 'x', queues)
    parked.state = 'parked'
    parked.queue = queues.homeOf(parked)
    looks = 0
    expect(queues.behind(parked)).toEqual(later)
    expect(looks).toBeLessThan(100)
    for (const one of later) {
      queues.left(one)
      one.queue = queues.homeOf(one)
    }
    expect(queues.behind(parked)).toEqual([])
    expect(queues.behind(message(0, 'x', queues))).toEqual([])
  })
})
