// Pages of Microsoft's changes, from literal answers over real HTTP: what is asked for, that series
// come whole, that "removed" is looked into, and that no link leads out.
import { describe, expect, test } from 'vitest'
import { failureOf, json, NOW, signal, type Answer } from '../../../../support/answering-google.ts'
import {
  DELTA,
  EVENT,
  eventPath,
  FULL,
  master,
  microsoft,
  occurrence,
  page,
  problem,
  readAll,
  removed,
  routes,
  shown,
} from '../../../../support/answering-microsoft.ts'
import { everythingIn } from '../../../../support/vendor-world.ts'

const young = new Date(NOW / 1000 - 1000).toISOString()

describe('a page of changes', () => {
  test('is asked for as Graph documents it: the window on a first page only, the token in a header only', async () => {
    const { vendor, seen, url } = await microsoft(
      routes({ [DELTA]: [page([], { more: 'a%2Fb+c=' }), page([])] }),
    )
    const pages = await readAll(vendor)
    expect(pages.at(-1)?.next).toEqual({ kind: 'end', cursor: `${url}${DELTA}?$deltatoken=d1` })
    expect(Object.fromEntries(seen[0]!.url.searchParams)).toEqual({
      startDateTime: '2026-10-21T12:00:00.000Z',
      endDateTime: '2027-11-20T12:00:00.000Z',
    })
    expect(seen[1]!.url.search).toBe('?$skiptoken=a%2Fb+c=')
    for (const { headers, url: asked } of seen) {
      expect(headers.authorization).toBe('Bearer token')
      expect(headers.prefer).toBe(
        'odata.maxpagesize=200, outlook.timezone="UTC", IdType="ImmutableId", outlook.body-content-type="text"',
      )
      expect(asked.href).not.toContain('token=token')
    }
  })

  test('of changes since a cursor follows its link as it is', async () => {
    const { vendor, seen, url } = await microsoft(routes({ [DELTA]: page([EVENT]) }))
    const cursor = `${url}${DELTA}?$deltatoken=x%2By&x=1&x=2`
    const [first] = await readAll(vendor, { ...FULL, cursor })
    expect(`${seen[0]!.url.pathname}${seen[0]!.url.search}`).toBe(`${DELTA}?$deltatoken=x%2By&x=1&x=2`)
    expect(shown(first!.items)).toEqual(['e1 lunch', 'e1: '])
  })

  test('keeps the path of the configured address', async () => {
    const { vendor, seen } = await microsoft(routes({ [`/graph${DELTA}`]: json({ value: [] }) }), {
      prefix: '/graph',
    })
    expect((await failureOf(vendor.fetchPage('token', FULL, signal))).code).toBe('vendor/unreadable-answer')
    expect(seen[0]!.url.pathname).toBe(`/graph${DELTA}`)
  })

  test('leaves out what cannot be read, and says what', async () => {
    const { vendor } = await microsoft(
      routes({
        [DELTA]: page([7, { ...EVENT, id: 'bad', start: null }, { ...EVENT, id: 'a'.repeat(3000) }, EVENT]),
      }),
    )
    const [first] = await readAll(vendor)
    expect(shown(first!.items)).toEqual(['e1 lunch'])
    expect(first!.unreadable.map(({ vendorEventId }) => vendorEventId)).toEqual([null, 'bad', null])
  })
})

