/** What a connection says by itself on the JSON protocol. */
import type { Dialect } from './connection.ts'
import { JSON_SUBPROTOCOL } from './protocol/version.ts'

export const jsonDialect: Dialect = {
  subprotocol: JSON_SUBPROTOCOL,
  // An acknowledgement of nothing.
  probe: () => '{"type":"ack","ids":[],"request":"alive"}',
  auth: (token) => JSON.stringify({ type: 'auth', token }),
  pause: () => '{"type":"pause"}',
}
