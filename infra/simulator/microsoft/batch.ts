// $batch: learn.microsoft.com/graph/json-batching. Up to 20 calls in one, four of a mailbox at a
// time; each has its own status, the batch itself is 200. The order of the answers is not promised,
// and it is not that of the requests.
import { type Answer, type Call, readObject } from '../http.ts'
import { graphError } from './errors.ts'

const REQUESTS_MAX = 20
const AT_ONCE = 4

interface Item {
  readonly id: string
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  readonly dependsOn: readonly string[]
}

/**
 * POST /$batch. `within` makes one of the calls;
 * a call whose dependency failed is not made and answers 424.
 */
export async function runBatch(call: Call, within: (inner: Call) => Promise<Answer>): Promise<Answer> {
  const items = readItems(call.body)
  if (typeof items === 'string') return graphError('BadRequest', { message: items })
  const done = new Map<string, Answer>()
  let open = items
  while (open.length > 0) {
    const ready = open.filter(({ dependsOn }) => dependsOn.every((id) => done.has(id))).slice(0, AT_ONCE)
    const answers = await Promise.all(
      ready.map(async (item) => {
        const failed = item.dependsOn.some((id) => (done.get(id)?.status ?? 0) >= 400)
        return failed ? graphError('FailedDependency') : within(innerCall(call, item))
      }),
    )
    for (const [index, { id }] of ready.entries())
      done.set(id, answers[index] ?? graphError('FailedDependency'))
    open = open.filter(({ id }) => !done.has(id))
  }
  const responses = [...done].map(([id, answer]) => response(id, answer)).toReversed()
  return { status: 200, body: { responses } }
}

/** The requests of a batch, or why there are none. */
function readItems(body: string): readonly Item[] | string {
  const requests = readObject(body)?.['requests']
  if (!Array.isArray(requests) || requests.length === 0) return 'The batch has no requests.'
  if (requests.length > REQUESTS_MAX) return `A batch has at most ${REQUESTS_MAX} requests.`
  const items: Item[] = []
  for (const raw of requests as readonly unknown[]) {
    const item = readItem(raw)
    const known = new Set(items.map(({ id }) => id.toLowerCase()))
    if (!item || known.has(item.id.toLowerCase()))
      return 'A request lacks an id of its own, a method or a url.'
    if (item.body !== undefined && item.headers['content-type'] === undefined)
      return `The request ${item.id} has a body and no Content-Type.`
    if (!item.dependsOn.every((id) => known.has(id.toLowerCase())))
      return `The request ${item.id} depends on one that does not come before it.`
    items.push(item)
  }
  return items
}

function readItem(raw: unknown): Item | null {
  const { id, method, url, headers = {}, body, dependsOn = [] } = (raw ?? {}) as Record<string, unknown>
  if (typeof id !== 'string' || typeof method !== 'string' || typeof url !== 'string') return null
  if (!Array.isArray(dependsOn) || typeof headers !== 'object' || headers === null) return null
  const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)] as const)
  const path = url.startsWith('/') ? url : `/${url}`
  return { id, method, url: path, headers: Object.fromEntries(lower), body, dependsOn: dependsOn.map(String) }
}

function innerCall(outer: Call, { method, url, headers, body }: Item): Call {
  const { pathname, searchParams } = new URL(`http://simulator/v1.0${url}`)
  const { authorization } = outer.headers
  return {
    method: method.toUpperCase(),
    path: pathname,
    query: searchParams,
    headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
    body: body === undefined ? '' : JSON.stringify(body),
    raw: outer.raw,
  }
}

function response(id: string, { status, headers, body }: Answer) {
  return {
    id,
    status,
    headers: { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
    ...(body === undefined ? {} : { body }),
  }
}
