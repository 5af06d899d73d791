// `$select`: learn.microsoft.com/graph/query-parameters#select. The id, the annotations and what
// was expanded always stay.
import type { Answer } from '../http.ts'
import { graphError } from './errors.ts'

/** A property that only an occurrence or an exception has. */
const SOMETIMES = 'originalStart'

/** What `$select` leaves of a resource. */
export function project<T extends object>(resource: T, query: URLSearchParams): Partial<T> {
  const select = selected(query)
  if (select === null) return resource
  const stays = (name: string) =>
    select.includes(name) || name === 'id' || name === 'singleValueExtendedProperties' || name.startsWith('@')
  return Object.fromEntries(Object.entries(resource).filter(([name]) => stays(name))) as Partial<T>
}

/**
 * The refusal of a `$select` that names a property that this resource has not; null when all are
 * there, or no resource is.
 */
export function misnamed(resource: object | undefined, query: URLSearchParams): Answer | null {
  if (resource === undefined) return null
  const unknown = selected(query)?.find((name) => !(name in resource) && name !== SOMETIMES)
  if (unknown === undefined) return null
  return graphError('BadRequest', { message: `Could not find a property named '${unknown}'.` })
}

function selected(query: URLSearchParams): readonly string[] | null {
  return query.get('$select')?.split(',') ?? null
}
