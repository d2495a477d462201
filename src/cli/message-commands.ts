/** The commands that carry messages, described. */
import { HEADER, LIMITS, SUBSCRIPTION_TYPES } from '@tidings/sdk/protocol'
import type { Command } from './command.ts'
import {
  BROKER_FLAGS,
  bytes,
  choice,
  duration,
  integer,
  list,
  position,
  SUBSCRIPTION,
  TOPIC,
  TOPIC_OR_PATTERN,
  text,
  toggle,
} from './flag.ts'

export const MESSAGE_COMMANDS: readonly Command[] = [
  {
    path: 'publish',
    summary: 'publish a message, or a file of them',
    args: [TOPIC, { name: 'value', isOptional: true }],
    flags: [
      text('key', 'KEY', 'messages of one key stay in order', { short: 'k' }),
      list('header', 'NAME=TEXT', 'a header', { short: 'H' }),
      text('content-type', 'TYPE', 'of the value (JSON, text or bytes, as it looks)'),
      integer('partition', 'of the topic', { max: LIMITS.partitions - 1 }),
      duration('ttl', 'not delivered after so long', { min: 1 }),
      duration('delay', 'delivered so much later', { max: LIMITS.scheduleAheadMs }),
      text('at', 'TIME', 'delivered then (RFC 3339)'),
      text(
        HEADER.idempotencyKey,
        'KEY',
        'a repetition with it is not stored again; with files: what its keys begin with',
      ),
      text('file', 'FILE', 'one message: all of the file; - is standard input'),
      text('ndjson', 'FILE', 'a message a line, as {"key","value",…}; - is standard input'),
      text('lines', 'FILE', 'a value a line; - is standard input'),
      integer('from-line', 'begin with this line of the file', { min: 1 }),
      toggle('fail-fast', 'stop at the first line that is refused'),
      duration('timeout', 'longest wait for the receipt of a message (30s; 2m with files)', { min: 1 }),
      ...BROKER_FLAGS,
    ],
    notes: `Without a value, standard input is the message. Lines that cannot be published are named with their numbers, and the others
are published. Nothing is stored twice while it runs, whatever happens to the connection or the broker.`,
    examples: [`tidings publish orders '{"total":120}' --key ada`, 'tidings publish orders --ndjson orders.ndjson'],
    load: async () => (await import('./publish.ts')).publish,
  },
  {
    path: 'subscribe',
    summary: 'print messages as they come',
    args: [TOPIC_OR_PATTERN, { ...SUBSCRIPTION, isOptional: true }],
    flags: [
      toggle('ack', 'acknowledge what was printed'),
      choice('type', SUBSCRIPTION_TYPES, 'for a subscription that is made now (shared)'),
      position('start', 'likewise: where it begins (latest)'),
      text('filter', 'CEL', 'likewise: only messages for which this is true'),
      integer('max', 'end after so many messages', { min: 1, short: 'n' }),
      duration('idle', 'end when nothing came for so long', { min: 1 }),
      integer('prefetch', 'most messages that lie here', { min: 1, max: LIMITS.prefetch }),
      text('consumer', 'NAME', 'a name for the states and logs of the broker'),
      ...BROKER_FLAGS,
    ],
    notes: `Without a name it only looks on: with a subscription of its own, which it deletes at the end. With a name it is a consumer
of that subscription, which is made where it is missing; without --ack everything is handed back at the end, and not
counted as an attempt. Ctrl-C ends it in order.`,
    examples: [
      `tidings subscribe orders --start 10m --filter 'value.total > 100'`,
      'tidings subscribe orders billing --ack --json',
    ],
    load: async () => (await import('./subscribe.ts')).subscribe,
  },
  {
    path: 'bench',
    summary: 'measure a running broker: publish and consume on a topic of its own',
    args: [],
    flags: [
      integer('messages', 'how many (20000)', { min: 1, max: 1_000_000 }),
      bytes('size', 'of each value (256)', { min: 32, max: LIMITS.messageBytes }),
      integer('in-flight', 'publishes that wait for their receipts at once (256)', { min: 1, max: 100_000 }),
      integer('rate', 'publish so many a second, instead of as fast as receipts come', { min: 1, max: 1_000_000 }),
      integer('partitions', 'of the topic (1)', { min: 1, max: LIMITS.partitions }),
      choice('durability', ['fsync', 'buffered'], 'of the topic (fsync)'),
      ...BROKER_FLAGS,
    ],
    notes: `Publisher and consumer share this process, so it shows what one client gets, not what the broker can do. With --rate times
count from when a message was due, so that waiting is not left out. The topic is deleted at the end.`,
    examples: ['tidings bench --rate 2000 --messages 20000'],
    load: async () => (await import('./bench.ts')).bench,
  },
  {
    path: 'top',
    summary: 'watch topics and subscriptions: rates and backlog',
    args: [],
    flags: [
      duration('interval', 'between two looks (2s)', { min: 100 }),
      toggle('once', 'one table, and the end'),
      text('topic', 'PATTERN', 'only topics that match, such as orders.*'),
      ...BROKER_FLAGS,
    ],
    notes:
      'Rates are what changed between two looks. Where standard output is no terminal, a table comes every interval.',
    examples: ['tidings top', 'tidings top --once --json'],
    load: async () => (await import('./top.ts')).top,
  },
]
