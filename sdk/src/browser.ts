/** The package's entry in browsers, and wherever else there is fetch and WebSocket. */
import { browserPlatform } from './browser-platform.ts'
import { Client, type ClientOptions } from './client.ts'

export * from './index.ts'

/** A client of one broker, or of several. It connects when something is published or subscribed to. */
export function createClient(options: ClientOptions): Client {
  return new Client(browserPlatform, options, async () => (await import('./browser-asking.ts')).askingKit())
}
