/** The package's entry in Node. */
import { Client, type ClientOptions } from './client.ts'
import { nodePlatform } from './node-platform.ts'
import * as seldom from './seldom.ts'

export * from './index.ts'

/** A client of one broker, or of several. It connects when something is published or subscribed to. */
export function createClient(options: ClientOptions): Client {
  return new Client(nodePlatform, options, () => seldom)
}
