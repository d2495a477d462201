/** Every peer by its name on the command line. */
import { nats } from './nats.ts'
import type { Peer } from './peer.ts'
import { rabbitmq, rabbitmqStream } from './rabbitmq.ts'
import { redis } from './redis.ts'
import { tidings } from './tidings.ts'

export const PEERS = { tidings, redis, rabbitmq, nats, 'rabbitmq-stream': rabbitmqStream } satisfies Record<
  string,
  Peer
>

export type PeerName = keyof typeof PEERS
