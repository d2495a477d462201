/** A logger that keeps what was logged, for tests of what an operator is told. */
import type { Logger } from '../../src/base/telemetry.ts'

export class NotingLogger implements Logger {
  readonly lines: string[] = []

  debug(_: object, message: string): void {
    this.lines.push(`debug ${message}`)
  }

  info(_: object, message: string): void {
    this.lines.push(`info ${message}`)
  }

  warn(_: object, message: string): void {
    this.lines.push(`warn ${message}`)
  }

  error(_: object, message: string): void {
    this.lines.push(`error ${message}`)
  }

  count(pattern: RegExp): number {
    return this.lines.filter((line) => pattern.test(line)).length
  }
}
