// Notifications of Microsoft Graph: batches whose tokens are in their body. Invariants: 2xx only
// once every good item is durable, a lifecycle item in Kafka and as a row; a closed gate keeps what
// is signed before it says 403.
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { ChannelClaims } from '#shared/domain/channel-token.ts'
import { metrics } from '#shared/process/metrics.ts'
import { VENDOR } from '#shared/process/semantic-names.ts'
import type { ChannelNotice, NoticeKind } from '#shared/store/channel-notices.ts'
import { webhookPath } from '#shared/vendors/our-addresses.ts'
import type { SyncRequest } from '../publisher.ts'
import { inRequestSpan } from '../request-span.ts'
import { badRequest, sendProblem, type ProblemDetails } from '../server.ts'
import {
  admit,
  admitClaims,
  countAnswers,
  NOT_DURABLE,
  syncRequestOf,
  UNAUTHORIZED,
  type Admission,
  type WebhookDeps,
} from './admit.ts'
import { createKnownChannels, type KnownChannels } from './known-channels.ts'
import { ITEMS_MAX, readMicrosoftBatch, type LifecycleEvent, type MicrosoftItem } from './microsoft-batch.ts'

export const MICROSOFT_WEBHOOK = webhookPath('microsoft')

/**
 * More than other routes take: Graph repeats what it could not deliver unchanged, so a batch
 * refused as too large is lost.
 */
const BODY_BYTES_MAX = 1_048_576
/** Graph's own have some 200 characters. */
const VALIDATION_TOKEN_MAX = 2048

const NOTICE_OF: Partial<Record<LifecycleEvent | 'other', NoticeKind>> = {
  subscriptionRemoved: 'removed',
  reauthorizationRequired: 'reauthorize',
}

/**
 * `POST /api/webhooks/calendar/microsoft`: 200 with the token of a `?validationToken=` · 202 once
 * every good item is durable (bad ones are dropped and counted) · 400 · 401 when all are bad · 403
 * when a gate refused all good ones · 413 · 503.
 */
export function registerMicrosoftWebhook(app: FastifyInstance, parts: WebhookDeps): void {
  const deps = { ...parts, known: createKnownChannels(parts.clock) }
  app.post(MICROSOFT_WEBHOOK, {
    bodyLimit: BODY_BYTES_MAX,
    onRequest: async (request, reply) => {
      const gate = deps.gates.webhook()
      const { validationToken } = request.query as { validationToken?: string | string[] }
      // While the gate is closed a body is read all the same: what is signed in it has to be kept.
      if (gate.state === 'on' && validationToken !== undefined) return validate(reply, validationToken)
      if (gate.state === 'unknown' || validationToken !== undefined) {
        const admission = await admit(deps, 'microsoft', '')
        if (admission.kind === 'refused') return sendProblem(reply, admission.problem)
      }
    },
    onResponse: countAnswers('microsoft'),
    handler: (request, reply) =>
      inRequestSpan(request, reply, { [VENDOR]: 'microsoft' }, async () => {
        const answer = await handleBatch(deps, request.body)
        return answer === 'accepted' ? reply.code(202).send() : sendProblem(reply, answer)
      }),
  })
}

/**
 * Graph takes the answer for consent only if it is the decoded token as
 * plain text and nothing else.
 */
function validate(reply: FastifyReply, token: string | string[]): FastifyReply {
  if (typeof token !== 'string' || token === '' || token.length > VALIDATION_TOKEN_MAX) {
    return sendProblem(reply, badRequest('There is one validationToken of at most 2048 characters.'))
  }
  return reply.code(200).header('content-type', 'text/plain; charset=utf-8').send(token)
}

type BatchDeps = WebhookDeps & { readonly known: KnownChannels }

interface Judged {
  readonly item: MicrosoftItem
  readonly admission: Admission
}

