/** What handlers of a test get: numbered orders, noted as `<number>/<attempt>`. */
import type { Message } from '@tidings/sdk'

export interface Order {
  n: number
}

interface Noting {
  seen: string[]
  handler: (message: Message<Order>) => void
}

/** A handler that notes what it gets, and fails where the test says so. */
export function noting(fails: (message: Message<Order>) => boolean = () => false): Noting {
  const seen: string[] = []
  const handler = (message: Message<Order>): void => {
    seen.push(`${message.value.n}/${message.attempt}`)
    if (fails(message)) throw new Error(`no ${message.value.n}`)
  }
  return { seen, handler }
}
