/**
 * A consumer for measuring: acknowledges what one read of the socket brought in one frame, asks for the last
 * acknowledgement to be confirmed, and tells the caller of each message.
 */
import { once } from 'node:events'
import WebSocket from 'ws'

export interface BenchConsumer {
  url: string
  topic: string
  subscription: string
  prefetch: number
  onMessage: (value: { at: number }) => void
  onConfirmed: (count: number) => void
}

export async function benchConsumer(options: BenchConsumer): Promise<WebSocket> {
  const { url, topic, subscription, prefetch, onMessage, onConfirmed } = options
  const path = `v1/topics/${topic}/subscriptions/${subscription}/stream?prefetch=${prefetch}`
  const socket = new WebSocket(`${url}/${path}`, { perMessageDeflate: false })
  let ids: string[] = []
  const flush = (): void => {
    socket.send(JSON.stringify({ type: 'ack', ids, request: ids.length }))
    ids = []
  }
  socket.on('message', (data) => {
    const frame = JSON.parse((data as Buffer).toString()) as {
      type: string
      id: string
      value: { at: number }
      request: number
    }
    if (frame.type === 'acked') onConfirmed(frame.request)
    if (frame.type !== 'message') return
    onMessage(frame.value)
    if (ids.push(frame.id) === 1) setImmediate(flush)
  })
  await once(socket, 'open')
  return socket
}
