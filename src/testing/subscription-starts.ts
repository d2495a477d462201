/**
 * Where subscriptions began. What a new one passes over (`start: 'latest'`) counts as acknowledged in its cursors; a
 * test that asks what was acknowledged does not mean that. Stands between the server and the host, and looks at
 * each subscription when it is first handed out.
 */
import type { Host } from '../cluster/host.ts'
import type { Subscription } from '../subscription/subscription.ts'
import { overridden } from './overridden.ts'

export class SubscriptionStarts {
  /** By the subscription's id, then by topic and partition. */
  readonly #starts = new Map<string, Map<string, number>>()

  guard(host: Host): Host {
    const seen = (subscription: Subscription): Subscription => {
      this.#see(subscription)
      return subscription
    }
    return overridden(host, {
      ensureSubscription: async (topic: string, name: string, patch: unknown) =>
        seen(await host.ensureSubscription(topic, name, patch)),
      putSubscription: async (topic: string, name: string, patch: unknown) => {
        const put = await host.putSubscription(topic, name, patch)
        seen(put.subscription)
        return put
      },
    })
  }

  /** The first offset that was its to deliver. */
  startOf({ id }: Subscription, topic: string, partition: number): number {
    return this.#starts.get(id)?.get(`${topic}/${partition}`) ?? 0
  }

  #see(subscription: Subscription): void {
    if (this.#starts.has(subscription.id)) return
    const starts = subscription
      .state()
      .cursors.map(({ topic = subscription.topic, partition, ackedThrough }): [string, number] => [
        `${topic}/${partition}`,
        ackedThrough,
      ])
    this.#starts.set(subscription.id, new Map(starts))
  }
}
