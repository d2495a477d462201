/** The commands about subscriptions, described. The topic may be a pattern (`orders.*`) in all of them. */
import { DISPATCH_POLICIES, LIMITS, SUBSCRIPTION_TYPES } from '@tidings/sdk/protocol'
import type { Command, Run } from './command.ts'
import {
  type Argument,
  BROKER_FLAGS,
  choice,
  duration,
  type Flag,
  integer,
  position,
  SUBSCRIPTION,
  TOPIC_OR_PATTERN,
  text,
  toggle,
} from './flag.ts'

const load = async (name: 'create' | 'update' | 'list' | 'show' | 'remove'): Promise<Run> =>
  (await import('./subscription.ts'))[name]
const loadRepair = async (name: 'seek' | 'redrive' | 'explain' | 'parked'): Promise<Run> =>
  (await import('./subscription-repair.ts'))[name]

const NAMED: readonly Argument[] = [TOPIC_OR_PATTERN, SUBSCRIPTION]

const SETTINGS: readonly Flag[] = [
  duration('ack-deadline', 'a message comes again when it is not acknowledged for so long (30s)', {
    setting: 'ackDeadlineMs',
  }),
  integer('max-unacked', 'most messages that are out at once (10000)', {
    min: 1,
    max: LIMITS.maxUnacked,
    setting: 'maxUnacked',
  }),
  duration('backoff-min', 'wait before the second attempt (500ms)', { setting: 'backoff.minMs' }),
  duration('backoff-max', 'longest wait between two attempts (1m)', { setting: 'backoff.maxMs' }),
  text('dead-letter', 'TOPIC', 'where failed messages go; default: <topic>.<name>.dlq; none: tried for ever'),
  integer('max-deliveries', 'attempts before a message is given up on (5)', {
    min: 1,
    max: LIMITS.maxDeliveries,
    setting: 'deadLetter.maxDeliveries',
  }),
  toggle('park', 'stop the key of a failed message, and let other keys go on'),
  integer('max-parked', 'keys that may be parked at once (1000)', {
    min: 1,
    max: LIMITS.maxParked,
    setting: 'deadLetter.maxParked',
  }),
  text('filter', 'CEL', 'only messages for which this is true; none: all', { isNullable: true, setting: 'filter' }),
  choice('dispatch', DISPATCH_POLICIES, 'how consumers share', { setting: 'dispatch' }),
  duration('expire-after', 'deleted after so long without a consumer; none: never', {
    isNullable: true,
    setting: 'expireAfterMs',
  }),
]

const ADMINISTER: readonly Command[] = [
  {
    path: 'subscription create',
    summary: 'make a subscription, and its topic where that is missing',
    args: NAMED,
    flags: [
      choice('type', SUBSCRIPTION_TYPES, 'how its consumers work together (shared)', { setting: 'type' }),
      position('start', 'where it begins (latest)', { setting: 'start' }),
      ...SETTINGS,
      toggle('if-missing', 'leave one that is there as it is'),
      ...BROKER_FLAGS,
    ],
    examples: ['tidings subscription create orders billing --type key_shared --start earliest --dead-letter default'],
    load: () => load('create'),
  },
  {
    path: 'subscription update',
    summary: 'change settings of a subscription; what is not given stays',
    args: NAMED,
    flags: [...SETTINGS, ...BROKER_FLAGS],
    examples: [`tidings subscription update orders billing --ack-deadline 2m --filter 'value.total > 100'`],
    load: () => load('update'),
  },
  {
    path: 'subscription list',
    summary: 'list the subscriptions of a topic, with what they still have to do',
    args: [TOPIC_OR_PATTERN],
    flags: [toggle('names', 'only their names, one a line'), ...BROKER_FLAGS],
    examples: ['tidings subscription list orders'],
    load: () => load('list'),
  },
  {
    path: 'subscription show',
    summary: 'show the settings, cursors and consumers of a subscription',
    args: NAMED,
    flags: BROKER_FLAGS,
    examples: ['tidings subscription show orders billing'],
    load: () => load('show'),
  },
  {
    path: 'subscription delete',
    summary: 'delete a subscription; the messages stay',
    args: NAMED,
    flags: [toggle('yes', 'do not ask', { short: 'y' }), ...BROKER_FLAGS],
    examples: ['tidings subscription delete orders billing --yes'],
    load: () => load('remove'),
  },
]

const REPAIR: readonly Command[] = [
  {
    path: 'subscription seek',
    summary: 'move a subscription to another position',
    args: NAMED,
    flags: [
      position('to', 'earliest, latest, an RFC 3339 time, 10m (ago), or offsets such as 0:12,1:40'),
      ...BROKER_FLAGS,
    ],
    notes: 'Forgets what is out, and counts it as not delivered; consumers stay connected.',
    examples: ['tidings subscription seek orders billing --to 2h'],
    load: () => loadRepair('seek'),
  },
  {
    path: 'subscription redrive',
    summary: 'give the dead letters of a subscription another try',
    args: NAMED,
    flags: [
      integer('max', 'at most so many; the oldest first (all)', { min: 1 }),
      text('filter', 'CEL', 'only dead letters for which this is true'),
      toggle('dry-run', 'count them, and move nothing'),
      ...BROKER_FLAGS,
    ],
    examples: [`tidings subscription redrive orders billing --filter 'headers["tidings-reason"] == "deadline"'`],
    load: () => loadRepair('redrive'),
  },
  {
    path: 'subscription explain',
    summary: 'say why nothing is being delivered, or what became of one message',
    args: [...NAMED, { name: 'id', isOptional: true }],
    flags: BROKER_FLAGS,
    examples: ['tidings subscription explain orders billing', 'tidings subscription explain orders billing 0:12'],
    load: () => loadRepair('explain'),
  },
  {
    path: 'subscription parked',
    summary: 'list parked keys, or decide about one',
    args: [...NAMED, { name: 'key', isOptional: true }],
    flags: [
      choice('action', ['resume', 'skip', 'discard', 'replace'], 'what is to happen with the key'),
      text('value', 'JSON', 'with replace: the value to deliver instead'),
      integer('partition', 'of the key, where it is parked in several', { max: LIMITS.partitions - 1 }),
      text('in', 'TOPIC', 'of the key, where the subscription follows a pattern'),
      integer('limit', 'list at most so many (1000)', { min: 1, max: LIMITS.maxParked }),
      ...BROKER_FLAGS,
    ],
    notes: `resume: try the failed message again. skip: it goes to the dead letters. discard: it counts as acknowledged.
replace: another value is delivered in its place. In each case the messages behind it follow.`,
    examples: [
      'tidings subscription parked orders billing',
      'tidings subscription parked orders billing ada --action resume',
    ],
    load: () => loadRepair('parked'),
  },
]

export const SUBSCRIPTION_COMMANDS: readonly Command[] = [...ADMINISTER, ...REPAIR]
