// TypeScript types from Avro schemas: the text of messages.gen.ts. Pure;
// generate.ts writes it, a test compares it.

type Schema =
  | string
  | readonly Schema[]
  | NamedSchema
  | { readonly type: string; readonly logicalType?: string }

interface NamedSchema {
  readonly type: 'record' | 'enum'
  readonly name: string
  readonly doc?: string
  readonly symbols?: readonly string[]
  readonly fields?: readonly { readonly name: string; readonly type: Schema }[]
}

const HEAD = `// Generated from schemas/messages/*.avsc by \`npm run gen\`. Do not edit.
// Times are whole microseconds since 1970-01-01T00:00:00Z.
`
const LINE_MAX = 110
const COMMENT_MAX = 100
/** What avsc makes of a primitive; a long beyond 2^53 is an error there, so number is exact. */
const PRIMITIVES: Record<string, string> = {
  null: 'null',
  boolean: 'boolean',
  int: 'number',
  long: 'number',
  double: 'number',
  string: 'string',
}

/**
 * The whole file. A type that several schemas define must be the same in all; it is written once.
 * Throws on what it does not know.
 */
export function messageTypes(schemas: readonly unknown[]): string {
  const written = new Map<string, string>()
  for (const schema of schemas) writeNamed(schema as NamedSchema, written)
  return `${HEAD}\n${[...written.values()].join('\n')}`
}

function writeNamed(schema: NamedSchema, written: Map<string, string>): void {
  const text = schema.type === 'enum' ? enumText(schema) : recordText(schema, written)
  const before = written.get(schema.name)
  if (before !== undefined && before !== text)
    throw new Error(`${schema.name} is defined in two different ways`)
  written.set(schema.name, text)
}

function enumText({ name, symbols = [] }: NamedSchema): string {
  const literals = symbols.map((symbol) => `'${symbol}'`)
  const line = `export type ${name} = ${literals.join(' | ')}\n`
  if (line.length - 1 <= LINE_MAX) return line
  return `export type ${name} =\n${literals.map((literal) => `  | ${literal}\n`).join('')}`
}

function recordText({ name, doc, fields = [] }: NamedSchema, written: Map<string, string>): string {
  const lines = fields.map((field) => `  ${field.name}: ${typeText(field.type, written)}\n`)
  return `${doc === undefined ? '' : docComment(doc)}export interface ${name} {\n${lines.join('')}}\n`
}

function docComment(doc: string): string {
  const line = `/** ${doc} */\n`
  if (line.length - 1 <= COMMENT_MAX) return line
  const lines = [' *']
  for (const word of doc.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`
    if (longer.length <= COMMENT_MAX) lines[lines.length - 1] = longer
    else lines.push(` * ${word}`)
  }
  return `/**\n${lines.join('\n')}\n */\n`
}

function typeText(schema: Schema, written: Map<string, string>): string {
  if (typeof schema === 'string') return PRIMITIVES[schema] ?? reference(schema, written)
  if (isUnion(schema)) {
    const branches = schema.map((branch) => typeText(branch, written))
    return [...branches.filter((branch) => branch !== 'null'), ...branches.filter((b) => b === 'null')].join(
      ' | ',
    )
  }
  if ('name' in schema) {
    writeNamed(schema, written)
    return schema.name
  }
  return typeText(schema.type, written)
}

function reference(name: string, written: Map<string, string>): string {
  if (!written.has(name))
    throw new Error(`${name} is used before it is defined, or is a type that we do not use`)
  return name
}

function isUnion(schema: Schema): schema is readonly Schema[] {
  return Array.isArray(schema)
}
