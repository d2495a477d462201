/** The package's entry in Node. */
import { Asking } from './asking.ts'
import { Client, type ClientOptions } from './client.ts'
import { nodePlatform } from './node-platform.ts'
import { verdictOfRefusal } from './upgrade-refusal.ts'

export * from './index.ts'

/** A client of one broker, or of several. It connects when something is published or subscribed to. */
export function createClient(options: ClientOptions): Client {
  return new Client(nodePlatform, options, () => ({ Asking, http: nodePlatform.http() }), verdictOfRefusal)
}
