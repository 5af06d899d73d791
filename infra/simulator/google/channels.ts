// events.watch and channels.stop, with the validations and errors of
// https://developers.google.com/workspace/calendar/api/guides/push. A channel's id is never free
// again, not even after a stop.
import { addressAllowed } from '../callback.ts'
import { type Answer, type Call, readObject } from '../http.ts'
import type { Knobs } from '../control/knobs.ts'
import { digest } from '../random.ts'
import type { Calendar } from '../world/calendar.ts'
import type { Account, ChannelInfo } from '../world/entries.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'
import type { Push } from './push.ts'

const DEFAULT_LIFE_SECONDS = 604_800
/** How long an answer to watch waits for the `sync` message that goes out before it. */
const SYNC_FIRST_MS = 2_000
/** How long after the answer the `sync` message otherwise goes out. */
const SYNC_AFTER_MS = 20

export interface WatchDeps {
  readonly world: World
  readonly push: Push
  readonly knobs: Knobs
  readonly seed: string
  readonly googleUrl: () => string
  /** Real Google takes https only; a local stack has no certificate. */
  readonly allowHttpCallbacks: boolean
}

/** POST …/events/watch. */
export async function watch(
  deps: WatchDeps,
  account: Account,
  calendar: Calendar,
  call: Call,
): Promise<Answer> {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  const problem = refuse(deps, calendar, body)
  if (problem) return problem
  const path = `/calendar/v3/calendars/${encodeURIComponent(calendar.id)}/events?alt=json`
  const channel: ChannelInfo = {
    id: String(body['id']),
    accountId: account.id,
    calendarId: calendar.id,
    resourceId: digest(`${deps.seed}/${account.id}/${calendar.id}/resource`, 27),
    resourceUri: `${deps.googleUrl()}${path}`,
    address: String(body['address']),
    token: typeof body['token'] === 'string' ? body['token'] : null,
    expiresAt: expiryOf(body, deps.world.now(), deps.knobs.channels.lifeSecondsMax),
  }
  deps.world.addChannel(channel)
  const afterMs = deps.knobs.latencyMs / 2 + SYNC_AFTER_MS
  await deps.push.sync(channel, { withinMs: SYNC_FIRST_MS, afterMs })
  return {
    status: 200,
    body: {
      kind: 'api#channel',
      id: channel.id,
      resourceId: channel.resourceId,
      resourceUri: channel.resourceUri,
      ...(channel.token === null ? {} : { token: channel.token }),
      // int64, so a string on the wire.
      ...(deps.knobs.channels.tellsEnd ? { expiration: String(channel.expiresAt) } : {}),
    },
  }
}

/**
 * POST /channels/stop: only the same user may, and only with the resource id that watch answered.
 */
export function stop({ world, knobs }: WatchDeps, account: Account, call: Call): Answer {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  const { id, resourceId } = body
  if (typeof id !== 'string') return googleError('required', { parameter: 'id' })
  if (typeof resourceId !== 'string') return googleError('required', { parameter: 'resourceId' })
  const channel = world.channels.get(id)
  if (channel && channel.accountId !== account.id && knobs.channels.foreignStop === 403)
    return googleError('forbidden')
  const mine = channel?.accountId === account.id && channel.resourceId === resourceId
  if (!channel || !mine || !world.isOpen(channel)) {
    return googleError('notFound', { message: `Channel '${id}' not found for project '1'` })
  }
  // Until it takes effect messages go on, and stopping once more succeeds once more.
  world.stopChannel(id, knobs.channels.stopDelayMs)
  return { status: 204 }
}

function refuse(deps: WatchDeps, calendar: Calendar, body: Readonly<Record<string, unknown>>): Answer | null {
  const { id, type, address, token } = body
  if (typeof id !== 'string' || id === '') return googleError('required', { parameter: 'id' })
  if (!/^[A-Za-z0-9\-_+/=]{1,64}$/.test(id)) {
    return googleError('invalid', { parameter: 'id', message: 'Invalid channel id.' })
  }
  if (type !== 'web_hook' && type !== 'webhook') return googleError('push.channelTypeNotSupported')
  if (typeof address !== 'string' || address === '') return googleError('required', { parameter: 'address' })
  if (!addressAllowed(address, deps.allowHttpCallbacks)) {
    return googleError('push.webhookUrlNotHttps', { message: `WebHook callback must be HTTPS: ${address}` })
  }
  if (typeof token === 'string' && token.length > 256) {
    return googleError('invalid', {
      parameter: 'token',
      message: 'Channel token is longer than 256 characters.',
    })
  }
  if (!calendar.pushSupported) return googleError('pushNotSupportedForRequestedResource')
  if (deps.world.usedChannelIds.has(id)) {
    return googleError('channelIdNotUnique', { message: `Channel id ${id} not unique` })
  }
  return null
}

/** The most restrictive of what was asked for and Google's own limit. */
function expiryOf(body: Readonly<Record<string, unknown>>, now: number, lifeMax: number): number {
  const params = body['params'] as { ttl?: unknown } | undefined
  const ttl = Number(params?.ttl ?? DEFAULT_LIFE_SECONDS)
  const asked = body['expiration'] === undefined ? Infinity : Number(body['expiration'])
  const life =
    Number.isFinite(ttl) && ttl > 0 ? Math.min(ttl, lifeMax) : Math.min(DEFAULT_LIFE_SECONDS, lifeMax)
  // Google counts in whole seconds.
  return Math.floor(Math.min(now + life * 1000, Number.isNaN(asked) ? Infinity : asked) / 1000) * 1000
}
