// Google's notifications. Invariants: 2xx only once the sync request is durable in Kafka;
// everything is decided from headers, before a body is read.
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { readChannelId, readResourceId } from '#shared/domain/channel-ids.ts'
import type { ChannelClaims } from '#shared/domain/channel-token.ts'
import { VENDOR } from '#shared/process/semantic-names.ts'
import { webhookPath } from '#shared/vendors/our-addresses.ts'
import { inRequestSpan } from '../request-span.ts'
import { badRequest, sendProblem } from '../server.ts'
import { admit, countAnswers, NOT_DURABLE, syncRequestOf, type WebhookDeps } from './admit.ts'

export const GOOGLE_WEBHOOK = webhookPath('google')

/**
 * `POST /api/webhooks/calendar/google`: 202 once durable · 200 for the `sync` message that opens a
 * channel · 400 without its headers · 401 · 403 · 503.
 */
export function registerGoogleWebhook(app: FastifyInstance, deps: WebhookDeps): void {
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
    onResponse: countAnswers('google'),
    handler: async (request, reply) => {
      const notification = admitted.get(request)
      if (notification === undefined) throw new Error('A notification reached its handler without admission.')
      const { claims, message } = notification
      deps.notices.seen('google', message.channel, claims)
      // Says that the channel works; nothing has changed yet (the first message of every channel).
      if (message.state === 'sync') return reply.code(200).send()
      const syncRequest = syncRequestOf('google', claims, message.deliveryKey)
      return inRequestSpan(request, reply, { [VENDOR]: 'google' }, async () => {
        const commitment = await deps.publisher.ring(syncRequest)
        return commitment === 'durable' ? reply.code(202).send() : sendProblem(reply, NOT_DURABLE)
      })
    },
  })
}

interface GoogleMessage {
  /** `resourceId` '' where it is missing or strange: only stopping an unknown channel needs it. */
  readonly channel: { readonly id: string; readonly resourceId: string }
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
    channel: { id: channel, resourceId: readResourceId(headerOf(request, 'x-goog-resource-id')) },
    state,
    deliveryKey: `g:${channel}:${number}`,
  }
}

function headerOf(request: FastifyRequest, name: string): string {
  const value = request.headers[name]
  return typeof value === 'string' ? value : ''
}
