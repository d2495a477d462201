/** The Logger port bound to pino: one JSON object a line on standard output, written off the hot path. */
import type * as Pino from 'pino'
import { required } from '../base/on-demand.ts'
import type { Logger } from '../base/telemetry.ts'

const { pino } = required<typeof Pino>('pino')

export function createLogger(level: 'debug' | 'info' | 'warn' | 'error' | 'silent'): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime })
}
