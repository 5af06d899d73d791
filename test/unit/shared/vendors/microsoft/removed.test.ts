// What Microsoft calls removed may be deleted, or out of the window, or not yet told the same
// everywhere: each is found out.
import { describe, expect, test } from 'vitest'
import { failureOf, json, NOW, signal, type Answer } from '../../../../support/answering-google.ts'
import {
  DELTA,
  EVENT,
  eventPath,
  FULL,
  master,
  microsoft,
  page,
  problem,
  readAll,
  removed,
  routes,
  shown,
} from '../../../../support/answering-microsoft.ts'

describe('a removed event', () => {
  const told = (id: string, found: Answer) => routes({ [DELTA]: page([removed(id)]), [eventPath(id)]: found })
  const outside = {
    start: { dateTime: '2029-01-01T10:00:00', timeZone: 'UTC' },
    end: { dateTime: '2029-01-01T11:00:00', timeZone: 'UTC' },
  }

  test('that Graph does not know is deleted, and with it whatever it was the series of', async () => {
    const { vendor } = await microsoft(told('x', problem(404, 'ErrorItemNotFound')))
    expect((await readAll(vendor)).flatMap(({ items }) => shown(items))).toEqual(['x deleted', 'x: '])
  })

  test.each([
    ['lives in the mailbox has moved, to a calendar that need not tell of it', json(EVENT), true],
    ['is the series of a calendar in the mailbox has moved', json(master('e1')), true],
    ['lives in the mailbox outside of the window is no loss', json({ ...EVENT, ...outside }), false],
    ['is cancelled wherever it is has not moved', json({ ...EVENT, isCancelled: true }), false],
    ['nobody in the mailbox knows is gone', problem(404, 'ErrorItemNotFound'), false],
  ] satisfies [string, Answer, boolean][])(
    'that is not in its calendar and %s',
    async (_what, elsewhere, hasMoved) => {
      const { vendor } = await microsoft(
        routes({
          [DELTA]: page([removed('e1')]),
          [eventPath('e1')]: problem(404, 'ErrorItemNotFound'),
          '/v1.0/me/events/e1': elsewhere,
        }),
      )
      const pages = await readAll(vendor)
      expect(pages.flatMap(({ items }) => shown(items))).toEqual(['e1 deleted', 'e1: '])
      expect(pages.some((one) => one.hasMoved === true)).toBe(hasMoved)
    },
  )

  test('that lies outside of the window comes with its times, so that it is known why it is gone', async () => {
    const { vendor } = await microsoft(told('e1', json({ ...EVENT, ...outside })))
    const pages = await readAll(vendor)
    expect(pages.flatMap(({ items }) => items)).toMatchObject([
      { kind: 'event', event: { vendorEventId: 'e1', start: { at: Date.UTC(2029, 0, 1, 10) * 1000 } } },
    ])
  })

  test('that is still shown inside of the window is tried again later, and believed after a minute', async () => {
    let now = NOW
    const { vendor } = await microsoft(told('e1', json(EVENT)), { now: () => now })
    const first = await vendor.fetchPage('token', FULL, signal)
    if (first.kind !== 'page' || first.next.kind !== 'more') return expect.unreachable()
    const { pageToken } = first.next
    expect((await failureOf(vendor.fetchPage('token', { ...FULL, pageToken }, signal))).code).toBe(
      'vendor/not-yet-readable',
    )
    now += 61_000_000
    const second = await vendor.fetchPage('token', { ...FULL, pageToken }, signal)
    expect(second.kind === 'page' && shown(second.items)).toEqual(['e1 lunch'])
  })

  test('that was cancelled by its organizer says so', async () => {
    const { vendor } = await microsoft(told('e1', json({ ...EVENT, isCancelled: true })))
    expect((await readAll(vendor)).flatMap(({ items }) => shown(items))).toEqual(['e1 cancelled'])
  })

  test('that is a series out of the window loses the occurrences that we hold', async () => {
    const { vendor } = await microsoft(
      routes({
        [DELTA]: page([removed('s')]),
        [eventPath('s')]: json({ ...master('s'), ...outside }),
        [`${eventPath('s')}/instances`]: json({ value: [] }),
      }),
    )
    expect((await readAll(vendor)).flatMap(({ items }) => shown(items))).toEqual(['s: '])
  })

  test('among very many is believed without a look', async () => {
    const ids = Array.from({ length: 150 }, (_, i) => `x${i}`)
    const { vendor, seen } = await microsoft(routes({ [DELTA]: page(ids.map((id) => removed(id))) }))
    const pages = await readAll(vendor)
    expect(
      pages.flatMap(({ items }) => shown(items)).filter((line) => line.endsWith('deleted')),
    ).toHaveLength(150)
    expect(seen).toHaveLength(1)
  })

  test('that is listed again in the same page is there', async () => {
    const { vendor, seen } = await microsoft(routes({ [DELTA]: page([removed('e1'), EVENT]) }))
    expect((await readAll(vendor)).flatMap(({ items }) => shown(items))).toEqual(['e1 lunch'])
    expect(seen).toHaveLength(1)
  })

  test.each([
    ['throttled', problem(429, 'ApplicationThrottled'), 'vendor/throttled'],
    ['failing', problem(503, 'UnknownError'), 'vendor/unavailable'],
    ['a page of a proxy', ((r) => r.writeHead(404).end('<html>')) as Answer, 'vendor/unreadable-answer'],
  ] as const)('is not taken for deleted when the look is %s', async (_what, answer, code) => {
    const { vendor } = await microsoft(told('x', answer))
    expect((await failureOf(readAll(vendor))).code).toBe(code)
  })
})
