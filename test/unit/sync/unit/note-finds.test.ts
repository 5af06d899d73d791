// When a read says that a channel was silent, and when that a channel rang.
import { describe, expect, test } from 'vitest'
import { calendarId } from '#shared/domain/ids.ts'
import { foundBy, judgeFinds, type Find } from '../../../../services/sync/unit/note-finds.ts'

const find = (
  name: string,
  more: Partial<Find> & { unrungFinds?: number; cursor?: string | null } = {},
): Find => ({
  calendar: {
    calendarId: calendarId(name),
    cursor: more.cursor === undefined ? 'c' : more.cursor,
    unrungFinds: more.unrungFinds ?? 0,
  },
  changes: more.changes ?? 1,
})
const request = (reason: string, id: string | null = null) => ({ reason, calendarId: id })
const CHECK = [request('reconcile')]

describe('a find', () => {
  test('of a check by ourselves counts, for the calendars that changed', () => {
    expect(judgeFinds(CHECK, [find('a'), find('b', { changes: 0 })], true)).toEqual({
      unrung: ['a'],
      rung: [],
    })
  })

  test.each(['webhook', 'recheck', 'retry', 'sweep', 'continue', 'held', 'api', 'connected', 'unknown'])(
    'beside a ring for another reason (%s) says nothing',
    (reason) => {
      expect(judgeFinds([...CHECK, request(reason)], [find('a')], true).unrung).toEqual([])
    },
  )

  test('says nothing of a full read, nor while the door is shut', () => {
    expect(judgeFinds(CHECK, [find('a', { cursor: null })], true).unrung).toEqual([])
    expect(judgeFinds(CHECK, [find('a')], false).unrung).toEqual([])
  })

  test('that was rung for ends the row of its calendar, and of no other', () => {
    const finds = [find('a', { unrungFinds: 2 }), find('b', { unrungFinds: 2 }), find('c')]
    expect(judgeFinds([request('webhook', 'a')], finds, true).rung).toEqual(['a'])
    expect(judgeFinds([request('webhook')], finds, true).rung).toEqual(['a', 'b'])
    expect(judgeFinds(CHECK, finds, true).rung).toEqual([])
  })
})

describe('what a find is owed to', () => {
  const asked = (reason: Parameters<typeof foundBy>[0][number]['reason'], id: string | null = null) => ({
    reason,
    calendarId: id,
  })
  test.each([
    ['a notification, whatever else asked', [asked('reconcile'), asked('webhook')], 'notification'],
    ['the recheck that follows a notification', [asked('recheck')], 'notification'],
    ['the check, when nothing rang', [asked('reconcile'), asked('sweep')], 'reconcile'],
    ['the check, when a sibling rang', [asked('reconcile'), asked('webhook', 'b')], 'reconcile'],
    ['what asked for a sibling, when nothing else did', [asked('retry', 'b')], 'retry'],
  ] as const)('%s', (_what, requests, by) => {
    expect(foundBy(requests, calendarId('a'))).toBe(by)
  })
})
