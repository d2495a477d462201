/**
 * The cursors in which subscriptions remember what was redriven lie in other topics than theirs. When a
 * subscription goes they go too, or else at the next start.
 */
import { redrivingSubscription } from '../subscription/redrive.ts'
import type { Hosted } from './hosted.ts'

/** Deletes those of subscriptions that are gone. */
export function forgetRedrives(topics: Iterable<Hosted>, isGone: (subscriptionId: string) => boolean): void {
  for (const { cursors } of topics) {
    for (const store of cursors) {
      for (const id of store.internalIds) {
        const subscription = redrivingSubscription(id)
        if (subscription !== null && isGone(subscription)) store.delete(id)
      }
    }
  }
}
