/**
 * Publishes a file, a message a line: in order, as fast as receipts come and no faster, with nothing hidden. A line that is
 * at fault is named and passed over; any other failure ends the run, and the line to go on with is named.
 */
import type { Client, PublishOptions, PublishReceipt } from '@tidings/sdk'
import { type ErrorCode, LIMITS, TidingsError } from '@tidings/sdk/protocol'
import type { Clock } from '../base/clock.ts'
import { countText, durationText, rateText } from './amount.ts'
import type { Call } from './call.ts'
import { EXIT } from './command.ts'
import { type NumberedLine, numberedLines } from './numbered-lines.ts'
import { progressLine } from './progress-bar.ts'
import { type Outgoing, readMessageLine, readValue } from './publish-line.ts'
import type { Terminal } from './terminal.ts'

export interface PublishFileParts {
  client: Client
  call: Call
  terminal: Terminal
  clock: Clock
  /** Of all its messages; a line may say otherwise. */
  options: PublishOptions
  kind: 'ndjson' | 'lines'
}

interface Refusal {
  line: number
  code: ErrorCode
  detail: string
}

/** What one message can be guilty of. Anything else would meet the next one, too. */
const ITS_OWN: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'invalid_argument',
  'message_too_large',
  'schema_violation',
  'partition_not_found',
])
/** Messages under way at once, and their bytes. */
const WINDOW_COUNT = 10_000
const WINDOW_BYTES = 32 * 1_048_576
/** A value in base64, and what stands around it. */
const LINE_BYTES = 2 * LIMITS.messageBytesCeiling
/** Refusals in the JSON summary; each is named on standard error in any case. */
const SUMMARY_COUNT = 1000
const STATUS_MS = 100
/** For receipts that are still to come when it is interrupted. */
const GIVE_UP_MS = 5000

export class PublishFile {
  readonly #parts: PublishFileParts
  readonly #ended: AbortSignal
  readonly #startedAt: number
  #lines = 0
  #through = 0
  #published = 0
  #duplicates = 0
  #scheduled = 0
  #refusedCount = 0
  #unknownCount = 0
  readonly #refusals: Refusal[] = []
  /** The first line of which it is not certain that it is stored, without those that were refused for their own faults. */
  #firstOpen = Number.POSITIVE_INFINITY
  #stoppedBy: TidingsError | null = null
  #flyingCount = 0
  #flyingBytes = 0
  #onLanding: (() => void) | null = null

  constructor(parts: PublishFileParts) {
    this.#parts = parts
    this.#ended = parts.terminal.ended()
    this.#startedAt = parts.clock.monotonic()
  }

  /** The exit code: 0 only when every line was published. */
  async run({ chunks, bytes }: { chunks: AsyncIterable<Uint8Array>; bytes: number | null }): Promise<number> {
    const first = this.#parts.call.number('from-line') ?? 1
    const status = this.#showStatus(bytes)
    this.#ended.addEventListener('abort', () => this.#giveUpSoon(), { once: true })
    for await (const line of numberedLines(untilAborted(chunks, this.#ended), LINE_BYTES)) {
      await this.#until(() => this.#flyingCount < WINDOW_COUNT && this.#flyingBytes < WINDOW_BYTES)
      if (this.#isOver) break
      this.#lines = line.number
      this.#through = line.through
      if (line.number >= first && line.bytes?.length !== 0) this.#publish(line)
    }
    await this.#until(() => this.#flyingCount === 0)
    status.end()
    await this.#report()
    return this.#isOver || this.#refusedCount > 0 ? EXIT.failed : EXIT.done
  }

  get #isOver(): boolean {
    return this.#ended.aborted || this.#stoppedBy !== null
  }

  /** Who interrupts it does not want to wait as long as a broker may be away. */
  #giveUpSoon(): void {
    const { clock, client } = this.#parts
    clock.after(GIVE_UP_MS, () => void client.close({ timeoutMs: 0 }))
  }

  #publish(line: NumberedLine): void {
    let outgoing: Outgoing
    try {
      outgoing = this.#read(line)
    } catch (error) {
      return this.#failed(line.number, TidingsError.from(error))
    }
    const { client, call, options } = this.#parts
    const { idempotencyKey: prefix, contentType: _, ...shared } = options
    const key = prefix === undefined ? {} : { idempotencyKey: `${prefix}:${line.number}` }
    const size = outgoing.value.length
    this.#flyingCount += 1
    this.#flyingBytes += size
    client
      .topic(call.arg('topic'))
      .publish(outgoing.value, { ...shared, ...key, ...outgoing.options })
      .then(
        (receipt) => this.#stored(receipt),
        (error: unknown) => this.#failed(line.number, TidingsError.from(error)),
      )
      .finally(() => {
        this.#flyingCount -= 1
        this.#flyingBytes -= size
        this.#onLanding?.()
      })
  }

