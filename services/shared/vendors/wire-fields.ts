// What is asked of a vendor is what is read of its answers: the names come from the schema that
// reads them, so a field cannot be read without being asked for, and nothing else (descriptions,
// other attendees, attachments) is sent at all. Pure.
import { z } from 'zod'

/**
 * The names of an object's fields, each with those of the objects inside it. Annotations (@…) come
 * unasked and are left out.
 */
export interface WireField {
  readonly name: string
  readonly inner: readonly WireField[]
}

/** The fields that a schema reads. */
export function fieldsOf(schema: z.ZodObject): readonly WireField[] {
  return Object.entries(schema.shape).flatMap(([name, piece]) => {
    const inner = innermost(piece)
    return name.startsWith('@') ? [] : [{ name, inner: inner instanceof z.ZodObject ? fieldsOf(inner) : [] }]
  })
}

/**
 * Google's form: `id,start(date,dateTime)`.
 * developers.google.com/workspace/calendar/api/guides/performance#partial-response
 */
export function googleMask(schema: z.ZodObject): string {
  const write = ({ name, inner }: WireField): string =>
    inner.length === 0 ? name : `${name}(${inner.map(write).join(',')})`
  return fieldsOf(schema).map(write).join(',')
}

/**
 * OData's form, which names whole properties: `id,start`.
 * learn.microsoft.com/graph/query-parameters#select
 */
export function odataSelect(schema: z.ZodObject): string {
  return fieldsOf(schema)
    .map(({ name }) => name)
    .join(',')
}

/** Without what a schema wraps around another: optional, nullable, a fallback, a list of it. */
function innermost(piece: unknown): unknown {
  let at = piece
  while (at instanceof z.ZodOptional || at instanceof z.ZodNullable || at instanceof z.ZodCatch)
    at = at.unwrap()
  return at instanceof z.ZodArray ? innermost(at.element) : at
}
