// `npm run gen`: what is generated and committed, the types of the messages and the page of errors. Tests fail when one is stale.
import { writeFileSync } from 'node:fs'
import { failurePage } from '#shared/domain/failure-page.ts'
import '../../schemas/generate.ts'

const page = new URL('../../docs/errors.md', import.meta.url)
writeFileSync(page, failurePage())
console.log('docs/errors.md: written')
