// The play vendors under other names than 127.0.0.1, as containers call them: links lead back to
// the name by which they were called, and callbacks to "this machine" reach the machine that is
// meant.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { openGraph } from '../support/graph-sdk.ts'
import { openSimulatedMicrosoft } from '../support/simulated-microsoft.ts'
import { startTestSimulator } from '../support/simulator.ts'
import { readOn } from '../support/vendor-world.ts'

const other = (url: string) => url.replace('127.0.0.1', 'localhost')

describe('Microsoft under another name', () => {
  test('is read page by page, and from its cursor, by an adapter that follows no link elsewhere', async () => {
    await using world = await openSimulatedMicrosoft({})
    await world.smallPages(5, false)
    const account = await world.account({ events: 12 })
    expect(other(world.origin)).not.toBe(world.origin)
    const vendor = world.vendorAt(other(world.origin))
    const first = await readOn(vendor, account, null)
    expect(first.pages.length).toBeGreaterThan(2)
    const id = await world.create(account)
    const next = await readOn(vendor, account, first.cursor)
    expect(next.items.map((item) => ('event' in item ? item.event.vendorEventId : null))).toContain(id)
    expect((await vendor.listCalendars(account.accessToken, new AbortController().signal)).length).toBe(
      account.calendars.length,
    )
  })

  test('by its first name its links lead to that (control)', async () => {
    await using world = await openSimulatedMicrosoft({})
    await world.smallPages(5, false)
    const account = await world.account({ events: 12 })
    expect((await readOn(world.vendor, account, null)).pages.length).toBeGreaterThan(2)
  })
})

describe('callbacks to this machine', () => {
  test('go to the machine that stands for it, from both vendors', async () => {
    const seen: string[] = []
    const receiver = createServer((request, response) => {
      seen.push(request.url ?? '')
      const token = new URL(request.url ?? '', 'http://receiver').searchParams.get('validationToken')
      response.writeHead(200, { 'content-type': 'text/plain' }).end(token ?? '')
    })
    // Another address than that which the callbacks name.
    receiver.listen(0, '127.0.0.2')
    await once(receiver, 'listening')
    const { port } = receiver.address() as AddressInfo
    try {
      await using google = await startTestSimulator({ loopbackHost: '127.0.0.2' })
      const account = await google.addAccount({ eventsPerCalendar: 1 })
      const sdk = await google.sdk(account)
      const address = `http://127.0.0.1:${port}/google`
      await sdk.events.watch({
        calendarId: account.calendars[0]?.id ?? '',
        requestBody: { id: 'channel-1', type: 'web_hook', address },
      })
      await eventually('Google calls', () => seen.includes('/google'))

      await using microsoft = await openGraph({ loopbackHost: '127.0.0.2' })
      const { graph } = microsoft.mailbox
      const calendar = microsoft.mailbox.calendar()
      await graph.api('/subscriptions').post({
        changeType: 'created,updated,deleted',
        notificationUrl: `http://127.0.0.1:${port}/graph?tenant=1`,
        resource: `${calendar.slice(1)}/events`,
        expirationDateTime: new Date(Date.now() + 3_600_000).toISOString(),
      })
      expect(seen.some((url) => url.startsWith('/graph?tenant=1&validationToken='))).toBe(true)
      await graph.api(`${calendar}/events`).post({
        subject: 'new',
        start: { dateTime: '2030-01-01T10:00:00', timeZone: 'UTC' },
        end: { dateTime: '2030-01-01T11:00:00', timeZone: 'UTC' },
      })
      await eventually('Microsoft calls', () => seen.includes('/graph?tenant=1'))
    } finally {
      receiver.close()
      receiver.closeAllConnections()
    }
  })
})
