// Every metric with one value, as a scrape shows it.
import { metrics } from '#shared/process/metrics.ts'
import { startTelemetry } from '#shared/process/telemetry.ts'

type Tell = (value: number, labels: Readonly<Record<string, string>>) => void

/** The text of /metrics once each metric was told once; each label is 'x'. */
export async function scrapeOfEvery(): Promise<string> {
  await using telemetry = startTelemetry({ service: 'test' })
  for (const instrument of Object.values(metrics)) {
    const labels = Object.fromEntries(instrument.facts.labels.map((label) => [label, 'x']))
    const { add, record, happened }: { add?: Tell; record?: Tell; happened?: Tell } = instrument as object
    ;(add ?? record ?? happened)?.(1, labels)
  }
  return telemetry.scrape()
}
