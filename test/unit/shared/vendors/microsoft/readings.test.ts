// The other ways of listing a calendar of Microsoft:
// pages of another size, and the window as it is.
import { describe, expect, test } from 'vitest'
import { failureOf, json, signal, type Answer } from '../../../../support/answering-google.ts'
import {
  DELTA,
  EVENT,
  eventPath,
  FULL,
  master,
  microsoft,
  occurrence,
  page,
  readAll,
  removed,
  routes,
  shown,
} from '../../../../support/answering-microsoft.ts'

describe('another way of listing', () => {
  test.each([
    ['usual', 200],
    ['other-pages', 1000],
    ['small-pages', 50],
  ] as const)('%s asks for %i rows', async (reading, size) => {
    const { vendor, seen } = await microsoft(routes({ [DELTA]: page([]) }))
    await readAll(vendor, { ...FULL, reading })
    expect(seen[0]!.headers.prefer).toContain(`odata.maxpagesize=${size},`)
  })

  test('plain reads the window whole, follows its links and leaves no cursor', async () => {
    const PLAIN = DELTA.replace('/delta', '')
    const { vendor, seen, url } = await microsoft((response, asked) => {
      const more = asked.url.searchParams.has('$skip')
        ? {}
        : { '@odata.nextLink': `http://${String(asked.headers['host'])}${PLAIN}?$skip=2` }
      const value = more['@odata.nextLink']
        ? [EVENT, occurrence('s', 1)]
        : [occurrence('s', 2), { ...EVENT, id: 'e2', isCancelled: true }, { id: '' }]
      json({ value, ...more })(response, asked)
    })
    const pages = await readAll(vendor, { ...FULL, cursor: `${url}${DELTA}?$deltatoken=x`, reading: 'plain' })
    expect(pages.map(({ items }) => shown(items))).toEqual([
      ['e1 lunch', 's_1 of s'],
      ['s_2 of s', 'e2 cancelled'],
    ])
    expect(pages.at(-1)).toMatchObject({ unreadable: [{}], next: { kind: 'end', cursor: 'plain' } })
    expect(seen.map(({ url: asked }) => asked.pathname)).toEqual([PLAIN, PLAIN])
    expect(Object.fromEntries(seen[0]!.url.searchParams)).toMatchObject({
      startDateTime: '2026-10-21T12:00:00.000Z',
      $top: '500',
      $select: expect.stringContaining('subject'),
    })
    // A delta takes no $select, so this is how an answer without bodies is had.
    expect(seen[0]!.url.searchParams.get('$select')).not.toContain('body')
  })

  test('a plain listing that names its own page as the next gets nowhere; one that has expired says so', async () => {
    const loop: Answer = (response, asked) =>
      json({ value: [], '@odata.nextLink': `http://${String(asked.headers['host'])}/v1.0/x` })(
        response,
        asked,
      )
    const { vendor, url } = await microsoft(loop)
    const request = { ...FULL, reading: 'plain', pageToken: `${url}/v1.0/x` } as const
    expect((await failureOf(vendor.fetchPage('token', request, signal))).code).toBe('vendor/no-progress')
    const elsewhere = { ...request, pageToken: 'https://example.com/v1.0/x' }
    expect(await vendor.fetchPage('token', elsewhere, signal)).toEqual({ kind: 'cursor-expired' })
    const gone = await microsoft((response) => response.writeHead(410).end())
    const asked = { ...request, pageToken: `${gone.url}/v1.0/x` }
    expect(await gone.vendor.fetchPage('token', asked, signal)).toEqual({ kind: 'cursor-expired' })
  })

  test('what a page names is told also where no items come of it', async () => {
    const rows = [master('s'), occurrence('s', 1, null), removed('r')]
    const { vendor } = await microsoft(routes({ [DELTA]: page(rows) }))
    expect(await vendor.fetchPage('token', FULL, signal)).toMatchObject({
      items: [],
      named: [
        { id: 's', version: 'W/"s"' },
        { id: 's_1', version: 'W/"s"' },
        { id: 'r', version: 'removed' },
      ],
    })
  })
})

test('a series whose list of occurrences never ends gets nowhere after a few calls', async () => {
  const path = `${eventPath('s')}/instances`
  let calls = 0
  const endless: Answer = (response, asked) => {
    calls += 1
    const link = `http://${String(asked.headers['host'])}${path}?$skip=${calls}`
    json({ value: [occurrence('s', 1), occurrence('s', 2)], '@odata.nextLink': link })(response, asked)
  }
  const { vendor } = await microsoft((response, asked) =>
    (asked.url.pathname === path ? endless : page([master('s')]))(response, asked),
  )
  const failure = await failureOf(readAll(vendor))
  expect([failure.code, calls]).toEqual(['vendor/no-progress', 4])
})
