// What every job that rings has from the one loop: rows are marked after their ring, not before.
import { expect, test } from 'vitest'
import { poll } from '../../../services/scheduler/ringing/poll-unwatched.ts'
import { reconcile } from '../../../services/scheduler/ringing/reconcile.ts'
import { createRingRefused } from '../../../services/scheduler/ringing/ring-refused.ts'
import { sweep } from '../../../services/scheduler/ringing/sweep.ts'
import { eventually } from '../../support/eventually.ts'
import { downWhile, openSchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal

test('what Kafka did not take stays due for every job that rings, and is rung once when Kafka is back', async () => {
  let isDown = true
  await using world = await openSchedulerWorld('ring pages', { around: downWhile(() => isDown) })
  const later = { reconcile_at: `calstream_now() + interval '1 hour'` }
  const longAgo = { updated_at: `calstream_now() - interval '1 hour'` }
  const [overdue, owing, due, refused, unwatched] = await world.connect(
    { ...later, ...longAgo, sync_needed: 'true' },
    later,
    { reconcile_at: `calstream_now() - interval '1 second'` },
    later,
    later,
  )
  const [owed] = await world.addCalendars(owing!, 'owed')
  await world.db.query(
    `update external_calendars set read_needed = true, updated_at = ${longAgo.updated_at} where id = $1`,
    [owed],
  )
  const [polled] = await world.addCalendars(unwatched!, 'polled')
  await world.db.query(
    `insert into held_requests (connection_id, gate) values ($1, 'CALENDAR_SYNC_ENABLED')`,
    [refused],
  )
  const ringRefused = createRingRefused(world.deps)
  const run = {
    sweep: () => sweep(world.deps, NEVER),
    reconcile: () => reconcile(world.deps, NEVER),
    poll: () => poll(world.deps, NEVER),
    held: () => ringRefused(NEVER),
  }
  for (const job of Object.values(run))
    await expect(job()).rejects.toMatchObject({ code: 'kafka/unavailable' })
  isDown = false
  const rings = { sweep: 2, reconcile: 1, poll: 1, held: 1 }
  for (const [name, job] of Object.entries(run)) {
    expect(await job(), name).toBe(rings[name as keyof typeof rings])
    expect(await job(), `${name} again`).toBe(0)
  }
  await eventually('all are rung', async () => (await world.rung()).length >= 5)
  const rung = (await world.rung()).map((ring) => `${ring.reason} ${ring.calendarId ?? ring.connectionId}`)
  const expected = [
    `sweep ${overdue}`,
    `sweep ${owed}`,
    `reconcile ${due}`,
    `reconcile ${polled}`,
    `held ${refused}`,
  ]
  expect(rung.toSorted()).toEqual(expected.toSorted())
})
