/**
 * Programs that a test needs and that come with Debian: found on this machine, or else installed with apt-get
 * where we may. No service is started by the installation, and none that runs is touched.
 */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, rm, writeFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** An installation waits so long for another one that is under way. */
const LOCK_WAIT_S = 120
const TIMEOUT_MS = 240_000
/** Debian asks it whether a package may start its service; 101: it may not. */
const SERVICE_POLICY = '/usr/sbin/policy-rc.d'

/** The path of a program. Throws a sentence that says what to install where it is missing and cannot be had. */
export async function ensureProgram(program: string, debianPackage: string = program): Promise<string> {
  const found = await findProgram(program)
  if (found) return found
  const remedy = `install it with: apt-get install ${debianPackage}`
  if (process.getuid?.() !== 0) throw new Error(`this test needs ${program}, which is not on the PATH: ${remedy}`)
  try {
    await install(debianPackage)
  } catch (error) {
    throw new Error(`this test needs ${program}, and it could not be installed: ${remedy}\n${String(error)}`, {
      cause: error,
    })
  }
  const installed = await findProgram(program)
  if (!installed) throw new Error(`this test needs ${program}, which the package ${debianPackage} did not bring`)
  return installed
}

/** Also where only root usually looks. */
export async function findProgram(program: string): Promise<string | null> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  for (const folder of folders.filter((name) => name !== '')) {
    const path = join(folder, program)
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return path
  }
  return null
}

async function install(debianPackage: string): Promise<void> {
  const isOurs = await writeFile(SERVICE_POLICY, '#!/bin/sh\nexit 101\n', { flag: 'wx', mode: 0o755 }).then(
    () => true,
    () => false,
  )
  try {
    const options = ['-y', '-q', '--no-install-recommends', '-o', `DPkg::Lock::Timeout=${LOCK_WAIT_S}`]
    // On a fresh machine the lists of packages are missing or old: then they are fetched first.
    const once = (): Promise<void> => apt(['install', ...options, debianPackage])
    await once().catch(async () => {
      await apt(['update', '-q'])
      await once()
    })
  } finally {
    if (isOurs) await rm(SERVICE_POLICY, { force: true })
  }
}

function apt(parameters: readonly string[]): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' }
  return new Promise((resolve, reject) => {
    const child = execFile('apt-get', parameters, { env, timeout: TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error) reject(new Error(`apt-get ${parameters[0]}: ${stderr || stdout || error.message}`))
      else resolve()
    })
    child.stdin?.end()
  })
}
