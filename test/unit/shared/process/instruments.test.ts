// What counts: labels, several meters, and values that nobody looks at any more.
import { afterEach, describe, expect, test, vi } from 'vitest'
import { age, bindMetrics, gauge, looked, unbindMetrics } from '#shared/process/instruments.ts'
import { openScrape } from '#shared/process/scrape.ts'

function scrapeOf(): () => Promise<readonly string[]> {
  const { provider, text } = openScrape()
  bindMetrics(provider.getMeter('test'))
  return async () => {
    const lines = (await text((error) => expect.unreachable(String(error)))).split('\n')
    return lines.filter((line) => line.startsWith('test_'))
  }
}

const seen = looked('test_looked', ['vendor'], ['sync'], 'A test')
const told = gauge('test_told', ['vendor'], ['sync'], 'A test')
const last = age('test_last_seconds', ['vendor'], ['sync'], 'A test')

afterEach(() => {
  vi.useRealTimers()
  unbindMetrics()
})

describe('a gauge', () => {
  test('shows what was recorded last, and lets go of what is not looked at any more', async () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const scrape = scrapeOf()
    seen.record(7, { vendor: 'google' })
    seen.record(8, { vendor: 'microsoft' })
    told.record(1, { vendor: 'google' })
    vi.advanceTimersByTime(59_000)
    seen.record(9, { vendor: 'microsoft' })
    expect(await scrape()).toEqual([
      'test_looked{vendor="google"} 7',
      'test_looked{vendor="microsoft"} 9',
      'test_told{vendor="google"} 1',
    ])
    vi.advanceTimersByTime(2_000)
    expect(await scrape()).toEqual(['test_looked{vendor="microsoft"} 9', 'test_told{vendor="google"} 1'])
  })

  test('that is replaced has no value of before', async () => {
    const scrape = scrapeOf()
    told.record(1, { vendor: 'google' })
    told.replace([[2, { vendor: 'microsoft' }]])
    expect(await scrape()).toEqual(['test_told{vendor="microsoft"} 2'])
    told.replace([])
    expect(await scrape()).toEqual([])
  })

  test('is shown by every meter that is bound, and forgotten with them', async () => {
    const [first, second] = [scrapeOf(), scrapeOf()]
    told.record(3, { vendor: 'google' })
    expect(await first()).toEqual(await second())
    expect(await second()).toHaveLength(1)
    unbindMetrics()
    expect(await scrapeOf()()).toEqual([])
  })
})

test('an age grows until it happens again', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const scrape = scrapeOf()
  expect(await scrape()).toEqual([])
  last.happened(10, { vendor: 'google' })
  vi.advanceTimersByTime(5_000)
  expect(await scrape()).toEqual(['test_last_seconds{vendor="google"} 15'])
  last.happened(0, { vendor: 'google' })
  expect(await scrape()).toEqual(['test_last_seconds{vendor="google"} 0'])
})
