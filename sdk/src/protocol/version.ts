/**
 * The protocol's number and the names of its WebSocket subprotocols.
 *
 * History
 *   1  first public version: HTTP publish, JSON subscriptions
 */
export const PROTOCOL_VERSION = 1
/** The oldest version that this code still speaks. */
export const OLDEST_PROTOCOL_VERSION = 1

/** One JSON object a text frame; what a client gets that asks for nothing. */
export const JSON_SUBPROTOCOL = 'tidings.json.v1'
/** Batches of records with no JSON on the way: what the SDK speaks. PROTOCOL.md describes it. */
export const BINARY_SUBPROTOCOL = 'tidings.binary.v1'
