// A vendor at the edge that only knows channels, calendars and grants, and obeys: what a test
// tells it to answer, it answers. It keeps the channels that are open at its side, so that orphans
// and double openings show.
import { randomUUID } from 'node:crypto'
import type { VendorName } from '#shared/domain/ids.ts'
import type { VendorCalendar } from '#shared/domain/calendar.ts'
import type { Clock } from '#shared/process/clock.ts'
import type { ChannelRequest, OpenedChannel, RenewedChannel, Vendor } from '#shared/vendors/vendor.ts'

export const DAY_MICROS = 24 * 3600 * 1_000_000

export interface ChannelVendor extends Vendor {
  readonly opened: ChannelRequest[]
  readonly renewed: string[]
  readonly stopped: string[]
  readonly revoked: string[]
  /** Channels that are open at the vendor, with their calendars. */
  readonly open: Map<string, string>
  /** What is thrown or answered instead; by call, with the calendar's or channel's id. */
  answers: {
    open?: (request: ChannelRequest) => OpenedChannel | undefined
    renew?: (channelId: string) => RenewedChannel | undefined
    stop?: (channelId: string) => void
    revoke?: (refreshToken: string) => void | Promise<unknown>
    list?: () => readonly VendorCalendar[]
  }
}

/**
 * One that behaves as Google (takes our ids, never renews) or as Graph (has its own ids, renews).
 */
export function channelVendor(name: VendorName, clock: Clock): ChannelVendor {
  const open = new Map<string, string>()
  const lifeEnd = () => clock.now() + 7 * DAY_MICROS
  const unasked = async (): Promise<never> => {
    throw new Error('not asked in these tests')
  }
  const vendor: ChannelVendor = {
    name,
    opened: [],
    renewed: [],
    stopped: [],
    revoked: [],
    open,
    answers: {},
    consentUrl: () => 'https://vendor.example/consent',
    exchangeCode: unasked,
    account: unasked,
    fetchPage: unasked,
    lookUp: unasked,
    refresh: unasked,
    async openChannel(_token, request) {
      vendor.opened.push(request)
      const answer = vendor.answers.open?.(request) ?? {
        kind: 'opened',
        channelId: name === 'google' ? request.channelId : randomUUID(),
        resourceId: name === 'google' ? `resource-of-${request.vendorCalendarId.replaceAll(' ', '-')}` : null,
        expiresAt: lifeEnd(),
      }
      if (answer.kind === 'opened') open.set(answer.channelId, request.vendorCalendarId)
      return answer
    },
    async renewChannel(_token, { channelId }) {
      if (name === 'google') return { kind: 'gone' }
      vendor.renewed.push(channelId)
      return vendor.answers.renew?.(channelId) ?? { kind: 'renewed', expiresAt: lifeEnd() }
    },
    async stopChannel(_token, { channelId }) {
      vendor.stopped.push(channelId)
      vendor.answers.stop?.(channelId)
      open.delete(channelId)
    },
    async revoke(refreshToken) {
      vendor.revoked.push(refreshToken)
      await vendor.answers.revoke?.(refreshToken)
    },
    listCalendars: async () => vendor.answers.list?.() ?? [],
  }
  return vendor
}
