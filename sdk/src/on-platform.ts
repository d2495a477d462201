/**
 * The package's entry for those who bring their own surroundings, such as a broker inside a test's process: the
 * client as everywhere, over a Platform that is handed in.
 */
import { Asking } from './asking.ts'
import { Client, type ClientOptions } from './client.ts'
import type { Platform } from './platform.ts'
import { verdictOfRefusal } from './upgrade-refusal.ts'

export type { Client, ClientOptions } from './client.ts'
export type {
  Clock,
  Http,
  HttpOutcome,
  HttpRequest,
  Platform,
  Random,
  Socket,
  SocketEnd,
  SocketEvents,
} from './platform.ts'

/** As `createClient`, with time, chance, HTTP and WebSockets of the caller's. */
export function createClientOn(platform: Platform, options: ClientOptions): Client {
  return new Client(platform, options, () => ({ Asking, http: platform.http() }), verdictOfRefusal)
}