async function handleBatch(deps: BatchDeps, body: unknown): Promise<'accepted' | ProblemDetails> {
  const batch = readMicrosoftBatch(body)
  if (batch.kind !== 'batch') {
    // A caller without a token learns only that the gate is closed.
    const admission = await admit(deps, 'microsoft', '')
    if (admission.kind === 'refused' && admission.problem.status !== 401) return admission.problem
    return batch.kind === 'malformed'
      ? badRequest('The body is no collection of change notifications.')
      : { status: 413, error: 'Payload too large', detail: `A batch has at most ${ITEMS_MAX} notifications.` }
  }
  const judged = await judgeEach(deps, batch.items)
  count(judged)
  noteRefused(deps, judged)
  const problems = judged.flatMap(({ admission }) => (admission.kind === 'refused' ? admission.problem : []))
  const trouble = problems.find(({ status }) => status === 503)
  if (trouble) return trouble
  if (!(await deps.notices.tell(noticesOf(judged)))) return NOT_DURABLE
  const admitted = judged.flatMap(({ item, admission }) =>
    admission.kind === 'admitted' ? [{ item, claims: admission.claims }] : [],
  )
  if (admitted.length === 0) return problems.find(({ status }) => status === 403) ?? UNAUTHORIZED
  return (await ringEach(deps, admitted)) ? 'accepted' : NOT_DURABLE
}

/**
 * A channel that never rings well is silent, and only the scheduler can do something about it: it
 * has to hear of it.
 */
function noteRefused({ notices }: BatchDeps, judged: readonly Judged[]): void {
  for (const { item, admission } of judged)
    if (outcomeOf(admission) === 'bad')
      notices.seen('microsoft', { id: item.subscriptionId, resourceId: '' }, null)
}

/** One decision per sender (a token, or the channel of those without any): a batch has few. */
async function judgeEach(deps: BatchDeps, items: readonly MicrosoftItem[]): Promise<readonly Judged[]> {
  const admissions = new Map<string, Promise<Admission>>()
  return Promise.all(
    items.map(async (item) => {
      const { clientState, isUnsigned, subscriptionId } = item
      const sender = `${isUnsigned} ${isUnsigned ? subscriptionId : clientState}`
      const admission = admissions.get(sender) ?? admitItem(deps, item)
      admissions.set(sender, admission)
      return { item, admission: await admission }
    }),
  )
}

function admitItem(
  deps: BatchDeps,
  { clientState, isUnsigned, subscriptionId }: MicrosoftItem,
): Promise<Admission> {
  const claims = isUnsigned ? deps.known.claimsOf(subscriptionId) : null
  return claims === null ? admit(deps, 'microsoft', clientState) : admitClaims(deps, claims)
}

/** What the scheduler has to do, also of connections whose gate is closed: Graph says it once. */
function noticesOf(judged: readonly Judged[]): readonly ChannelNotice[] {
  return judged.flatMap(({ item: { lifecycle, subscriptionId }, admission: { claims } }) => {
    const kind = lifecycle === null ? undefined : NOTICE_OF[lifecycle]
    if (kind === undefined || subscriptionId === '' || claims === null) return []
    const { connectionId } = claims
    return { vendor: 'microsoft' as const, channelId: subscriptionId, kind, connectionId, resourceId: null }
  })
}

/**
 * Rings once per delivery key, and once per calendar for items without.
 * @returns whether all of them are durable.
 */
async function ringEach(
  deps: BatchDeps,
  admitted: readonly { readonly item: MicrosoftItem; readonly claims: ChannelClaims }[],
): Promise<boolean> {
  const requests = new Map<string, SyncRequest>()
  for (const { item, claims } of admitted) {
    const { connectionId, calendarId } = claims
    const request = syncRequestOf('microsoft', claims, item.deliveryKey)
    requests.set(`${connectionId} ${item.deliveryKey ?? calendarId}`, request)
    if (!item.isUnsigned) deps.known.learn(item.subscriptionId, claims)
    // What is told for the last time makes no channel known.
    if (item.subscriptionId !== '' && item.lifecycle === null)
      deps.notices.seen('microsoft', { id: item.subscriptionId, resourceId: '' }, claims)
  }
  const answers = await Promise.all([...requests.values()].map((request) => deps.publisher.ring(request)))
  return answers.every((answer) => answer === 'durable')
}

function count(judged: readonly Judged[]): void {
  const outcomes = { good: 0, bad: 0, refused: 0 }
  for (const { admission } of judged) outcomes[outcomeOf(admission)] += 1
  for (const [outcome, found] of Object.entries(outcomes)) {
    if (found > 0) metrics.webhookItems.add(found, { vendor: 'microsoft', outcome })
  }
}

function outcomeOf(admission: Admission): 'good' | 'bad' | 'refused' {
  if (admission.kind === 'admitted') return 'good'
  return admission.problem.status === 401 ? 'bad' : 'refused'
}
