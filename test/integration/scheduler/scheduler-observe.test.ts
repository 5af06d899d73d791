// What the scheduler reports about everybody:
// connections by state, and how far the consumers are behind.
import { expect, test } from 'vitest'
import { eventually } from '../../support/eventually.ts'
import { openWorld } from '../../support/world.ts'

test('lag and dirty connections are reported while no sync runs, and are gone once one does', async () => {
  await using world = await openWorld({ label: 'observe' })
  const [scheduler] = await Promise.all([world.start('scheduler'), world.start('relay')])
  await world.connect({ calendars: 1, eventsPerCalendar: 5 })
  const lag = () => world.metric(scheduler, 'calendar_sync_lag', 'topic="calendar.sync.requested.google.v1"')
  const dirty = () => world.metric(scheduler, 'calendar_sync_connections', 'state="sync_needed"')
  await eventually('the lag to show', async () => (await lag()) > 0, 60_000)
  await eventually('the dirty connection to show', async () => (await dirty()) === 1, 60_000)
  await world.start('sync')
  await eventually('the connection to be clean', async () => (await dirty()) === 0, 60_000)
  expect(await world.metric(scheduler, 'calendar_sync_connections', 'state="active"')).toBe(1)
})