  #read({ bytes }: NumberedLine): Outgoing {
    if (bytes === null) throw new TidingsError('message_too_large', `the line has more than ${LINE_BYTES} bytes`)
    const { kind, options } = this.#parts
    if (kind === 'lines') return readValue(bytes, options.contentType)
    let text: string
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    } catch {
      throw new TidingsError('invalid_argument', 'the line is not UTF-8')
    }
    return readMessageLine(text)
  }

  #stored({ duplicate, scheduled }: PublishReceipt): void {
    this.#published += 1
    if (duplicate) this.#duplicates += 1
    if (scheduled) this.#scheduled += 1
  }

  #failed(line: number, error: TidingsError): void {
    const { call, terminal } = this.#parts
    if (ITS_OWN.has(error.code)) {
      this.#refusedCount += 1
      if (this.#refusals.length < SUMMARY_COUNT) this.#refusals.push({ line, code: error.code, detail: error.message })
      terminal.note(`line ${line}: ${error.message}\n`)
      if (call.isOn('fail-fast')) this.#stoppedBy ??= new TidingsError(error.code, `line ${line} was refused`)
      return
    }
    const outcome = (error as { outcome?: unknown }).outcome
    if (outcome === 'unknown') this.#unknownCount += 1
    this.#firstOpen = Math.min(this.#firstOpen, line)
    this.#stoppedBy ??= error
  }

  /** Also when it is over: what flies has its deadline, and its outcome is to be told. */
  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        this.#onLanding = resolve
      })
    }
    this.#onLanding = null
  }

  #showStatus(bytes: number | null): { end(): void } {
    const { terminal, clock } = this.#parts
    let timer = clock.after(STATUS_MS, () => show())
    const show = (): void => {
      const fraction = bytes === null || bytes === 0 ? null : this.#through / bytes
      const elapsedMs = clock.monotonic() - this.#startedAt
      terminal.status(progressLine({ fraction, count: this.#published, elapsedMs }))
      timer = clock.after(STATUS_MS, show)
    }
    return {
      end: () => {
        timer.cancel()
        terminal.status('')
      },
    }
  }

  async #report(): Promise<void> {
    const { call, terminal, clock } = this.#parts
    const elapsedMs = Math.round(clock.monotonic() - this.#startedAt)
    const nextLine = this.#isOver ? Math.min(this.#firstOpen, this.#lines + 1) : null
    if (this.#ended.aborted) terminal.note('interrupted\n')
    else if (this.#stoppedBy) terminal.note(`stopped: ${this.#stoppedBy.message}\n`)
    if (nextLine !== null) terminal.note(this.#whereToGoOn(nextLine))
    const topic = call.arg('topic')
    const refusedCount = this.#refusedCount
    const counts = {
      topic,
      lines: this.#lines,
      published: this.#published,
      duplicates: this.#duplicates,
      scheduled: this.#scheduled,
      refusedCount,
      refused: this.#refusals,
      unknown: this.#unknownCount,
      nextLine,
      elapsedMs,
    }
    if (call.isOn('json')) return void (await terminal.print(`${JSON.stringify(counts)}\n`))
    const rate = rateText((this.#published * 1000) / Math.max(1, elapsedMs))
    const parts = [
      `${topic}: ${countText(this.#published)} of ${countText(this.#lines)} lines published in ${durationText(elapsedMs)} (${rate}/s)`,
      ...(this.#duplicates > 0 ? [`${countText(this.#duplicates)} were there already`] : []),
      ...(refusedCount > 0 ? [`${countText(refusedCount)} refused`] : []),
      ...(this.#unknownCount > 0 ? [`of ${countText(this.#unknownCount)} it is not known`] : []),
    ]
    await terminal.print(`${parts.join(', ')}\n`)
  }

  #whereToGoOn(nextLine: number): string {
    const doubt =
      this.#unknownCount > 0
        ? '; some from there on may be stored: with --idempotency-key they are not stored again'
        : ''
    return `every line before ${nextLine} is stored or was named: go on with --from-line ${nextLine}${doubt}\n`
  }
}

/** What comes until the signal: a read that is under way is not waited for. */
async function* untilAborted(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]()
  const aborted = new Promise<null>((resolve) => {
    if (signal.aborted) resolve(null)
    signal.addEventListener('abort', () => resolve(null), { once: true })
  })
  for (;;) {
    const next = await Promise.race([iterator.next(), aborted])
    if (next === null || next.done === true) return
    yield next.value
  }
}
