// Registers our value schemas and proves them. The only place that writes to the registry, run from
// a deployment, never from a service. Every subject is held to BACKWARD_TRANSITIVE: a new reader
// must read all records still on the topics.
import { type SchemaTopic, TOPIC_SCHEMAS } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import { schemaOf, subjectOf } from './codec.ts'

export interface SchemaConfig {
  /** Base of the Confluent-compatible API. */
  readonly registryUrl: string
  readonly prefix: string
}

export interface SchemaReport {
  readonly subjects: readonly {
    readonly subject: string
    readonly state: 'registered' | 'unchanged' | 'missing' | 'refused'
    /** The registry's id; null when our schema is not there. */
    readonly id: number | null
  }[]
  /** What is wrong, one sentence each with what to do; empty when all is well. */
  readonly problems: readonly string[]
}

export interface SubjectSchema {
  readonly subject: string
  /** The Avro schema as JSON text. */
  readonly schema: string
}

const COMPATIBILITY = 'BACKWARD_TRANSITIVE'
const REQUEST_TIMEOUT_MS = 10_000
const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json'

type Subject = SchemaReport['subjects'][number]

/**
 * Registers what is missing and sets the compatibility level, in any order safe to repeat. An
 * incompatible schema is a problem in the report and is not registered; the others are. Throws
 * Failure `registry/unavailable`.
 */
export async function applySchemas(config: SchemaConfig, signal: AbortSignal): Promise<SchemaReport> {
  return report(ourSubjects(config.prefix), (item) => applySubject(config.registryUrl, item, signal))
}

/**
 * Changes nothing; a schema that is not registered or a subject with another level is a problem.
 * Throws Failure `registry/unavailable`.
 */
export async function verifySchemas(config: SchemaConfig, signal: AbortSignal): Promise<SchemaReport> {
  return report(ourSubjects(config.prefix), (item) => verifySubject(config.registryUrl, item, signal))
}

/** One subject of applySchemas. */
export async function applySubject(
  registryUrl: string,
  { subject, schema }: SubjectSchema,
  signal: AbortSignal,
): Promise<{ subject: Subject; problem: string | null }> {
  const known = await request(registryUrl, `/subjects/${subject}/versions`, { signal })
  // A subject has a level of its own only once it exists. Set it before the new version, or the
  // version would be judged by the old one.
  if (known.status === 200) await setLevel(registryUrl, subject, signal)
  const registered = await lookUp(registryUrl, { subject, schema }, signal)
  if (registered !== null) return { subject: { subject, state: 'unchanged', id: registered }, problem: null }
  const answer = await request(registryUrl, `/subjects/${subject}/versions`, { body: { schema }, signal })
  if (answer.status === 409) return refused(registryUrl, { subject, schema }, signal)
  if (answer.status === 422) {
    const problem = `${subject}: the registry finds the schema invalid (${messageOf(answer.body)}). Correct the .avsc file.`
    return { subject: { subject, state: 'refused', id: null }, problem }
  }
  expectOk(answer, `register a version of ${subject}`)
  if (known.status !== 200) await setLevel(registryUrl, subject, signal)
  return { subject: { subject, state: 'registered', id: idOf(answer.body) }, problem: null }
}

async function verifySubject(
  registryUrl: string,
  { subject, schema }: SubjectSchema,
  signal: AbortSignal,
): Promise<{ subject: Subject; problem: string | null }> {
  const id = await lookUp(registryUrl, { subject, schema }, signal)
  if (id === null) {
    const problem = `${subject}: our schema is not registered. Run \`calstream schemas apply\`.`
    return { subject: { subject, state: 'missing', id }, problem }
  }
  const level = await levelOf(registryUrl, subject, signal)
  const problem =
    level === COMPATIBILITY
      ? null
      : `${subject}: its compatibility level is ${level}, not ${COMPATIBILITY}. Run \`calstream schemas apply\`, which sets it.`
  return { subject: { subject, state: 'unchanged', id }, problem }
}

