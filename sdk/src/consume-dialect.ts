/** What a consumer's connection says by itself, in `tidings.binary.v1`. */
import type { Dialect } from './connection.ts'
import { encodeConsumeRequest } from './protocol/consume-frames.ts'
import { BINARY_SUBPROTOCOL } from './protocol/version.ts'

/** No acknowledgement has this number. */
const ALIVE = 0xffffffff

export const consumeDialect: Dialect = {
  subprotocol: BINARY_SUBPROTOCOL,
  // An acknowledgement of nothing.
  probe: () => encodeConsumeRequest({ type: 'ack', request: ALIVE, ranges: [] }),
  auth: (token) => encodeConsumeRequest({ type: 'auth', request: 0, token }),
  pause: () => encodeConsumeRequest({ type: 'pause', request: 0 }),
}
