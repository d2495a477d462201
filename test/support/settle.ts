/**
 * Gives way until every promise reaction that is ready has run, and those that they make ready: one
 * turn of the event loop. A test at a level that drives its clock calls this between two events.
 */
import { setImmediate } from 'node:timers'

export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
