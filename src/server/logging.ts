/** The Logger port bound to pino: one JSON object a line on standard output, written off the hot path. */
import { pino } from 'pino'
import type { Logger } from '../base/telemetry.ts'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

export function createLogger(level: LogLevel): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime })
}
