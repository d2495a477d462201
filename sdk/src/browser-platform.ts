/**
 * Browsers (and other runtimes with web APIs): WebSocket. It does not show why it was refused, and answers pings unseen;
 * the client's own probe (`connection.ts`) finds connections that are silent.
 */
import type { Surroundings } from './connector.ts'
import { systemClock, systemRandom } from './system-clock.ts'

/** Unlike timeouts of zero, messages are not slowed down in tabs that nobody looks at. */
function soon(run: () => void): void {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    port1.close()
    run()
  }
  port2.postMessage(null)
}

export const browserPlatform: Surroundings = {
  clock: systemClock(soon),
  random: systemRandom,
  connect(url, protocol, token, events) {
    const full = new URL(url)
    if (token !== undefined) full.searchParams.set('access_token', token)
    const socket = new WebSocket(full, protocol)
    socket.binaryType = 'arraybuffer'
    let hasOpened = false
    socket.onopen = () => {
      hasOpened = true
      events.opened()
    }
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) =>
      typeof data === 'string' ? events.text(data) : events.bytes(new Uint8Array(data))
    socket.onclose = ({ code, reason }) => {
      if (hasOpened) events.ended({ kind: 'closed', code, reason })
      else events.ended({ kind: 'lost', cause: new Error('the WebSocket did not open') })
    }
    return {
      send: (data) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(data as string | Uint8Array<ArrayBuffer>)
      },
      close: (code, reason) => socket.close(code, reason),
      terminate: () => socket.close(),
    }
  },
}
