/**
 * A topic whose values a schema describes: what publishers may give and what subscribers get is inferred from it, and
 * every value is checked at both ends. What travels is the schema's *input*; subscribers get its *output*, so that
 * transformations and defaults are applied once, by who reads. Any validator of the Standard Schema will do.
 *
 * client.ts hands its plain parts of a topic to `bind`, which puts the checks around them.
 */
import type { StandardJSONSchemaV1, StandardSchemaV1 } from '@standard-schema/spec'
import { weakened } from './derived-schema.ts'
import type { Message } from './message.ts'
import { checkKnown } from './option-checks.ts'
import { TidingsError } from './protocol/errors.ts'
import { valueKind } from './protocol/message.ts'
import type { JsonSchema, SchemaCompatibility } from './protocol/subscription.ts'
import type { PublishOptions } from './publish-entry.ts'
import { isPromise, PublishGate } from './publish-gate.ts'
import { Registration } from './schema-registration.ts'
import { type SchemaViolation, violationOf } from './schema-violation.ts'
import type { SubscribeOptions } from './subscribe-options.ts'
import type { Inspector } from './subscription.ts'
import { hasDeadLetters } from './subscription-state.ts'
import type { TopicParts, TopicSurroundings } from './topic-parts.ts'

/** A topic with its schema, as `defineTopic` makes it; `client.topic(definition)` takes it. */
export interface TopicDefinition<In, Out, AnswerIn = unknown, AnswerOut = unknown> {
  /** The topic's name, or a pattern. */
  readonly name: string
  /** What checks its values. */
  readonly schema: StandardSchemaV1<In, Out>
  /** Of the answers to requests. */
  readonly answer: StandardSchemaV1<AnswerIn, AnswerOut> | undefined
  /** What the broker is given to check by; null where the validator offers none. */
  readonly jsonSchema: JsonSchema | null
  /**
   * For the client.
   * @internal
   */
  bind(plain: TopicParts, surroundings: TopicSurroundings): TopicParts
}

/** What `defineTopic` is told. */
export interface DefineOptions<S extends StandardSchemaV1, A extends StandardSchemaV1> {
  /** A pattern (`orders.*`) can be subscribed to and not published to. */
  name: string
  /** Any validator of the Standard Schema: zod, valibot, arktype and others. */
  schema: S
  /** What `reply` gives back and `request` resolves with. */
  answer?: A
  /**
   * The JSON Schema to register, or what makes it of the schema. Default: what the validator gives by itself, made fit
   * for the broker; false: none.
   */
  jsonSchema?: JsonSchema | ((schema: S) => JsonSchema) | false
  /** Whether the JSON Schema is registered before the first publish (the default), or only by `topic.register()`. */
  register?: boolean
  /** Set together with the schema: see docs/SCHEMAS.md. Default: as the topic has it. */
  schemaCompatibility?: SchemaCompatibility
}

const KNOWN: Readonly<Record<keyof DefineOptions<never, never>, 1>> = {
  name: 1,
  schema: 1,
  answer: 1,
  jsonSchema: 1,
  register: 1,
  schemaCompatibility: 1,
}

/** Throws `invalid_argument` for what it cannot use, and what `jsonSchema` throws, if it is a function. */
export function defineTopic<
  S extends StandardSchemaV1,
  A extends StandardSchemaV1 = StandardSchemaV1<unknown, unknown>,
>(
  options: DefineOptions<S, A>,
): TopicDefinition<
  StandardSchemaV1.InferInput<S>,
  StandardSchemaV1.InferOutput<S>,
  StandardSchemaV1.InferInput<A>,
  StandardSchemaV1.InferOutput<A>
> {
  checkKnown('defineTopic', options, KNOWN)
  const { name, schema, answer, register = true, schemaCompatibility } = options
  if (typeof name !== 'string') throw invalid('name must be a string')
  checkValidator('schema', schema)
  if (answer !== undefined) checkValidator('answer', answer)
  const jsonSchema = jsonSchemaOf(options)
  const definition: TopicDefinition<unknown, unknown> = {
    name,
    schema,
    answer,
    jsonSchema,
    bind(plain, surroundings) {
      const { ask, timeoutMs, busyGates } = surroundings
      const registration = new Registration(surroundings, name, jsonSchema, schemaCompatibility)
      const gate = new PublishGate(surroundings, timeoutMs, busyGates)
      const parts: TopicParts = {
        ...plain,
        async publish(value, publishOptions, isTry) {
          const wire = wireValue(value, publishOptions)
          const isReady = register ? registration.ready() : true
          const ready = isReady === true ? admitted(schema, wire) : isReady.then(() => admitted(schema, wire))
          return gate.pass(ready, publishOptions, (checked, left) => plain.publish(checked, left, isTry))
        },
        subscribe: (subscription, subscribeOptions, handler) =>
          plain.subscribe(
            subscription,
            subscribeOptions,
            handler,
            inspector(schema, subscribeOptions, () => hasDeadLetters(ask, name, subscription)),
          ),
        register: () => registration.now(),
      }
      if (answer) {
        parts.checks = {
          sent: async (value) => admitted(answer, wireValue(value, {})),
          received: (value) => output(answer, value),
        }
      }
      return parts
    },
  }
  return definition as TopicDefinition<never, never>
}

