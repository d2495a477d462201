/**
 * Serves the page and the SDK's browser build, as plain files: no bundler. The broker has to admit the page:
 * `tidings serve --allowed-origins http://127.0.0.1:8080`
 */
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import { join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const PAGE = process.env['PAGE'] ?? 'examples/live-feed/index.html'
const SDK = fileURLToPath(new URL('../', import.meta.resolve('@tidings/sdk/protocol')))

createServer((request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost')
  const isModule = pathname.startsWith('/sdk/') && pathname.endsWith('.js')
  response.setHeader('content-type', isModule ? 'text/javascript' : 'text/html')
  createReadStream(isModule ? join(SDK, normalize(pathname.slice('/sdk'.length))) : PAGE)
    .once('error', () => response.writeHead(404).end())
    .pipe(response)
}).listen(Number(process.env['PORT'] ?? 8080), '127.0.0.1')
