// Channels that cost more than they bring: beyond a limit of the vendor, and silent ones.
import { describe, expect, test } from 'vitest'
import { SILENT_FINDS } from '#shared/store/channels.ts'
import { maintainChannels } from '../../../services/scheduler/channels/maintain.ts'
import { openChannelWorld, type SchedulerWorld } from '../../support/scheduler-world.ts'

const NEVER = new AbortController().signal
const MINUTE = 60_000
const HOUR = 60 * MINUTE

const open = (label: string) => openChannelWorld('google', label)
const maintain = (world: SchedulerWorld) => maintainChannels(world.deps, NEVER)

describe('channels', () => {
  test('beyond a limit that the vendor names are asked for ever more rarely, by one calendar of the account, and polled', async () => {
    const [world, vendor] = await open('channels limit')
    await using _world = world
    const [id, other] = await world.connect({}, {})
    await world.addCalendars(id!, 'a', 'b', 'c')
    await world.addCalendars(other!, 'd')
    vendor.answers.open = ({ vendorCalendarId }) =>
      vendorCalendarId === 'd' ? undefined : { kind: 'limit-reached' }
    for (let hour = 0; hour < 7 * 24; hour += 1) {
      await maintain(world)
      await world.advance(HOUR)
    }
    expect(await world.channels()).toEqual(['d open'])
    const asked = vendor.opened.filter(({ vendorCalendarId }) => vendorCalendarId !== 'd').length
    // 1, 2, 4, 8, 16 and then 24 hours, each ± a quarter, for three calendars.
    expect(asked).toBeGreaterThanOrEqual(3)
    expect(asked).toBeLessThan(3 * 14)
    vendor.answers = {}
    await world.advance(30 * HOUR)
    await maintain(world)
    expect(await world.channels()).toEqual(['a open', 'b open', 'c open', 'd open'])
  })

  test('that are silent while reads find changes are replaced, four times a day at most, and count as silent until they ring', async () => {
    const [world, vendor] = await open('channels silent')
    await using _world = world
    const [id] = await world.connect({})
    await world.addCalendars(id!, 'a', 'b')
    await maintain(world)
    const found = (times: number) =>
      world.db.query(`update external_calendars set unrung_finds = $1 where vendor_calendar_id = 'a'`, [
        times,
      ])
    await found(SILENT_FINDS - 1)
    await world.advance(7 * HOUR)
    expect(await maintain(world)).toBe(0)
    await found(SILENT_FINDS)
    expect(await maintain(world)).toBe(1)
    expect(vendor.opened.slice(2).map(({ vendorCalendarId }) => vendorCalendarId)).toEqual(['a'])
    const { rows } = await world.db.query(
      `select unrung_finds from external_calendars where vendor_calendar_id = 'a'`,
    )
    expect(rows).toEqual([{ unrung_finds: SILENT_FINDS - 1 }])
    await found(SILENT_FINDS)
    await world.advance(5 * HOUR)
    expect(await maintain(world)).toBe(0)
    await world.advance(HOUR + MINUTE)
    expect(await maintain(world)).toBe(1)
  })
})