function checkValidator(what: string, schema: Partial<StandardSchemaV1> | null): void {
  if (typeof schema?.['~standard']?.validate === 'function') return
  throw invalid(`${what} must be a validator of the Standard Schema, as of zod, valibot or arktype`)
}

function invalid(detail: string): TidingsError {
  return new TidingsError('invalid_argument', `defineTopic: ${detail}`)
}

function jsonSchemaOf<S extends StandardSchemaV1>({
  schema,
  jsonSchema,
}: Pick<DefineOptions<S, never>, 'schema' | 'jsonSchema'>): JsonSchema | null {
  if (jsonSchema === false) return null
  if (typeof jsonSchema === 'function') return jsonSchema(schema)
  if (typeof jsonSchema === 'object' && jsonSchema !== null) return jsonSchema
  if (jsonSchema !== undefined) throw invalid('jsonSchema must be a JSON Schema, a function that makes it, or false')
  const { jsonSchema: converter } = schema['~standard'] as Partial<StandardJSONSchemaV1.Props>
  try {
    return converter ? weakened(converter.input({ target: 'draft-2020-12' })) : null
  } catch {
    // Not everything that can be validated can be written as a JSON Schema.
    return null
  }
}

/** What will be read back: a Date is a text, what is undefined is not there. So it is checked as its readers will see it. */
function wireValue(value: unknown, { contentType }: PublishOptions): unknown {
  if (value instanceof Uint8Array || (contentType !== undefined && valueKind(contentType) !== 'json')) return value
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new TidingsError('invalid_argument', 'the value cannot be written as JSON', { cause })
  }
  return text === undefined ? value : JSON.parse(text)
}

/** The value itself, or a promise of it where the validator is asynchronous. Throws, or rejects with, a SchemaViolation. */
function admitted(schema: StandardSchemaV1, value: unknown): unknown {
  const judge = ({ issues }: StandardSchemaV1.Result<unknown>): unknown => {
    if (issues) throw violationOf(issues)
    return value
  }
  try {
    const result = schema['~standard'].validate(value)
    return isPromise(result) ? result.then(judge).then(undefined, failed) : judge(result)
  } catch (error) {
    return failed(error)
  }
}

/** A validator of the user's may throw anything; who publishes gets errors of one kind. */
function failed(cause: unknown): never {
  if (TidingsError.is(cause)) throw cause
  throw new TidingsError('invalid_argument', 'the validator of the topic failed: nothing was sent', { cause })
}

async function output(schema: StandardSchemaV1, value: unknown): Promise<unknown> {
  const result = await schema['~standard'].validate(value)
  if (result.issues) throw violationOf(result.issues)
  return result.value
}

function inspector(
  schema: StandardSchemaV1,
  { onInvalid, onFailure }: SubscribeOptions,
  hasDeadLetters: () => Promise<boolean>,
): Inspector {
  const refuse = async (message: Message<unknown>, violation: SchemaViolation): Promise<false> => {
    const verdict =
      (typeof onInvalid === 'function' ? onInvalid(violation, message) : onInvalid) ??
      ((await hasDeadLetters()) ? 'reject' : 'nack')
    const reason = `${violation.code}: ${violation.message}`
    // Nobody waits for the answers to these: that would hold up whatever comes behind.
    if (verdict === 'reject') void message.reject(reason)
    else if (verdict === 'ack') void message.ack()
    else message.nack({ reason })
    onFailure?.(violation, message)
    return false
  }
  const judge = (message: Message<unknown>, result: StandardSchemaV1.Result<unknown>): boolean | Promise<false> => {
    if (result.issues) return refuse(message, violationOf(result.issues))
    message.adopt(result.value)
    return true
  }
  return (message) => {
    const result = schema['~standard'].validate(message.value)
    return isPromise(result) ? result.then((settled) => judge(message, settled)) : judge(message, result)
  }
}
