// The play vendor comes to rest before the stack stops: the load ends, and what was under way
// arrives. A vendor that cannot come to rest holds nobody up.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { comeToRest } from '../../infra/demo/rest.ts'
import { simulatorAdmin } from '../../infra/oracle/simulator-admin.ts'
import { eventually } from '../support/eventually.ts'
import { startTestSimulator } from '../support/simulator.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const signal = AbortSignal.timeout(60_000)

test('every change of a load that is cut off is told, and nothing changes any more', async () => {
  await using vendor = await startTestSimulator()
  await using receiver = await startWebhookReceiver()
  const account = await vendor.addAccount({ calendars: [{}], eventsPerCalendar: 5 })
  const sdk = await vendor.sdk(account)
  const requestBody = { id: randomUUID(), type: 'web_hook', address: receiver.url }
  await sdk.events.watch({ calendarId: 'primary', requestBody })
  await vendor.admin('POST', '/admin/notifications', { delayMs: 500 })
  const admin = simulatorAdmin(vendor.adminUrl, signal)
  const before = await admin.latestSeq()
  await admin.startLoad({ changesPerSecond: 50, durationMs: 60_000, accountIds: [account.accountId] })
  await eventually('a load that runs', async () => (await admin.latestSeq()) > before)

  expect(await comeToRest(admin, signal)).toBe(true)

  const changes = await admin.changesAfter(before)
  expect(changes.length).toBeGreaterThan(0)
  const told = receiver.received.filter(({ headers }) => headers['x-goog-resource-state'] === 'exists')
  expect(told).toHaveLength(changes.length)
  expect(await admin.pendingNotifications()).toBe(0)
})

test('a vendor that holds notifications back, or does not answer, is left when the time is over', async () => {
  await using vendor = await startTestSimulator()
  await using receiver = await startWebhookReceiver()
  const account = await vendor.addAccount({ calendars: [{}], eventsPerCalendar: 5 })
  const sdk = await vendor.sdk(account)
  await sdk.events.watch({
    calendarId: 'primary',
    requestBody: { id: randomUUID(), type: 'web_hook', address: receiver.url },
  })
  await vendor.admin('POST', '/admin/notifications', { paused: true })
  await vendor.admin('POST', '/admin/events/change', { count: 3 })
  const soon = AbortSignal.timeout(200)
  expect(await comeToRest(simulatorAdmin(vendor.adminUrl, soon), soon)).toBe(false)
  const nobody = simulatorAdmin('http://127.0.0.1:1', AbortSignal.timeout(200))
  expect(await comeToRest(nobody, AbortSignal.timeout(200))).toBe(false)
})
