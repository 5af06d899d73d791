// The metrics of a process as the text of Prometheus (0.0.4).
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus'
import { AggregationTemporality, InstrumentType, MeterProvider } from '@opentelemetry/sdk-metrics'

export interface Scrape {
  /** Instruments of its meters are shown. */
  readonly provider: MeterProvider
  /** @param failed told of what could not be collected; the rest is shown. */
  readonly text: (failed: (error: unknown) => void) => Promise<string>
}

/**
 * Shows of a gauge what it tells now. With the temporality of the base class a value stays for ever
 * once it was told.
 */
class Reader extends PrometheusExporter {
  override selectAggregationTemporality(type: InstrumentType): AggregationTemporality {
    return type === InstrumentType.OBSERVABLE_GAUGE
      ? AggregationTemporality.DELTA
      : super.selectAggregationTemporality(type)
  }
}

/** Opens a provider that is read by `text` alone: no server listens. */
export function openScrape(): Scrape {
  const reader = new Reader({ preventServerStart: true })
  // Without target info and scope labels: both repeat what the scraper knows already.
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true)
  return {
    provider: new MeterProvider({ readers: [reader] }),
    async text(failed) {
      const { resourceMetrics, errors } = await reader.collect()
      errors.forEach(failed)
      return serializer.serialize(resourceMetrics)
    },
  }
}
