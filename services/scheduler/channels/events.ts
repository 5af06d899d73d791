// What happens to channels, as people see it: each moment is one call. Labels carry no ids.
import type { FailureCode } from '#shared/domain/failure.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { metrics } from '#shared/process/metrics.ts'
import type { UnwatchedCalendar } from '#shared/store/channels.ts'
import type { JobDeps } from '../deps.ts'

type Logs = Pick<JobDeps, 'logger'>

export function channelsExpired({ logger }: Logs, channels: number): void {
  metrics.channelsExpired.add(channels)
  logger.warn({ channels }, 'channels ended before others were open; their calendars were polled')
}

export function channelFailed({ logger }: Logs, calendar: UnwatchedCalendar, code: FailureCode): void {
  const { vendor, connectionId } = calendar
  metrics.channelFailures.add(1, { vendor, code })
  logger.info({ code, connectionId }, 'a channel could not be opened or renewed; tried again')
}

export function limitReached({ logger }: Logs, { vendor, connectionId }: UnwatchedCalendar): void {
  metrics.channelFailures.add(1, { vendor, code: 'limit-reached' })
  logger.info(
    { connectionId, vendor },
    'the vendor allows no further channel for this account; its calendars are polled, and it is asked again later',
  )
}

export function addressRefused({ logger, publicUrl }: JobDeps, vendor: VendorName): void {
  logger.warn(
    { vendor, code: 'vendor/callback-refused', address: publicUrl },
    'the vendor does not accept our webhook address, so no channel can be opened; calendars are polled. Check PUBLIC_URL',
  )
}

export function silentReplaced({ logger }: Logs, calendar: UnwatchedCalendar): void {
  const { vendor, connectionId, calendarId } = calendar
  metrics.channelsSilent.add(1, { vendor })
  logger.warn(
    { vendor, connectionId, calendarId },
    'a channel told nothing of changes that reads found; another was opened, and the calendar is polled until it rings',
  )
}
