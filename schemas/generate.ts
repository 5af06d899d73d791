// `npm run gen`: writes messages.gen.ts from the Avro files.
// A unit test fails when the file is stale.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { messageTypes } from './message-types.ts'

const folder = new URL('messages/', import.meta.url)
const target = new URL('messages.gen.ts', import.meta.url)
const names = readdirSync(folder)
  .filter((name) => name.endsWith('.avsc'))
  .toSorted()
writeFileSync(
  target,
  messageTypes(names.map((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as unknown)),
)
console.log(`schemas/messages.gen.ts: ${names.length} schemas`)
