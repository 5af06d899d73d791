// Places that are dead and lists that never end, at both play vendors, over plain HTTP.
import { describe, expect, test } from 'vitest'
import { startTestSimulator } from '../support/simulator.ts'

interface Listed {
  readonly status: number
  readonly ids: readonly string[]
  /** The next page, as the vendor names it. */
  readonly next: string | null
  readonly end: string | null
}

const WINDOW = { from: '2026-01-01T00:00:00Z', to: '2027-12-31T00:00:00Z' }

async function open(vendor: 'google' | 'microsoft') {
  const simulator = await startTestSimulator()
  await simulator.admin('POST', '/admin/paging', { pageSizeMax: 4, shortPages: false, emptyPages: false })
  const account = await simulator.addAccount({ vendor, calendars: 2, eventsPerCalendar: 12 })
  const origin = vendor === 'google' ? simulator.googleUrl : simulator.microsoftUrl
  const [token, list] =
    vendor === 'google'
      ? [
          '/token',
          (id: string) =>
            `/calendar/v3/calendars/${id}/events?singleEvents=true&timeMin=${WINDOW.from}&timeMax=${WINDOW.to}`,
        ]
      : [
          '/common/oauth2/v2.0/token',
          (id: string) =>
            `/v1.0/me/calendars/${id}/calendarView/delta?startDateTime=${WINDOW.from}&endDateTime=${WINDOW.to}`,
        ]
  const granted = await fetch(new URL(token, origin), {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: account.clientId,
      client_secret: account.clientSecret,
      refresh_token: account.refreshToken,
    }),
  })
  const { access_token: bearer } = (await granted.json()) as { access_token: string }
  const first = (index = 0) => new URL(list(encodeURIComponent(account.calendars[index]!.id)), origin).href

  async function get(url: string, items = 4): Promise<Listed> {
    const asked = new URL(url)
    if (vendor === 'google') asked.searchParams.set('maxResults', String(items))
    const response = await fetch(vendor === 'google' ? asked : url, {
      headers: {
        authorization: `Bearer ${bearer}`,
        prefer: `odata.maxpagesize=${items}, IdType="ImmutableId"`,
      },
    })
    const body = (await response.json()) as Record<string, unknown>
    const rows = (body['items'] ?? body['value'] ?? []) as { id: string }[]
    const pageToken = body['nextPageToken']
    const next =
      typeof pageToken === 'string'
        ? `${first()}&pageToken=${encodeURIComponent(pageToken)}`
        : body['@odata.nextLink']
    const end = body['nextSyncToken'] ?? body['@odata.deltaLink']
    return {
      status: response.status,
      ids: rows.map(({ id }) => id),
      next: typeof next === 'string' ? next : null,
      end: typeof end === 'string' ? end : null,
    }
  }

  const fault = (spec: object) => simulator.admin('POST', '/admin/faults', spec)
  return {
    simulator,
    account,
    first,
    get,
    fault,
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  }
}

describe.each(['google', 'microsoft'] as const)('%s', (vendor) => {
  test('has one dead place: its other pages, its other calendar and another size of page are well', async () => {
    await using world = await open(vendor)
    await world.fault({
      match: { operation: 'list', hasPageToken: true, accountId: world.account.accountId },
      onePlace: true,
      respond: { status: 503 },
    })
    const { next } = await world.get(world.first())
    for (let n = 0; n < 3; n += 1) expect((await world.get(next!)).status).toBe(503)
    expect((await world.get(world.first())).status).toBe(200)
    // Another size leads to other places.
    const smaller = await world.get(world.first(), 3)
    const second = await world.get(smaller.next!, 3)
    expect(second.status).toBe(200)
    // The other calendar has a dead place of its own.
    const other = await world.get(world.first(1))
    expect(other.status).toBe(200)
    await expect(world.simulator.admin('GET', '/admin/faults')).resolves.toMatchObject({
      faults: [{ hits: 3 }],
    })
  })

  test.each(['repeating', 'empty', 'renaming'] as const)(
    'has a list that goes on %s for ever',
    async (goesOn) => {
      await using world = await open(vendor)
      await world.fault({
        match: { operation: 'list', calendarId: world.account.calendars[0]!.id, itemsAtMost: 4 },
        goesOn,
      })
      const pages = [await world.get(world.first())]
      while (pages.length < 12) pages.push(await world.get(pages.at(-1)!.next!))
      expect(new Set(pages.map(({ next }) => next)).size).toBe(12)
      expect(pages.every(({ status, end }) => status === 200 && end === null)).toBe(true)
      const [first, ...others] = pages.map(({ ids }) => ids.join(' '))
      const kinds = new Set(others)
      if (goesOn === 'repeating') expect(kinds).toEqual(new Set([first]))
      else if (goesOn === 'empty') expect(kinds).toEqual(new Set(['']))
      else expect(kinds.size).toBe(11)
      // Where more is asked for at once, it ends; and so do the lists of the other calendar.
      let well = await world.get(world.first(), 5)
      while (well.next !== null) well = await world.get(well.next, 5)
      expect(well.end).not.toBeNull()
      let other = await world.get(world.first(1))
      expect(other.ids).toHaveLength(4)
      while (vendor === 'microsoft' && other.next !== null) other = await world.get(other.next)
      expect(vendor === 'google' || other.end !== null).toBe(true)
    },
  )
})
