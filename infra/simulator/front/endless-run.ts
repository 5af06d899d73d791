// Lists that never end: a real page once, and then page after page under ever new tokens, with the
// same items, with none, or with the same under new ids. Reported of Graph's calendarView/delta
// (the same events again and again behind new skip tokens, when a daily series did not fit into a
// page); played at Google too, because nothing in its protocol keeps a run from it.
import { ENDLESS_TOKEN, type Fault } from '../control/faults.ts'
import type { Answer, Call } from '../http.ts'

type Body = Readonly<Record<string, unknown>>

export interface EndlessRuns {
  /** A further page, when the call asks for one of this fault; else null. */
  next(fault: Fault, call: Call): Answer | null
  /** The real answer as the first page of a run that never ends. */
  begin(fault: Fault, call: Call, answer: Answer): Answer
}

export function createEndlessRuns(): EndlessRuns {
  /** The real page behind each run, by the fault and the path of its calendar. */
  const runs = new WeakMap<Fault, Map<string, Body>>()
  let pages = 0

  function page(call: Call, body: Body): Answer {
    pages += 1
    return { status: 200, body: { ...body, ...link(call, `${ENDLESS_TOKEN}${pages}`) } }
  }

  return {
    next(fault, call) {
      const token = call.query.get('pageToken') ?? call.query.get('$skiptoken')
      const first = token?.startsWith(ENDLESS_TOKEN) ? runs.get(fault)?.get(call.path) : undefined
      if (first === undefined) return null
      return page(call, { ...first, ...changed(first, fault.goesOn, pages) })
    },
    begin(fault, call, answer) {
      const body = (typeof answer.body === 'object' && answer.body !== null ? answer.body : {}) as Body
      if (answer.status !== 200 || listOf(body) === null) return answer
      const { nextSyncToken: _sync, nextPageToken: _page, '@odata.deltaLink': _delta, ...rest } = body
      const known = runs.get(fault) ?? new Map<string, Body>()
      runs.set(fault, known.set(call.path, rest))
      return page(call, rest)
    },
  }
}

function listOf(body: Body): 'items' | 'value' | null {
  if (Array.isArray(body['items'])) return 'items'
  return Array.isArray(body['value']) ? 'value' : null
}

function changed(body: Body, goesOn: Fault['goesOn'], no: number): Body {
  const list = listOf(body)
  if (list === null || goesOn === 'repeating') return {}
  if (goesOn === 'empty') return { [list]: [] }
  const items = body[list] as readonly Readonly<Record<string, unknown>>[]
  return { [list]: items.map((item) => ({ ...item, id: `${String(item['id'])}0${no}` })) }
}

function link(call: Call, token: string): Body {
  if (!call.path.startsWith('/v1.0/')) return { nextPageToken: token }
  return { '@odata.nextLink': `http://${String(call.headers.host)}${call.path}?$skiptoken=${token}` }
}
