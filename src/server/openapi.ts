/**
 * The API's description, kept by hand: schemas on the routes would be compiled into validators, and
 * those cost more than a publish may. A test holds it to the routes there are, one for one.
 */
import { ERRORS, type ErrorCode, PROBLEM_CONTENT_TYPE } from '@tidings/sdk/protocol'
import { type Operation, type Operations } from './openapi-operation.ts'
import { PARKING_OPERATIONS } from './openapi-parking.ts'
import { READING_OPERATIONS } from './openapi-reading.ts'
import { list, object, ref, SCHEMAS, type Schema } from './openapi-schemas.ts'
import { SUBSCRIPTION_OPERATIONS } from './openapi-subscriptions.ts'
import { TOPIC_OPERATIONS } from './openapi-topics.ts'

/** The broker itself, whatever its topics. */
const BROKER_OPERATIONS: Operations = {
  'GET /healthz': {
    summary: 'The process lives',
    tag: 'operate',
    answers: { 200: { description: 'Alive' } },
    errors: [],
  },
  'GET /readyz': {
    summary: 'The broker can serve',
    tag: 'operate',
    answers: { 200: { description: 'Ready' }, 503: { description: 'Not ready; `reason` says why' } },
    errors: [],
  },
  'GET /metrics': {
    summary: 'Metrics for Prometheus',
    tag: 'operate',
    answers: { 200: { description: 'The text exposition', type: 'text/plain' } },
    errors: [],
  },
  'GET /v1/cluster': {
    summary: 'Nodes, leaders, epochs',
    tag: 'operate',
    answers: {
      200: {
        description: 'The cluster',
        schema: object({ nodes: list({ type: 'object' }), partitions: list({ type: 'object' }) }),
      },
    },
    errors: [],
  },
  'GET /openapi.json': {
    summary: 'This document',
    tag: 'operate',
    answers: { 200: { description: 'OpenAPI 3.1' } },
    errors: [],
  },
  'GET /docs': {
    summary: 'This document, to read',
    tag: 'operate',
    answers: { 200: { description: 'A page', type: 'text/html' } },
    errors: [],
  },
}

const OPERATIONS: Operations = {
  ...TOPIC_OPERATIONS,
  ...SUBSCRIPTION_OPERATIONS,
  ...PARKING_OPERATIONS,
  ...READING_OPERATIONS,
  ...BROKER_OPERATIONS,
}

export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const [route, operation] of Object.entries(OPERATIONS)) {
    const [method, path] = route.split(' ') as [string, string]
    paths[path] ??= {}
    paths[path][method.toLowerCase()] = operationJson(path, operation)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Tidings',
      version,
      description:
        'A durable publish/subscribe broker. Every error body is application/problem+json with a stable `code`. Requests of browser pages that change something are refused unless their Origin is among --allowed-origins.',
    },
    paths,
    components: { schemas: SCHEMAS },
  }
}

function operationJson(path: string, operation: Operation): object {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: name === 'partition' ? 'integer' : 'string' },
  }))
  const { summary, tag, description, body } = operation
  return {
    summary,
    tags: [tag],
    ...(description === undefined ? {} : { description }),
    parameters: [...inPath, ...(operation.parameters ?? [])],
    ...(body === undefined ? {} : { requestBody: { content: contentOf(body) } }),
    responses: { ...answersJson(operation), ...errorsJson(operation.errors) },
  }
}

function contentOf(schemas: Record<string, Schema>): object {
  return Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }]))
}

function answersJson({ answers }: Operation): Record<string, object> {
  const responses: Record<string, object> = {}
  for (const [status, answer] of Object.entries(answers)) {
    if (answer === null) responses[status] = { description: 'Done' }
    else {
      const { description, type = 'application/json', schema, others = {} } = answer
      const content = contentOf({ [type]: schema ?? {}, ...others })
      responses[status] = schema || type !== 'application/json' ? { description, content } : { description }
    }
  }
  return responses
}

/** One response a status: several codes may share it. */
function errorsJson(codes: readonly ErrorCode[]): Record<string, object> {
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of codes) {
    const { status } = ERRORS[code]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  const responses: Record<string, object> = {}
  for (const [status, names] of byStatus) {
    responses[status] = {
      description: names.map((name) => `\`${name}\``).join(', '),
      content: { [PROBLEM_CONTENT_TYPE]: { schema: ref('Problem') } },
    }
  }
  return responses
}
