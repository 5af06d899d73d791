// Single-value extended properties:
// learn.microsoft.com/graph/api/resources/extended-properties-overview. They are written with
// an event, come back only where a read expands them by their id, can be searched for, and
// are never part of a delta.
import type { Fields } from '../world/event-doc.ts'

export interface ExtendedProperty {
  readonly id: string
  readonly value: string
}

/** Where the world keeps them among an event's fields. */
const FIELD = 'singleValueExtendedProperties'
/** `String {guid} Name name` or `Integer {guid} Id 0x8012`: the braces are required. */
const ID = /^[A-Za-z]+ \{[0-9a-f-]{36}\} (?:Name .+|Id 0x[0-9a-f]+)$/i
const EXPAND = /^singleValueExtendedProperties\(\$filter=(?<ids>.+)\)$/i
const ANY =
  /^singleValueExtendedProperties\/any\((?<n>\w+): ?\k<n>\/id eq '(?<id>[^']+)' and \k<n>\/value eq '(?<value>(?:[^']|'')*)'\)$/i

/** The properties of an event, as they were written. */
export function propertiesOf(fields: Fields): readonly ExtendedProperty[] {
  return (fields[FIELD] as readonly ExtendedProperty[] | undefined) ?? []
}

/**
 * What a write leaves of the properties: those that it names are replaced, the others stay.
 * null when one is not valid.
 */
export function mergeProperties(before: Fields, written: unknown): Fields | null {
  if (written === undefined) return {}
  if (!Array.isArray(written)) return null
  const kept = new Map(propertiesOf(before).map((property) => [property.id.toLowerCase(), property]))
  for (const one of written as readonly unknown[]) {
    const { id, value } = (one ?? {}) as { id?: unknown; value?: unknown }
    if (typeof id !== 'string' || typeof value !== 'string' || !ID.test(id)) return null
    kept.set(id.toLowerCase(), { id, value })
  }
  return { [FIELD]: [...kept.values()] }
}

/**
 * The ids that `$expand` asks for; null without it, 'unsupported' when it asks for something else.
 */
export function expandedIds(expand: string | null): readonly string[] | null | 'unsupported' {
  if (expand === null) return null
  const ids = EXPAND.exec(expand)?.groups?.['ids']?.split(/ or /i)
  const read = ids?.map((part) => /^id eq '([^']+)'$/i.exec(part.trim())?.[1])
  return read?.every((id) => id !== undefined) ? read : 'unsupported'
}

/**
 * What of an event's properties was asked for; without any of them Graph leaves the property out.
 */
export function expand(fields: Fields, ids: readonly string[] | null): { [FIELD]?: ExtendedProperty[] } {
  if (ids === null) return {}
  const wanted = new Set(ids.map((id) => id.toLowerCase()))
  const found = propertiesOf(fields).filter(({ id }) => wanted.has(id.toLowerCase()))
  return found.length > 0 ? { [FIELD]: found } : {}
}

/** The condition of a `$filter` over them; null when it is another filter. */
export function readFilter(filter: string): ((fields: Fields) => boolean) | null {
  const groups = ANY.exec(filter.trim())?.groups
  if (!groups) return null
  const id = groups['id']?.toLowerCase()
  const value = groups['value']?.replaceAll("''", "'")
  return (fields) => propertiesOf(fields).some((one) => one.id.toLowerCase() === id && one.value === value)
}
