/** A reader of server-sent events for tests, with a parser of its own written from the WHATWG page. */
import { type ClientRequest, type IncomingMessage, request } from 'node:http'

export interface ServerEvent {
  event: string
  data: string
  /** The last id at the time of the event. */
  id: string
}

/** Cuts a stream's text into events: blocks without data only move `lastId`. */
export class EventParser {
  lastId = ''
  retry: number | undefined
  comments = 0
  #rest = ''
  #event = ''
  #data: string[] = []

  /** The events that this text completes. */
  feed(text: string): ServerEvent[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r/)
    this.#rest = lines.pop()!
    return lines.flatMap((line) => this.#line(line))
  }

  #line(line: string): ServerEvent[] {
    if (line === '') return this.#dispatch()
    if (line.startsWith(':')) this.comments++
    const colon = line.indexOf(':')
    const name = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (name === 'event') this.#event = value
    else if (name === 'data') this.#data.push(value)
    else if (name === 'id') this.lastId = value
    else if (name === 'retry') this.retry = Number(value)
    return []
  }

  #dispatch(): ServerEvent[] {
    const event = { event: this.#event || 'message', data: this.#data.join('\n'), id: this.lastId }
    const hasData = this.#data.length > 0
    this.#event = ''
    this.#data = []
    return hasData ? [event] : []
  }
}

export class EventClient {
  readonly response: IncomingMessage
  readonly parser = new EventParser()
  /** The id of the last event that was taken: where a reader that ends here goes on. */
  takenId = ''
  /** Everything that came, as text. */
  text = ''
  /** `end`: in good order; `cut`: the connection broke. */
  readonly ended: Promise<'end' | 'cut'>
  readonly #request: ClientRequest
  readonly #events: ServerEvent[] = []
  #changed: () => void = () => undefined

  private constructor(request: ClientRequest, response: IncomingMessage) {
    this.#request = request
    this.response = response
    response.setEncoding('utf8').on('data', (text: string) => {
      this.text += text
      this.#events.push(...this.parser.feed(text))
      this.#changed()
    })
    response.on('error', () => undefined)
    this.ended = new Promise((resolve) => response.once('close', () => resolve(response.complete ? 'end' : 'cut')))
  }

  static open(url: string, topic: string, query = '', headers: Record<string, string> = {}): Promise<EventClient> {
    return new Promise((resolve, reject) => {
      const sent = request(`${url}/v1/topics/${topic}/events${query}`, { headers, agent: false })
      sent.on('error', reject).on('response', (response) => resolve(new EventClient(sent, response)))
      sent.end()
    })
  }

  get lastId(): string {
    return this.parser.lastId
  }

  /** Resolves when `is` holds, which is looked at after all that comes. */
  async until(is: () => boolean): Promise<void> {
    while (!is()) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  async take(count: number): Promise<ServerEvent[]> {
    await this.until(() => this.#events.length >= count)
    const events = this.#events.splice(0, count)
    this.takenId = events.at(-1)?.id ?? this.takenId
    return events
  }

  async next(): Promise<ServerEvent> {
    return (await this.take(1))[0]!
  }

  /** The messages of the next events, which must be messages. */
  async messages(count: number): Promise<Record<string, unknown>[]> {
    const events = await this.take(count)
    const other = events.find(({ event }) => event !== 'message')
    if (other) throw new Error(`an event ${other.event} came: ${other.data}`)
    return events.map(({ data }) => JSON.parse(data) as Record<string, unknown>)
  }

  /** Events that came and nobody took. */
  get left(): number {
    return this.#events.length
  }

  close(): void {
    this.#request.destroy()
  }
}
