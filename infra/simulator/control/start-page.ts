// The page at `/` of the admin port:
// every call of the admin API as a line to copy, with ids of accounts that exist.
import { escape } from 'html-escaper'
import type { Route } from '../http.ts'
import type { World } from '../world/world.ts'
import type { AdminContext } from './context.ts'
import { curlOf, fieldsOf, MANUAL, type ManualEntry } from './manual.ts'

const ACCOUNTS_SHOWN = 30

const STYLE = `:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:2rem 1rem}
main{max-width:60rem;margin:0 auto}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}h3{font:600 1rem/1.4 ui-monospace,monospace;margin:1.25rem 0 0}
p{margin:.25rem 0}pre{margin:.25rem 0;padding:.5rem .75rem;border:1px solid #8888;border-radius:.375rem;white-space:pre-wrap;overflow-wrap:anywhere}
small{opacity:.8}td,th{text-align:left;padding:.1rem 1rem .1rem 0}`

export const START_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'GET',
    path: '/',
    handle: ({ deps, call }) => ({
      status: 200,
      body: startPage(deps.world, `http://${call.headers.host ?? '127.0.0.1'}`),
      headers: { 'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'" },
    }),
  },
]

function startPage(world: World, origin: string): string {
  const accounts = [...world.accounts.values()]
  const [first] = accounts
  const calendar = [...(first?.calendars.values() ?? [])].find((one) => !one.gone)
  const ids = {
    ...(first ? { accountId: first.id } : {}),
    ...(calendar ? { calendarId: calendar.id } : {}),
    ...(calendar?.alive.ids[0] === undefined ? {} : { eventId: calendar.alive.ids[0] }),
  }
  const rows = accounts
    .slice(0, ACCOUNTS_SHOWN)
    .map(
      ({ id, vendor, email, calendars }) => `<tr>${cells([id, vendor, email, String(calendars.size)])}</tr>`,
    )
  const more = accounts.length - rows.length
  const people =
    rows.length === 0
      ? '<p>Nobody yet.</p>'
      : `<table><tr><th>accountId</th><th>vendor</th><th>email</th><th>calendars</th></tr>${rows.join('')}</table>`
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Calstream: the play vendors</title><style>${STYLE}</style></head>
<body><main>
<h1>The play vendors</h1>
<p>This plays Google Calendar, Microsoft Graph and the sign-in of both. Each line below can be copied into a shell.
The same calls with all their fields: <code>docs/simulator.md</code>.</p>
<h2>People</h2>
${people}${more > 0 ? `<p>… and ${more} more: GET /admin/accounts</p>` : ''}
${MANUAL.map(({ title, entries }) => `<h2>${escape(title)}</h2>\n${entries.map((entry) => section(entry, origin, ids)).join('\n')}`).join('\n')}
</main></body></html>
`
}

function section(entry: ManualEntry, origin: string, ids: Readonly<Record<string, string>>): string {
  const fields = fieldsOf(entry)
  const takes = fields.length === 0 ? '' : `<p><small>${escape(fields.join(' · '))}</small></p>`
  return `<h3>${escape(entry.route)}</h3><p>${escape(entry.about)}</p><pre>${escape(curlOf(entry, origin, ids))}</pre>${takes}`
}

function cells(texts: readonly string[]): string {
  return texts.map((text) => `<td>${escape(text)}</td>`).join('')
}
