// Registers our value schemas and proves them. The only place that writes to the registry, run from
// a deployment, never from a service. Every subject is held to BACKWARD_TRANSITIVE: a new reader
// must read all records still on the topics.
import { type SchemaTopic, TOPIC_SCHEMAS } from '#schemas/topics.ts'
import { Failure } from '#shared/domain/failure.ts'
import { schemaOf, subjectOf } from './codec.ts'
import { askRegistry, NO_REGISTRY_LOGIN, type RegistryAccess, type RegistryAnswer } from './registry.ts'

interface SchemaConfig {
  /** Base of the Confluent-compatible API. */
  readonly registryUrl: string
  /** Without a login when absent. */
  readonly access?: RegistryAccess | undefined
  readonly prefix: string
}

interface SchemaReport {
  readonly subjects: readonly {
    readonly subject: string
    readonly state: 'registered' | 'unchanged' | 'missing' | 'refused'
    /** The registry's id; null when our schema is not there. */
    readonly id: number | null
  }[]
  /** By topic; null unless all of them are there. */
  readonly ids: ReadonlyMap<SchemaTopic, number> | null
  /** What is wrong, one sentence each with what to do; empty when all is well. */
  readonly problems: readonly string[]
}

interface SubjectSchema {
  readonly subject: string
  /** The Avro schema as JSON text. */
  readonly schema: string
}

const COMPATIBILITY = 'BACKWARD_TRANSITIVE'

type Subject = SchemaReport['subjects'][number]

/** What became of one subject, and what is wrong with it. */
interface Applied {
  readonly subject: Subject
  readonly problem: string | null
}

interface Registry {
  readonly url: string
  readonly access?: RegistryAccess | undefined
  readonly signal: AbortSignal
}

/**
 * Registers what is missing and sets the compatibility level, in any order safe to repeat. An
 * incompatible schema is a problem in the report and is not registered; the others are. Throws
 * Failure `registry/*`.
 */
export async function applySchemas(config: SchemaConfig, signal: AbortSignal): Promise<SchemaReport> {
  return report(config.prefix, (item) =>
    applySubject({ url: config.registryUrl, access: config.access, signal }, item),
  )
}

/**
 * Changes nothing; a schema that is not registered or a subject with another level is a problem.
 * Throws Failure `registry/*`.
 */
export async function verifySchemas(config: SchemaConfig, signal: AbortSignal): Promise<SchemaReport> {
  return report(config.prefix, (item) =>
    verifySubject({ url: config.registryUrl, access: config.access, signal }, item),
  )
}

/** One subject of applySchemas. */
export async function applySubject(registry: Registry, { subject, schema }: SubjectSchema): Promise<Applied> {
  const known = await request(registry, `/subjects/${subject}/versions`)
  // A subject has a level of its own only once it exists. Set it before the new version, or the
  // version would be judged by the old one.
  if (known.status === 200) await setLevel(registry, subject)
  const registered = await lookUp(registry, { subject, schema })
  if (registered !== null) return { subject: { subject, state: 'unchanged', id: registered }, problem: null }
  const answer = await request(registry, `/subjects/${subject}/versions`, { schema })
  if (answer.status === 409) return refused(registry, { subject, schema })
  if (answer.status === 422) {
    const problem = `${subject}: the registry finds the schema invalid (${messageOf(answer.body)}). Correct the .avsc file.`
    return { subject: { subject, state: 'refused', id: null }, problem }
  }
  expectOk(answer, `register a version of ${subject}`)
  if (known.status !== 200) await setLevel(registry, subject)
  return { subject: { subject, state: 'registered', id: idOf(answer.body) }, problem: null }
}

async function verifySubject(registry: Registry, { subject, schema }: SubjectSchema): Promise<Applied> {
  const id = await lookUp(registry, { subject, schema })
  if (id === null) {
    const problem = `${subject}: our schema is not registered. Run \`calstream schemas apply\`.`
    return { subject: { subject, state: 'missing', id }, problem }
  }
  const level = await levelOf(registry, subject)
  const problem =
    level === COMPATIBILITY
      ? null
      : `${subject}: its compatibility level is ${level}, not ${COMPATIBILITY}. Run \`calstream schemas apply\`, which sets it.`
  return { subject: { subject, state: 'unchanged', id }, problem }
}

async function report(
  prefix: string,
  work: (item: SubjectSchema) => Promise<Applied>,
): Promise<SchemaReport> {
  const subjects: Subject[] = []
  const problems: string[] = []
  const ids = new Map<SchemaTopic, number>()
  // One after the other: a registry on a database file answers eight parallel first
  // registrations with write conflicts.
  for (const topic of Object.keys(TOPIC_SCHEMAS) as SchemaTopic[]) {
    const schema = JSON.stringify(schemaOf(topic))
    const { subject, problem } = await work({ subject: subjectOf(prefix, topic), schema })
    subjects.push(subject)
    if (subject.id !== null) ids.set(topic, subject.id)
    if (problem !== null) problems.push(problem)
  }
  return { subjects, ids: ids.size === subjects.length ? ids : null, problems }
}

async function refused(registry: Registry, { subject, schema }: SubjectSchema): Promise<Applied> {
  const path = `/compatibility/subjects/${subject}/versions?verbose=true`
  const answer = await request(registry, path, { schema })
  const problem =
    `${subject}: the schema cannot read all records that were written with its earlier versions` +
    ` (${messageOf(answer.body)}). Add fields only with a default and keep the rest; otherwise make a new version of the topic (schemas/README.md).`
  return { subject: { subject, state: 'refused', id: null }, problem }
}

async function lookUp(registry: Registry, { subject, schema }: SubjectSchema): Promise<number | null> {
  const answer = await request(registry, `/subjects/${subject}`, { schema })
  if (answer.status === 404) return null
  expectOk(answer, `look up our schema of ${subject}`)
  return idOf(answer.body)
}

async function levelOf(registry: Registry, subject: string): Promise<string> {
  const answer = await request(registry, `/config/${subject}?defaultToGlobal=true`)
  if (answer.status === 404) return 'not set'
  expectOk(answer, `read the compatibility level of ${subject}`)
  const level = field(answer.body, 'compatibilityLevel')
  return typeof level === 'string' ? level : 'not set'
}

async function setLevel(registry: Registry, subject: string): Promise<void> {
  if ((await levelOf(registry, subject)) === COMPATIBILITY) return
  const answer = await request(registry, `/config/${subject}`, { compatibility: COMPATIBILITY }, 'PUT')
  expectOk(answer, `set the compatibility level of ${subject}`)
}

function request(
  { url, access = NO_REGISTRY_LOGIN, signal }: Registry,
  path: string,
  body?: unknown,
  method = body === undefined ? 'GET' : 'POST',
): Promise<RegistryAnswer> {
  return askRegistry({ url, access, signal }, { path, method, body })
}

function expectOk(answer: RegistryAnswer, what: string): void {
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
