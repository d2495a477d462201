/** Why a broker cannot run on a directory and a port, or its data not be read: a sentence. */
import { errorCode } from '../base/disk.ts'
import { StoreError } from '../cluster/sqlite-coordinator.ts'
import { CorruptionError, VersionError } from '../log/log-recovery.ts'

export function startProblem(error: unknown): string {
  const code = errorCode(error)
  if (error instanceof StoreError) return error.message
  if (error instanceof VersionError) return error.message
  if (error instanceof CorruptionError) {
    return `${error.message}; nothing was changed: see what is there with "tidings verify", restore that file from a backup`
  }
  if (code === 'EADDRINUSE') return `the port is in use by another process: ${(error as Error).message}`
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return `no permission: ${(error as Error).message}`
  if (code === 'ENOTDIR' || code === 'EEXIST') return `the data directory cannot be made: ${(error as Error).message}`
  return error instanceof Error ? error.message : String(error)
}
