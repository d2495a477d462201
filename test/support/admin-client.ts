/** The few calls of the admin surface that black-box tests need: JSON in and out, and the status as it came. */

export interface JsonAnswer {
  status: number
  contentType: string
  // The tests look into answers of many shapes; each names what it expects.
  // oxlint-disable-next-line typescript/no-explicit-any
  body: any
}

export async function call(method: string, url: string, body?: unknown, timeoutMs = 20_000): Promise<JsonAnswer> {
  const answer = await fetch(url, {
    method,
    signal: AbortSignal.timeout(timeoutMs),
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  const text = await answer.text()
  const contentType = answer.headers.get('content-type') ?? ''
  return { status: answer.status, contentType, body: contentType.includes('json') ? JSON.parse(text) : text }
}

/** Like `call`, and anything but a 2xx is an error. */
export async function callOk(method: string, url: string, body?: unknown): Promise<JsonAnswer['body']> {
  const answer = await call(method, url, body)
  if (answer.status >= 300) throw new Error(`${method} ${url}: ${answer.status} ${JSON.stringify(answer.body)}`)
  return answer.body
}

/** Asks again and again until `holds`, or throws with what it last saw. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  holds: (value: T) => boolean,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const value = await ask()
    if (holds(value)) return value
    if (performance.now() > deadline)
      throw new Error(`${what}: not within ${timeoutMs} ms; last seen: ${JSON.stringify(value)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
