/**
 * Who is to hear of an AbortSignal, with one listener of ours on each signal: thousands of publishes may share one, and
 * Node takes more than ten listeners for a leak. Also what a user hands in as a signal or as a timeout, checked. Used
 * by whatever waits for a client.
 */
import { invalid } from './option-checks.ts'

export class Signals {
  readonly #heard = new Map<AbortSignal, { onAbort: () => void; callbacks: Set<() => void> }>()

  /** Calls back when it is aborted, once; answers how to stop that. */
  listen(signal: AbortSignal, callback: () => void): () => void {
    let heard = this.#heard.get(signal)
    if (!heard) {
      const callbacks = new Set<() => void>()
      const onAbort = (): void => {
        this.#heard.delete(signal)
        for (const one of callbacks) one()
      }
      heard = { onAbort, callbacks }
      this.#heard.set(signal, heard)
      signal.addEventListener('abort', onAbort, { once: true })
    }
    const { onAbort, callbacks } = heard
    callbacks.add(callback)
    return () => {
      if (!callbacks.delete(callback) || callbacks.size > 0 || !this.#heard.delete(signal)) return
      signal.removeEventListener('abort', onAbort)
    }
  }
}

/** Throws `invalid_argument` where one of them is not what it has to be. */
export function checkWait({ timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal }): void {
  if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs > 0)) {
    throw invalid('timeoutMs must be a number above 0')
  }
  if (signal && !(typeof signal.aborted === 'boolean' && typeof signal.addEventListener === 'function')) {
    throw invalid('signal must be an AbortSignal')
  }
}
