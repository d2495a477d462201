/**
 * A real caching proxy before a broker: nginx with a configuration, a directory and a port of its own, so that
 * nothing of the machine's own nginx is used or touched.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureProgram } from './debian-package.ts'

export interface CachingProxy {
  url: string
  stop(): Promise<void>
}

const START_MS = 10_000

/** Answers say in `x-cache` where they came from: MISS or HIT. */
export async function startCachingProxy(upstream: string): Promise<CachingProxy> {
  const nginx = await ensureProgram('nginx', 'nginx')
  const directory = await mkdtemp(join(tmpdir(), 'tidings-proxy-'))
  const port = await freePort()
  await writeFile(join(directory, 'nginx.conf'), configuration(directory, port, upstream))
  const child = spawn(nginx, ['-e', 'stderr', '-p', directory, '-c', join(directory, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await ended
    await rm(directory, { recursive: true, force: true })
  }
  const url = `http://127.0.0.1:${port}`
  try {
    await answering(`${url}/healthz`, child)
  } catch (error) {
    await stop()
    throw new Error(`nginx did not start: ${said}`, { cause: error })
  }
  return { url, stop }
}

function configuration(directory: string, port: number, upstream: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
daemon off;
worker_processes 1;
${process.getuid?.() === 0 ? 'user root;' : ''}
pid ${directory}/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n  ')}
  proxy_cache_path ${directory}/cache keys_zone=history:1m;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${upstream};
      proxy_http_version 1.1;
      proxy_cache history;
      add_header X-Cache $upstream_cache_status always;
    }
  }
}
`
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}

async function answering(url: string, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + START_MS
  for (;;) {
    const isUp = await fetch(url).then(
      () => true,
      () => false,
    )
    if (isUp) return
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`nothing answers at ${url}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
