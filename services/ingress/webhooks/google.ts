// Google's notifications. Invariants: 2xx only once the ring is durable in Kafka; everything is
// decided from headers, before a body is read.
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { readChannelId, readResourceId } from '#shared/domain/channel-ids.ts'
import type { ChannelClaims } from '#shared/domain/channel-token.ts'
import { metrics } from '#shared/process/metrics.ts'
import { inSpan } from '#shared/process/telemetry.ts'
import { badRequest, sendProblem } from '../server.ts'
import { admit, NOT_DURABLE, type WebhookDeps } from './admit.ts'
import type { ChannelNotices } from './channel-notices.ts'

export const GOOGLE_WEBHOOK = '/api/webhooks/calendar/google'

/**
 * `POST /api/webhooks/calendar/google`: 202 once durable · 200 for the `sync` message that opens a
 * channel · 400 without its headers · 401 · 403 · 503.
 */
export function registerGoogleWebhook(
  app: FastifyInstance,
  deps: WebhookDeps & { readonly notices: Pick<ChannelNotices, 'seen'> },
): void {
  const admitted = new WeakMap<FastifyRequest, { claims: ChannelClaims; message: GoogleMessage }>()
  app.post(GOOGLE_WEBHOOK, {
    onRequest: async (request, reply) => {
      const admission = await admit(deps, 'google', headerOf(request, 'x-goog-channel-token'))
      if (admission.kind === 'refused') {
        const id = readChannelId('google', headerOf(request, 'x-goog-channel-id'))
        if (admission.problem.status === 401) deps.notices.seen('google', { id, resourceId: '' }, null)
        return sendProblem(reply, admission.problem)
      }
      const message = googleMessage(request)
      if (message === null)
        return sendProblem(reply, badRequest('The X-Goog-* headers are missing or malformed.'))
      admitted.set(request, { claims: admission.claims, message })
    },
    onResponse: async (_request, reply) => {
      const labels = { vendor: 'google', outcome: String(reply.statusCode) }
      metrics.webhooks.add(1, labels)
      metrics.webhookSeconds.record(reply.elapsedTime / 1000, labels)
    },
    handler: async (request, reply) => {
      const notification = admitted.get(request)
      if (notification === undefined) throw new Error('A notification reached its handler without admission.')
      const { claims, message } = notification
      deps.notices.seen('google', { id: message.channelId, resourceId: message.resourceId }, claims)
      // Says that the channel works; nothing has changed yet (the first message of every channel).
      if (message.state === 'sync') return reply.code(200).send()
      const ring = {
        ...claims,
        vendor: 'google',
        reason: 'webhook',
        deliveryKey: message.deliveryKey,
        asOf: null,
      } as const
      const commitment = await inSpan(
        'notification',
        { kind: 'server', attributes: { vendor: 'google' } },
        () => deps.publisher.ring(ring),
      )
      return commitment === 'durable' ? reply.code(202).send() : sendProblem(reply, NOT_DURABLE)
    },
  })
}

interface GoogleMessage {
  readonly channelId: string
  /** '' where it is missing or strange: nothing but stopping an unknown channel needs it. */
  readonly resourceId: string
  readonly state: string
  readonly deliveryKey: string
}

/** "Integer that identifies this message"; 1 for sync, increasing, with gaps. */
const MESSAGE_NUMBER = /^[1-9]\d{0,18}$/
/** Known: sync, exists, not_exists. An unknown one is a reason to pull like any other. */
const RESOURCE_STATE = /^[A-Za-z_-]{1,32}$/

function googleMessage(request: FastifyRequest): GoogleMessage | null {
  const channel = readChannelId('google', headerOf(request, 'x-goog-channel-id'))
  const number = headerOf(request, 'x-goog-message-number')
  const state = headerOf(request, 'x-goog-resource-state')
  if (channel === '' || !MESSAGE_NUMBER.test(number) || !RESOURCE_STATE.test(state)) return null
  return {
    channelId: channel,
    resourceId: readResourceId(headerOf(request, 'x-goog-resource-id')),
    state,
    deliveryKey: `g:${channel}:${number}`,
  }
}

function headerOf(request: FastifyRequest, name: string): string {
  const value = request.headers[name]
  return typeof value === 'string' ? value : ''
}
