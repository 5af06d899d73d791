// How far long work is, as a terminal and a log file see it.
import { describe, expect, test, vi } from 'vitest'
import { createOutput } from '../../../services/cli/output.ts'
import { progressOf, progressWords } from '../../../services/cli/progress.ts'
import { awayFrom, instantWords } from '../../../services/cli/times.ts'

const NOW = Date.parse('2027-03-01T12:00:00Z')

function screen(isTTY: boolean, isJson = false) {
  const written: string[] = []
  let ms = 0
  const parts = { screen: { isTTY, write: (text: string) => written.push(text) }, now: () => ms }
  const progress = progressOf({ isJson }, 'event', parts)
  return { written, progress, wait: (more: number) => void (ms += more) }
}

describe('progress', () => {
  test('is one line that changes on a terminal, and leaves nothing behind', () => {
    const { written, progress, wait } = screen(true)
    wait(500)
    progress.at(1, 10_000)
    expect(written).toEqual([])
    wait(3_500)
    progress.at(2_000, 10_000)
    progress.at(2_001, 10_000)
    expect(written).toEqual(['\r\u001b[K2 000 of 10 000 events (20 %), about 16 s left'])
    progress[Symbol.dispose]()
    expect(written.at(-1)).toBe('\r\u001b[K')
  })

  test('is a line now and then elsewhere', () => {
    const { written, progress, wait } = screen(false)
    wait(1_000)
    progress.at(1, 3)
    wait(5_000)
    progress.at(2, 3)
    wait(5_000)
    progress.at(3, 3)
    progress[Symbol.dispose]()
    expect(written).toEqual(['1 of 3 events (33 %)\n', '3 of 3 events (100 %), about 0 s left\n'])
  })

  test('is not told with --json but to a terminal', () => {
    for (const [isTerminal, lines] of [
      [false, 0],
      [true, 1],
    ] as const) {
      const { written, progress, wait } = screen(isTerminal, true)
      wait(20_000)
      progress.at(1, 3)
      expect(written).toHaveLength(lines)
    }
  })

  test('says no rate where there is none, and no share of what is not counted', () => {
    expect(progressWords('event', { done: 0, total: 5, tookMs: 60_000 })).toBe('0 of 5 events (0 %)')
    expect(progressWords('event', { done: 1, total: 0, tookMs: 60_000 })).toBe('1 event')
    expect(progressWords('event', { done: 9, total: 5, tookMs: 0 })).toBe('9 of 5 events (100 %)')
  })
})

describe('a time', () => {
  test.each([
    ['2027-03-01T11:57:00Z', '3 min ago'],
    ['2027-03-01T14:00:00.000001Z', 'in 2 h'],
    ['2027-02-26T12:00:00.000Z', '3 days ago'],
    ['2027-03-01T12:00:00.400Z', 'now'],
  ])('is told as it is, and how far away: %s, %s', (text, words) => {
    expect(instantWords(text, NOW)).toBe(`${text} (${words})`)
    expect(awayFrom(new Date(text), NOW)).toBe(words)
  })

  test.each(['yesterday', '2027-03-01', 'at 2027-03-01T12:00:00Z', ''])('is no time: "%s"', (text) => {
    expect(instantWords(text, NOW)).toBeNull()
  })

  test('stays bare in a document, and in a table stands both ways', () => {
    const printed = vi.spyOn(console, 'log').mockImplementation(() => undefined)
    const row = { last_synced_at: '2020-01-01T00:00:00.000000Z', account: 'a' }
    createOutput(true).object(row)
    createOutput(false).object(row)
    const [document, lines] = printed.mock.calls.map(([text]) => String(text))
    printed.mockRestore()
    expect(JSON.parse(document ?? '')).toEqual(row)
    expect(lines).toMatch(/2020-01-01T00:00:00\.000000Z \(\d+ days ago\)/)
  })
})