async function report(
  items: readonly SubjectSchema[],
  work: (item: SubjectSchema) => Promise<{ subject: Subject; problem: string | null }>,
): Promise<SchemaReport> {
  const subjects: Subject[] = []
  const problems: string[] = []
  // One after the other: a registry on a database file answers eight parallel first
  // registrations with write conflicts.
  for (const item of items) {
    const { subject, problem } = await work(item)
    subjects.push(subject)
    if (problem !== null) problems.push(problem)
  }
  return { subjects, problems }
}

function ourSubjects(prefix: string): readonly SubjectSchema[] {
  return (Object.keys(TOPIC_SCHEMAS) as SchemaTopic[]).map((topic) => ({
    subject: subjectOf(prefix, topic),
    schema: JSON.stringify(schemaOf(topic)),
  }))
}

async function refused(
  registryUrl: string,
  { subject, schema }: SubjectSchema,
  signal: AbortSignal,
): Promise<{ subject: Subject; problem: string }> {
  const path = `/compatibility/subjects/${subject}/versions?verbose=true`
  const answer = await request(registryUrl, path, { body: { schema }, signal })
  const problem =
    `${subject}: the schema cannot read all records that were written with its earlier versions` +
    ` (${messageOf(answer.body)}). Add fields only with a default and keep the rest; otherwise make a new version of the topic (schemas/README.md).`
  return { subject: { subject, state: 'refused', id: null }, problem }
}

async function lookUp(
  registryUrl: string,
  { subject, schema }: SubjectSchema,
  signal: AbortSignal,
): Promise<number | null> {
  const answer = await request(registryUrl, `/subjects/${subject}`, { body: { schema }, signal })
  if (answer.status === 404) return null
  expectOk(answer, `look up our schema of ${subject}`)
  return idOf(answer.body)
}

async function levelOf(registryUrl: string, subject: string, signal: AbortSignal): Promise<string> {
  const answer = await request(registryUrl, `/config/${subject}?defaultToGlobal=true`, { signal })
  if (answer.status === 404) return 'not set'
  expectOk(answer, `read the compatibility level of ${subject}`)
  const level = field(answer.body, 'compatibilityLevel')
  return typeof level === 'string' ? level : 'not set'
}

async function setLevel(registryUrl: string, subject: string, signal: AbortSignal): Promise<void> {
  if ((await levelOf(registryUrl, subject, signal)) === COMPATIBILITY) return
  const answer = await request(registryUrl, `/config/${subject}`, {
    method: 'PUT',
    body: { compatibility: COMPATIBILITY },
    signal,
  })
  expectOk(answer, `set the compatibility level of ${subject}`)
}

interface Answer {
  readonly status: number
  readonly body: unknown
}

async function request(
  registryUrl: string,
  path: string,
  options: { readonly method?: 'PUT'; readonly body?: unknown; readonly signal: AbortSignal },
): Promise<Answer> {
  const method = options.method ?? (options.body === undefined ? 'GET' : 'POST')
  try {
    const response = await fetch(`${registryUrl}${path}`, {
      method,
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      headers: { 'content-type': CONTENT_TYPE, accept: CONTENT_TYPE },
      signal: AbortSignal.any([options.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) }
  } catch (error) {
    options.signal.throwIfAborted()
    throw new Failure('registry/unavailable', `The schema registry at ${registryUrl} does not answer.`, {
      cause: error,
    })
  }
}

function expectOk(answer: Answer, what: string): void {
  if (answer.status >= 200 && answer.status < 300) return
  const text = `The schema registry answered ${answer.status} when asked to ${what}: ${messageOf(answer.body)}`
  throw new Failure('registry/unavailable', text)
}

function idOf(body: unknown): number {
  const id = field(body, 'id')
  if (typeof id !== 'number')
    throw new Failure('registry/unavailable', 'The schema registry answered without an id.')
  return id
}

function messageOf(body: unknown): string {
  const messages = field(body, 'messages')
  if (Array.isArray(messages) && messages.length > 0) return messages.join('; ')
  const message = field(body, 'message')
  return typeof message === 'string' ? message : 'no reason given'
}

function field(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined
}
