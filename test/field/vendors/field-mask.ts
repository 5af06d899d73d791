// Google's partial responses: `a,b(c,d/e)` names what is sent, everything else stays behind. Source
// (read 2026-11-29):
// developers.google.com/workspace/calendar/api/guides/performance#partial-response

/** Name → what is named below it; an empty one is the whole of it. */
export type Fields = ReadonlyMap<string, Fields>

/** Reads a mask. Throws for one that Google would refuse. */
export function fieldsNamed(mask: string): Fields {
  const left = { text: mask }
  const fields = readList(left)
  if (left.text !== '') throw new Error(`the field mask ${mask} cannot be read at ${left.text}`)
  return fields
}

/** What of a value is sent under a mask; lists are taken item by item. */
export function masked(value: unknown, fields: Fields): unknown {
  if (fields.size === 0 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((one) => masked(one, fields))
  const kept = Object.entries(value).filter(([name]) => fields.has(name) || fields.has('*'))
  return Object.fromEntries(
    kept.map(([name, one]) => [name, masked(one, fields.get(name) ?? fields.get('*') ?? new Map())]),
  )
}

function readList(left: { text: string }): Fields {
  const fields = new Map<string, Fields>()
  do {
    if (left.text.startsWith(',')) left.text = left.text.slice(1)
    const name = /^[\w*]+/.exec(left.text)?.[0] ?? ''
    left.text = left.text.slice(name.length)
    fields.set(name, readBelow(left))
  } while (left.text.startsWith(','))
  return fields
}

function readBelow(left: { text: string }): Fields {
  if (left.text.startsWith('/')) {
    left.text = left.text.slice(1)
    const name = /^[\w*]+/.exec(left.text)?.[0] ?? ''
    left.text = left.text.slice(name.length)
    return new Map([[name, readBelow(left)]])
  }
  if (!left.text.startsWith('(')) return new Map()
  left.text = left.text.slice(1)
  const fields = readList(left)
  left.text = left.text.slice(1)
  return fields
}
