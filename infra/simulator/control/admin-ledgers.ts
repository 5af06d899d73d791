// Admin routes that tell: the truth, the changes, the requests, the webhook attempts, the channels.
import type { Answer, Route } from '../http.ts'
import type { AdminContext } from './context.ts'
import type { Ledger } from './ledger.ts'
import { tellTruth } from './truth.ts'

const PAGE_MAX = 20_000

export const LEDGER_ROUTES: readonly Route<AdminContext>[] = [
  {
    method: 'GET',
    path: '/admin/truth',
    handle: ({ deps, call }) => ({
      status: 200,
      body: tellTruth(deps.world, {
        accountId: call.query.get('accountId'),
        timeMin: instant(call.query, 'timeMin'),
        timeMax: instant(call.query, 'timeMax'),
      }),
    }),
  },
  {
    method: 'GET',
    path: '/admin/changes',
    handle: ({ deps, call }) => page('changes', deps.changes, call.query),
  },
  {
    method: 'GET',
    path: '/admin/requests',
    handle: ({ deps, call }) => {
      const path = new RegExp(call.query.get('path') ?? '')
      return page('requests', deps.requests, call.query, (entry) => path.test(entry.path))
    },
  },
  {
    method: 'GET',
    path: '/admin/webhooks',
    handle: ({ deps, call }) => page('attempts', deps.push.attempts, call.query),
  },
  {
    method: 'GET',
    path: '/admin/channels',
    handle: ({ deps }) => {
      const channels = [...deps.world.channels.values()].map(({ token: _token, ...channel }) => channel)
      return { status: 200, body: { channels, pending: deps.push.pending } }
    },
  },
]

/**
 * At most 20 000 entries after `after`;
 * `dropped` > 0 says that the ledger's oldest entries are gone.
 */
function page<T extends { readonly seq: number }>(
  name: string,
  ledger: Ledger<T>,
  query: URLSearchParams,
  wanted: (entry: T) => boolean = () => true,
): Answer {
  const after = Number(query.get('after') ?? 0)
  if (Number.isNaN(after)) throw new RangeError('after: a number is expected.')
  const entries = ledger.after(after)
  const shown = entries.slice(0, PAGE_MAX)
  return {
    status: 200,
    body: {
      [name]: shown.filter(wanted),
      more: entries.length > PAGE_MAX,
      next: shown.at(-1)?.seq ?? after,
      dropped: ledger.dropped,
    },
  }
}

function instant(query: URLSearchParams, name: string): number | null {
  const text = query.get(name)
  if (text === null) return null
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw new RangeError(`${name}: an RFC 3339 time is expected.`)
  return at
}