describe('links', () => {
  test.each([
    ['another host', 'http://evil.example/v1.0/me/calendars/delta?$skiptoken=1'],
    ['another port', 'http://127.0.0.1:1/v1.0/x'],
    ['another scheme', 'https://127.0.0.1/v1.0/x'],
    ['a path outside of the API', '{origin}/beta/me/calendars'],
    ['a path that climbs out', '{origin}/v1.0/../beta/me'],
    ['a user in it', 'http://u:p@{host}/v1.0/me'],
    ['no address', 'v1.0/me/calendars'],
    ['a control character', '{origin}/v1.0/me\u0000'],
    ['200 kB', `{origin}/v1.0/${'a'.repeat(200_000)}`],
  ])('a next page at %s is refused and not followed', async (_what, link) => {
    for (const name of ['@odata.nextLink', '@odata.deltaLink']) {
      const { vendor, seen } = await microsoft((response, asked) => {
        const host = String(asked.headers['host'])
        const filled = link.replace('{origin}', `http://${host}`).replace('{host}', host)
        json({ value: [], [name]: filled })(response, asked)
      })
      expect((await failureOf(vendor.fetchPage('token', FULL, signal))).code).toBe('vendor/unreadable-answer')
      expect(seen).toHaveLength(1)
    }
  })

  test('a page that names itself as the next is refused', async () => {
    const { vendor } = await microsoft(routes({ [DELTA]: page([], { more: 'same' }) }))
    expect((await failureOf(readAll(vendor))).code).toBe('vendor/no-progress')
  })

  test.each([
    ['made-up'],
    ['https://graph.microsoft.com/v1.0/me/calendars/c/calendarView/delta?$deltatoken=1'],
    ['http://169.254.169.254/v1.0/latest'],
  ])('a stored cursor %s is discarded like an old one, without a call', async (cursor) => {
    const { vendor, seen } = await microsoft(page([]))
    expect(await vendor.fetchPage('token', { ...FULL, cursor }, signal)).toEqual({ kind: 'cursor-expired' })
    expect(await vendor.fetchPage('token', { ...FULL, pageToken: cursor }, signal)).toEqual({
      kind: 'cursor-expired',
    })
    const place = JSON.stringify({ link: cursor, details: null, seen: [] })
    expect(await vendor.fetchPage('token', { ...FULL, pageToken: place }, signal)).toEqual({
      kind: 'cursor-expired',
    })
    expect(seen).toEqual([])
  })
})

describe('a cursor', () => {
  const since = (url: string) => ({ ...FULL, cursor: `${url}${DELTA}?$deltatoken=old` })

  test.each([
    ['410 SyncStateNotFound', problem(410, 'SyncStateNotFound', 'The sync state generation is not found')],
    ['410 resyncRequired', problem(410, 'resyncRequired')],
    ['400 SyncStateInvalid', problem(400, 'SyncStateInvalid')],
    ['404 syncStateNotFound', problem(404, 'syncStateNotFound')],
    ['400 about the token', problem(400, 'BadRequest', 'Badly formed token.')],
  ])('answered %s is a value', async (_what, answer) => {
    const { vendor, seen, url } = await microsoft(answer)
    expect(await vendor.fetchPage('token', since(url), signal)).toEqual({ kind: 'cursor-expired' })
    expect(seen).toHaveLength(1)
  })

  test.each([
    ['404 about the calendar', problem(404, 'ErrorItemNotFound'), 'vendor/calendar-gone'],
    [
      '400 about something else',
      problem(400, 'ErrorInvalidIdMalformed', 'Id is malformed.'),
      'vendor/rejected',
    ],
  ] as const)('answered %s is not', async (_what, answer, code) => {
    const { vendor, url } = await microsoft(answer)
    expect((await failureOf(vendor.fetchPage('token', since(url), signal))).code).toBe(code)
  })

  test('expires with any 410, whoever wrote its body', async () => {
    const { vendor, url } = await microsoft((response) => response.writeHead(410).end('<html>'))
    expect(await vendor.fetchPage('token', since(url), signal)).toEqual({ kind: 'cursor-expired' })
  })

  test('does not expire where none was sent', async () => {
    const { vendor } = await microsoft(problem(410, 'SyncStateNotFound'))
    expect((await failureOf(vendor.fetchPage('token', FULL, signal))).code).toBe('vendor/rejected')
  })
})

