/**
 * Programs that a test runs beside the broker, as a Debian machine has them: found, or else installed
 * from Debian's archive where the test may do that.
 */
import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Servers are not on everybody's PATH. */
const MORE_PLACES = ['/usr/local/sbin', '/usr/sbin', '/sbin']
const INSTALL_TIMEOUT_MS = 180_000

/** Where the program is; throws when it is not there and cannot be installed. */
export async function ensureProgram(name: string, debianPackage = name): Promise<string> {
  const found = await findProgram(name)
  if (found) return found
  if (process.getuid?.() === 0) {
    const options = { timeout: INSTALL_TIMEOUT_MS, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
    await run('apt-get', ['install', '--yes', '--no-install-recommends', debianPackage], options)
    const installed = await findProgram(name)
    if (installed) return installed
  }
  throw new Error(`this test needs ${name}: install Debian's package ${debianPackage}`)
}

async function findProgram(name: string): Promise<string | null> {
  for (const place of [...(process.env['PATH'] ?? '').split(delimiter), ...MORE_PLACES]) {
    const path = join(place, name)
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return path
  }
  return null
}
