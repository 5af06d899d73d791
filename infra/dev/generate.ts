// `npm run gen`: what is generated and committed, the types of the messages, the page of errors and
// the page of the play vendors. Tests fail when one is stale.
import { writeFileSync } from 'node:fs'
import { failurePage } from '#shared/domain/failure-page.ts'
import '../../schemas/generate.ts'
import { manualPage } from '../simulator/control/manual.ts'

const page = new URL('../../docs/errors.md', import.meta.url)
writeFileSync(page, failurePage())
console.log('docs/errors.md: written')
const manual = new URL('../../docs/simulator.md', import.meta.url)
writeFileSync(manual, manualPage())
console.log('docs/simulator.md: written')
