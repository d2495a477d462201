/**
 * One operation of the API's description, and the small pieces that all of them are written with. Pure:
 * the tables of openapi-*.ts hold the operations, openapi.ts makes the document.
 */
import type { ErrorCode } from '@tidings/sdk/protocol'
import type { Schema } from './openapi-schemas.ts'

export interface Operation {
  summary: string
  tag: string
  description?: string
  parameters?: Schema[]
  body?: Record<string, Schema>
  /** By status; null: no body. */
  answers: Record<number, Answered | null>
  errors: ErrorCode[]
}

export interface Answered {
  description: string
  /** Content type; `application/json` unless it is said. */
  type?: string
  schema?: Schema
  /** Other content types that `Accept` may ask for. */
  others?: Record<string, Schema>
}

/** By method and path: `GET /v1/topics`. */
export type Operations = Readonly<Record<string, Operation>>

export const TOPIC = '/v1/topics/{topic}'
export const SUBSCRIPTION = `${TOPIC}/subscriptions/{name}`
export const PARTITION = `${TOPIC}/partitions/{partition}`

export const json = (schema: Schema): Record<string, Schema> => ({ 'application/json': schema })
export const ok = (description: string, schema: Schema): { description: string; schema: Schema } => ({
  description,
  schema,
})
/** Names are written as people write them, `Tidings-Key`; HTTP does not care. */
export const header = (name: string, description: string, schema: Schema = { type: 'string' }): Schema => ({
  name: name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase()),
  in: 'header',
  description,
  schema,
})
export const query = (name: string, description: string, schema: Schema = { type: 'string' }): Schema => ({
  name,
  in: 'query',
  description,
  schema,
})

/** What may be wrong with any JSON body. */
export const WITH_BODY: ErrorCode[] = ['message_too_large', 'unsupported_media_type']
