// The limits of extendedProperties: a longer key is dropped and a longer value cut, both without a
// word; too many are refused.
// https://developers.google.com/workspace/calendar/api/guides/extended-properties
import type { Fields } from '../world/event-doc.ts'

const KEY_MAX = 44
const VALUE_MAX = 1024
const COUNT_MAX = 300
const BYTES_MAX = 32_768

/** The fields with their properties within the limits, null when there are too many of them. */
export function limitProperties(fields: Fields): Fields | null {
  const given = fields['extendedProperties']
  if (typeof given !== 'object' || given === null) return fields
  const limited: Record<string, Record<string, string | null>> = {}
  let count = 0
  let bytes = 0
  for (const [visibility, properties] of Object.entries(given)) {
    if (typeof properties !== 'object' || properties === null) continue
    const kept = Object.entries(properties)
      .filter(([key]) => key.length <= KEY_MAX)
      // null stays: in a patch it deletes.
      .map(([key, value]) => [key, value === null ? null : text(value).slice(0, VALUE_MAX)] as const)
    for (const [key, value] of kept) {
      count += 1
      bytes += Buffer.byteLength(key) + Buffer.byteLength(value ?? '')
    }
    limited[visibility] = Object.fromEntries(kept)
  }
  return count > COUNT_MAX || bytes > BYTES_MAX ? null : { ...fields, extendedProperties: limited }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Whether an event has all of the `key=value` pairs that a listing asks for. */
export function hasProperties(
  event: Readonly<Record<string, unknown>>,
  visibility: 'private' | 'shared',
  wanted: readonly string[],
): boolean {
  const properties = (event['extendedProperties'] as Record<string, Record<string, string>> | undefined)?.[
    visibility
  ]
  return wanted.every((pair) => {
    const at = pair.indexOf('=')
    return properties?.[pair.slice(0, at)] === pair.slice(at + 1)
  })
}
