/** The page at /docs: reads /openapi.json and shows it, with nothing from anywhere else. */

const STYLE = `
  :root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #1f6f8b }
  @media (prefers-color-scheme: dark) { :root { --accent: #6cc0dc } }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 6rem }
  h1 { margin-bottom: 0 }
  h2 { margin-top: 2.5rem; text-transform: capitalize; border-bottom: 1px solid var(--line) }
  details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem }
  summary { cursor: pointer; display: flex; gap: .8rem; flex-wrap: wrap; align-items: baseline }
  summary b { font: 600 .8rem ui-monospace, monospace; color: var(--accent); min-width: 3.6rem }
  code, pre { font: .85rem ui-monospace, monospace }
  pre { background: var(--soft); padding: .8rem; border-radius: 6px; overflow-x: auto }
  table { border-collapse: collapse; width: 100%; margin: .5rem 0; font-size: .92rem }
  td, th { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-top: 1px solid var(--line) }
  h4 { margin: 1rem 0 .2rem }
`

const SCRIPT = `
  const make = (tag, text, ...children) => {
    const node = document.createElement(tag)
    if (text) node.textContent = text
    node.append(...children)
    return node
  }
  const row = (...cells) => make('tr', '', ...cells.map((cell) => (typeof cell === 'string' ? make('td', cell) : make('td', '', cell))))
  const table = (rows) => make('table', '', ...rows)
  const shape = (schema, all, depth = 0) => {
    if (!schema) return 'any'
    if (schema.$ref) {
      const name = schema.$ref.split('/').pop()
      return depth > 3 ? name : shape(all[name], all, depth + 1)
    }
    const pad = '  '.repeat(depth + 1)
    if (schema.oneOf) return schema.oneOf.map((one) => shape(one, all, depth)).join(' | ')
    if (schema.allOf) return schema.allOf.map((one) => shape(one, all, depth)).join(' & ')
    if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(' | ')
    if (schema.items) return '[' + shape(schema.items, all, depth) + ', …]'
    if (schema.properties) {
      const lines = Object.entries(schema.properties).map(([name, inner]) => {
        const type = shape(inner, all, depth + 1)
        const about = [inner.description, inner.default === undefined ? '' : 'default ' + JSON.stringify(inner.default)].filter(Boolean).join('; ')
        return pad + JSON.stringify(name) + ': ' + type + (about && !inner.properties ? '   // ' + about : '')
      })
      return '{\\n' + lines.join('\\n') + '\\n' + '  '.repeat(depth) + '}'
    }
    return [schema.type ?? 'any'].flat().join(' | ')
  }
  const content = (body, all) =>
    Object.entries(body ?? {}).map(([type, { schema }]) => make('div', '', make('code', type), make('pre', shape(schema, all))))
  const show = (method, path, operation, all) => {
    const details = make('details', '', make('summary', '', make('b', method.toUpperCase()), make('code', path), make('span', operation.summary)))
    if (operation.description) details.append(make('p', operation.description))
    if (operation.parameters.length) {
      details.append(make('h4', 'Parameters'))
      details.append(table(operation.parameters.map((one) => row(make('code', one.name), one.in, one.description ?? ''))))
    }
    if (operation.requestBody) details.append(make('h4', 'Body'), ...content(operation.requestBody.content, all))
    details.append(make('h4', 'Answers'))
    details.append(table(Object.entries(operation.responses).map(([status, answer]) =>
      row(status, make('div', answer.description, ...(answer.content?.['application/problem+json'] ? [] : content(answer.content, all)))))))
    return details
  }
  fetch('/openapi.json').then((answer) => answer.json()).then(({ info, paths, components }) => {
    const main = document.querySelector('main')
    main.replaceChildren(make('h1', info.title), make('p', 'Version ' + info.version + '. ' + info.description))
    const groups = new Map()
    for (const [path, methods] of Object.entries(paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const [tag] = operation.tags
        if (!groups.has(tag)) groups.set(tag, [])
        groups.get(tag).push(show(method, path, operation, components.schemas))
      }
    }
    for (const [tag, nodes] of groups) main.append(make('h2', tag), ...nodes)
  })
`

export function docsPage(): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tidings API</title>
<style>${STYLE}</style>
</head>
<body>
<main><p>Reading the description at <a href="/openapi.json">/openapi.json</a>.</p></main>
<script>${SCRIPT}</script>
</body>
</html>
`
}
