// `npm run gen`: what is generated and committed: the types of the messages, the pages of errors,
// causes, settings, metrics and play vendors, the names of the settings, and the rules of
// Prometheus. Tests fail when one is stale.
import { writeFileSync } from 'node:fs'
import { failurePage } from '#shared/domain/failure-page.ts'
import { whyPage } from '#shared/domain/why-page.ts'
import '../../schemas/generate.ts'
import { MONITORING_FILES } from '../monitoring/files.ts'
import { manualPage } from '../simulator/control/manual.ts'
import { configurationPage, namesFile } from './configuration-page.ts'
import { metricsPage } from './metrics-page.ts'

const WRITTEN: Readonly<Record<string, () => string>> = {
  'docs/errors.md': failurePage,
  'docs/why.md': whyPage,
  'docs/simulator.md': manualPage,
  'docs/configuration.md': configurationPage,
  'docs/metrics.md': metricsPage,
  'services/shared/process/setting-names.gen.ts': namesFile,
  ...MONITORING_FILES,
}

for (const [file, text] of Object.entries(WRITTEN)) {
  writeFileSync(new URL(`../../${file}`, import.meta.url), text())
  console.log(`${file}: written`)
}