describe('a series', () => {
  test('is read whole from its instances, once for all its bare occurrences on all pages', async () => {
    const whole = [1, 2, 3, 4].map((no) => occurrence('s', no))
    const { vendor, seen } = await microsoft(
      routes({
        [DELTA]: [
          page([master('s'), occurrence('s', 1, null), occurrence('s', 2, null)], { more: 'p2' }),
          page([occurrence('s', 3, null), occurrence('s', 4, null), EVENT]),
        ],
        [`${eventPath('s')}/instances`]: json({ value: whole }),
      }),
    )
    const pages = await readAll(vendor)
    expect(pages.flatMap(({ items }) => shown(items))).toEqual([
      's_1 of s',
      's_2 of s',
      's_3 of s',
      's_4 of s',
      's: s_1 s_2 s_3 s_4',
      'e1 lunch',
    ])
    const asked = seen.filter(({ url }) => url.pathname.endsWith('/instances'))
    expect(asked).toHaveLength(1)
    expect(asked[0]!.url.searchParams.get('startDateTime')).toBe('2026-10-21T12:00:00.000Z')
    expect(asked[0]!.url.searchParams.get('$select')).toContain('subject')
  })

  test('of which the master alone changed brings all its occurrences anew', async () => {
    const { vendor, url } = await microsoft(
      routes({
        [DELTA]: page([master('s')]),
        [`${eventPath('s')}/instances`]: json({ value: [occurrence('s', 1, { subject: 'renamed' })] }),
      }),
    )
    const pages = await readAll(vendor, { ...FULL, cursor: `${url}${DELTA}?$deltatoken=1` })
    expect(pages.flatMap(({ items }) => shown(items))).toEqual(['s_1 renamed', 's: s_1'])
  })

  test('in another version later in the run is read again', async () => {
    const changed = { ...occurrence('s', 2, null), '@odata.etag': 'W/"s2"' }
    const { vendor, seen } = await microsoft(
      routes({
        [DELTA]: [page([occurrence('s', 1, null)], { more: 'p2' }), page([changed])],
        [`${eventPath('s')}/instances`]: json({ value: [occurrence('s', 1)] }),
      }),
    )
    await readAll(vendor)
    expect(seen.filter(({ url }) => url.pathname.endsWith('/instances'))).toHaveLength(2)
  })

  test('follows the pages of its instances, and ends', async () => {
    const more =
      (no: number): Answer =>
      (response, asked) => {
        const link = `http://${String(asked.headers['host'])}${eventPath('s')}/instances?$skip=${no}`
        json({ value: [occurrence('s', no)], ...(no < 3 ? { '@odata.nextLink': link } : {}) })(
          response,
          asked,
        )
      }
    const { vendor } = await microsoft(
      routes({ [DELTA]: page([master('s')]), [`${eventPath('s')}/instances`]: [more(1), more(2), more(3)] }),
    )
    const pages = await readAll(vendor)
    expect(pages.flatMap(({ items }) => shown(items)).at(-1)).toBe('s: s_1 s_2 s_3')

    // Each page has another occurrence, so it is only their number that ends it.
    let no = 0
    const endless = await microsoft(
      routes({
        [DELTA]: page([master('s')]),
        [`${eventPath('s')}/instances`]: (response, asked) => {
          no += 1
          const link = `http://${String(asked.headers['host'])}${eventPath('s')}/instances?$skip=${no}`
          const one = { ...occurrence('s', 1), id: `s_${no}` }
          json({ value: [one], '@odata.nextLink': link })(response, asked)
        },
      }),
    )
    expect((await failureOf(readAll(endless.vendor))).code).toBe('vendor/unreadable-answer')
    expect(endless.seen.length).toBeLessThan(70)
  })

  test('keeps occurrences that cannot be read, and removes cancelled ones', async () => {
    const { vendor } = await microsoft(
      routes({
        [DELTA]: page([master('s')]),
        [`${eventPath('s')}/instances`]: json({
          value: [
            occurrence('s', 1),
            { ...occurrence('s', 2), start: null },
            occurrence('s', 3, { isCancelled: true }),
          ],
        }),
      }),
    )
    const pages = await readAll(vendor)
    expect(pages.flatMap(({ items }) => shown(items))).toEqual(['s_1 of s', 's_3 cancelled', 's: s_1 s_2'])
    expect(pages.flatMap(({ unreadable }) => unreadable)).toMatchObject([{ vendorEventId: 's_2' }])
  })

  test('that changed a moment ago is not read in an older state', async () => {
    const old = '2026-11-01T00:00:00Z'
    const answers = (masterAt: string, ...occurrencesAt: string[]) =>
      routes({
        [DELTA]: page([master('s', young)]),
        [eventPath('s')]: json(master('s', masterAt)),
        [`${eventPath('s')}/instances`]: occurrencesAt.map((at) =>
          json({ value: [occurrence('s', 1, { lastModifiedDateTime: at, subject: at })] }),
        ),
      })
    const stale = await microsoft(answers(old, old))
    expect((await failureOf(readAll(stale.vendor))).code).toBe('vendor/not-yet-readable')
    const fresh = await microsoft(answers(old, young))
    expect((await readAll(fresh.vendor)).flatMap(({ items }) => shown(items))).toEqual([
      `s_1 ${young}`,
      's: s_1',
    ])
    expect(fresh.seen).toHaveLength(2)
    const between = await microsoft(answers(young, old, young))
    expect((await readAll(between.vendor)).flatMap(({ items }) => shown(items))).toEqual([
      `s_1 ${young}`,
      's: s_1',
    ])
  })

  test('that was read in an older state for a minute is believed', async () => {
    let now = NOW
    const old = '2026-11-01T00:00:00Z'
    const { vendor } = await microsoft(
      routes({
        [DELTA]: page([master('s', young)]),
        [eventPath('s')]: json(master('s', old)),
        [`${eventPath('s')}/instances`]: json({ value: [occurrence('s', 1)] }),
      }),
      { now: () => now },
    )
    const first = await vendor.fetchPage('token', FULL, signal)
    if (first.kind !== 'page' || first.next.kind !== 'more') return expect.unreachable()
    const { pageToken } = first.next
    const again = () => vendor.fetchPage('token', { ...FULL, pageToken }, signal)
    expect((await failureOf(again())).code).toBe('vendor/not-yet-readable')
    now += 61_000_000
    expect(await again()).toMatchObject({ kind: 'page', next: { kind: 'end' } })
  })

  test('made a moment ago and not known to Graph is tried again later; one that is gone meanwhile is removed', async () => {
    const made = master('s', young, young)
    const lagging = await microsoft(routes({ [DELTA]: page([made]) }))
    expect((await failureOf(readAll(lagging.vendor))).code).toBe('vendor/not-yet-readable')
    const gone = await microsoft(routes({ [DELTA]: [page([made]), page([removed('s')])] }))
    expect((await readAll(gone.vendor)).flatMap(({ items }) => shown(items))).toEqual(['s deleted', 's: '])
  })

  test('that is old and not known to Graph is gone at once', async () => {
    const { vendor, seen } = await microsoft(routes({ [DELTA]: page([master('s', young)]) }))
    expect((await readAll(vendor)).flatMap(({ items }) => shown(items))).toEqual(['s deleted', 's: '])
    expect(seen.filter(({ url }) => url.pathname === DELTA)).toHaveLength(1)
    const bare = await microsoft(routes({ [DELTA]: page([occurrence('s', 1, null)]) }))
    expect((await readAll(bare.vendor)).flatMap(({ items }) => shown(items))).toEqual(['s deleted', 's: '])
  })

  test('that stays unknown for long is removed, so that a calendar is never stuck', async () => {
    let now = NOW
    const { vendor } = await microsoft(routes({ [DELTA]: page([master('s', young, young)]) }), {
      now: () => now,
    })
    const first = await vendor.fetchPage('token', FULL, signal)
    if (first.kind !== 'page' || first.next.kind !== 'more') return expect.unreachable()
    const { pageToken } = first.next
    const again = () => vendor.fetchPage('token', { ...FULL, pageToken }, signal)
    expect((await failureOf(again())).code).toBe('vendor/not-yet-readable')
    now += 61_000_000
    const second = await again()
    expect(second).toMatchObject({ kind: 'page', next: { kind: 'end' } })
    expect(second.kind === 'page' && shown(second.items)).toEqual(['s deleted', 's: '])
  })

  test('is read with at most three calls in a step, each step is a page of its own, and what limits calls sees each', async () => {
    const ids = Array.from({ length: 9 }, (_, i) => `s${i}`)
    const answers = Object.fromEntries(ids.map((id) => [`${eventPath(id)}/instances`, json({ value: [] })]))
    const { vendor, seen } = await microsoft(
      routes({ [DELTA]: page(ids.map((id) => master(id))), ...answers }),
    )
    const steps: number[] = []
    let pageToken: string | null = null
    do {
      let calls = 0
      const step = await vendor.fetchPage('token', { ...FULL, pageToken }, signal, (send) => {
        calls += 1
        return send()
      })
      steps.push(calls)
      pageToken = step.kind === 'page' && step.next.kind === 'more' ? step.next.pageToken : null
    } while (pageToken !== null)
    expect(steps).toEqual([1, 3, 3, 3])
    expect(seen).toHaveLength(10)
  })
})

test('leaves no token in a failure, wherever one looks', async () => {
  const answers: readonly Answer[] = [
    problem(401, 'InvalidAuthenticationToken', 'secret-token'),
    problem(500, 'UnknownError', 'secret-token'),
    (response) => response.socket?.destroy(),
    (response) => response.end('<html>secret-token'),
  ]
  for (const answer of answers) {
    const { vendor } = await microsoft(answer)
    const failure = await failureOf(vendor.fetchPage('secret-token', FULL, signal))
    expect(everythingIn(failure)).not.toContain('secret-token')
  }
})

test('a caller who gives up gets its own reason', async () => {
  const { vendor } = await microsoft(() => undefined)
  const controller = new AbortController()
  const call = vendor.fetchPage('token', FULL, controller.signal)
  const reason = new Error('gave up')
  setTimeout(() => controller.abort(reason), 30)
  await expect(call).rejects.toBe(reason)
})
