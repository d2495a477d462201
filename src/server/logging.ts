/** The Logger port bound to pino: one JSON object a line on standard output, written off the hot path. */
import { pino } from 'pino'
import type { Logger } from '../base/telemetry.ts'

export function createLogger(level: 'debug' | 'info' | 'warn' | 'error' | 'silent'): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime })
}
