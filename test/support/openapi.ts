// schemas/openapi.yaml as tests compare it with the server: operations, what they take, and whether
// an answer is what they say.
import { readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { parse } from 'yaml'

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

interface Media {
  readonly schema?: object
  readonly example?: unknown
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>
}

interface Operation {
  readonly parameters?: readonly object[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Media>> }
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, Media>> }>>
}

export interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: Readonly<Record<string, Readonly<Record<string, object>>>>
}

export const openApi = parse(readFileSync('schemas/openapi.yaml', 'utf8')) as OpenApi

/** `POST /api/…` → the operation; parameters of a path as `{name}`. */
function operations(): Map<string, { readonly at: string; readonly operation: Operation }> {
  const found = new Map<string, { at: string; operation: Operation }>()
  for (const [path, item] of Object.entries(openApi.paths)) {
    for (const method of METHODS) {
      const operation = item[method]
      const at = `/paths/${escaped(path)}/${method}`
      if (operation) found.set(`${method.toUpperCase()} ${path}`, { at, operation })
    }
  }
  return found
}

/** `POST /api/…` → statuses in order; parameters of a path as `{name}`. */
export function documentedOperations(): Map<string, readonly string[]> {
  const entries = [...operations()].map(
    ([name, { operation }]) => [name, Object.keys(operation.responses).toSorted()] as const,
  )
  return new Map(entries)
}

/** The names of the query members that an operation takes. */
export function documentedQuery(name: string): readonly string[] {
  const { parameters = [] } = operations().get(name)?.operation ?? {}
  return parameters
    .map((one) => ('$ref' in one ? resolved(String(one.$ref)) : one) as { in: string; name: string })
    .filter((one) => one.in === 'query')
    .map((one) => one.name)
}

/** The names of the members that the JSON body of an operation takes. */
export function documentedBody(name: string): readonly string[] {
  const media = operations().get(name)?.operation.requestBody?.content['application/json']
  return Object.keys((media?.schema as { properties?: object } | undefined)?.properties ?? {})
}

/**
 * What is wrong with the JSON of an answer, by the schema of its operation and status; null when
 * nothing is, or it has none.
 */
export function wrongAnswer(name: string, status: string, body: unknown): string | null {
  const known = operations().get(name)
  const response = known?.operation.responses[status]
  if (known === undefined || response === undefined) return 'it is not documented'
  const [base, content] =
    '$ref' in response
      ? [String(response.$ref).slice(1), (resolved(String(response.$ref)) as typeof response).content]
      : [`${known.at}/responses/${status}`, response.content]
  const type = Object.keys(content ?? {}).find((one) => one.includes('json'))
  return type === undefined ? null : wrongValue(`${base}/content/${escaped(type)}/schema`, body)
}

/**
 * What is wrong with a value by the schema at a place of the document (a JSON
 * pointer); null when nothing is.
 */
export function wrongValue(pointer: string, value: unknown): string | null {
  const validate = validatorOf(pointer)
  return validate(value) === true ? null : ajv.errorsText(validate.errors)
}

/** Every example of the document with the place of its schema. */
export function examples(): readonly { readonly pointer: string; readonly value: unknown }[] {
  const found: { pointer: string; value: unknown }[] = []
  const look = (node: unknown, pointer: string): void => {
    if (typeof node !== 'object' || node === null) return
    const media = node as Media
    if (media.schema !== undefined && pointer.includes('/content/')) {
      const values = Object.values(media.examples ?? {}).map(({ value }) => value)
      if (media.example !== undefined) values.push(media.example)
      found.push(...values.map((value) => ({ pointer: `${pointer}/schema`, value })))
    }
    if (Array.isArray(media.examples)) {
      found.push(...media.examples.map((value: unknown) => ({ pointer, value })))
    }
    for (const [key, child] of Object.entries(node)) look(child, `${pointer}/${escaped(key)}`)
  }
  look(openApi, '')
  return found
}

/** Every `$ref` of the document that leads nowhere. */
export function danglingRefs(): readonly string[] {
  const dangling: string[] = []
  const look = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    for (const [key, child] of Object.entries(node)) {
      if (key === '$ref' && resolved(String(child)) === undefined) dangling.push(String(child))
      look(child)
    }
  }
  look(openApi)
  return dangling
}

function resolved(ref: string): object | undefined {
  let node: unknown = openApi
  for (const part of ref.replace(/^#\//, '').split('/')) {
    node = (node as Record<string, unknown> | undefined)?.[part.replaceAll('~1', '/').replaceAll('~0', '~')]
  }
  return node as object | undefined
}

function escaped(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}

const DOCUMENT = 'openapi'
const ajv = new Ajv2020({ strict: false, validateSchema: false, allErrors: true })
ajv.addFormat('uuid', /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
// One form for every time that the API tells.
ajv.addFormat('date-time', /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
ajv.addFormat('date', /^\d{4}-\d{2}-\d{2}$/)
ajv.addFormat('uri', (text) => URL.canParse(text))
ajv.addFormat('uri-reference', (text) => text === 'about:blank')
ajv.addSchema(openApi, DOCUMENT)

const compiled = new Map<string, ValidateFunction>()

function validatorOf(pointer: string): ValidateFunction {
  const known = compiled.get(pointer)
  if (known) return known
  const validate = ajv.compile({ $ref: `${DOCUMENT}#${encodeURI(pointer)}` })
  compiled.set(pointer, validate)
  return validate
}

/**
 * Whether an operation needs nothing but Kafka and held rows:
 * its answers are provoked without a database.
 */
export function isProvokedOnLiterals(operation: string): boolean {
  return operation.includes('/api/webhooks/') || operation.endsWith('/api/calendar/sync')
}
