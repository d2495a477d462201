/**
 * Names of the HTTP surface that both sides spell: request headers of a publish and the headers of a
 * message that travel under their own names.
 */

export const HEADER = {
  key: 'tidings-key',
  partition: 'tidings-partition',
  idempotencyKey: 'idempotency-key',
  delayMs: 'tidings-delay-ms',
  deliverAt: 'tidings-deliver-at',
  ttlMs: 'tidings-ttl-ms',
} as const

/** `Tidings-Header-<Name>: value` is kept as the message header `<name>`. */
export const MESSAGE_HEADER_PREFIX = 'tidings-header-'

/** Request headers that are kept with the message under their own names. */
export const KEPT_HEADERS: readonly string[] = ['traceparent', 'tracestate', 'baggage']
/** CloudEvents attributes in binary mode, kept likewise. */
export const CLOUDEVENTS_PREFIX = 'ce-'

/** What the broker adds to a dead letter: where it comes from, and why. */
export const DEAD_LETTER_HEADER = {
  originalTopic: 'tidings-original-topic',
  originalId: 'tidings-original-id',
  subscription: 'tidings-subscription',
  attempts: 'tidings-attempts',
  reason: 'tidings-reason',
  /** The topic or pattern of the subscription: others may have its name. Beyond the contract. */
  subscriptionTopic: 'tidings-subscription-topic',
} as const

/** On a redriven copy: the one subscription that gets it, as `<topic or pattern>/<name>`. The broker's own; clients may not set it. */
export const REDRIVEN_TO_HEADER = 'tidings-redriven-to'
/** Begins the broker's own idempotency keys; a client's may not, or it could pass for a dead letter that is there. */
export const BROKER_KEY_MARK = '\0'

/** On a request: where its answer is to go, and its number there. On an answer: the number, and the code where it is an error. */
export const REPLY_HEADER = {
  to: 'tidings-reply-to',
  correlation: 'tidings-correlation',
  error: 'tidings-reply-error',
} as const
/** A client's own topic of answers; the rest of the name is the client's. Answers go nowhere else. */
export const REPLY_TOPIC_PREFIX = 'tidings.replies.'

export const NDJSON_CONTENT_TYPE = 'application/x-ndjson'

export const EVENT_STREAM_CONTENT_TYPE = 'text/event-stream'
/** Sent by a browser that reconnects: the `id` of the last event that it got. */
export const LAST_EVENT_ID_HEADER = 'last-event-id'

/** The modes of CloudEvents over HTTP: one event as JSON, a list of them, and (in `Accept` alone) one as headers and body. */
export const CLOUDEVENT_CONTENT_TYPE = 'application/cloudevents+json'
export const CLOUDEVENT_BATCH_CONTENT_TYPE = 'application/cloudevents-batch+json'
export const CLOUDEVENT_BINARY_MODE = 'application/cloudevents'
