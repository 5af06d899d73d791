// What `npm start` prints once all runs: where everything is, and three things to try.
import { YOUR_PROVIDER } from '../demo/accounts.ts'

/**
 * Google answers 503 to every list of events;
 * for so long that the next sync of most accounts meets it.
 */
const GOOGLE_AWAY = {
  match: { vendor: 'google', operation: 'list' },
  respond: { status: 503 },
  forMs: 120_000,
}

/** A line for each address. Secrets stay in their file, which lies in `folder`. */
export function addressLines(urls: Readonly<Record<string, string>>, folder: string): readonly string[] {
  const notes: Readonly<Record<string, string>> = {
    console: '  sign in with: npx calstream token --operator',
    unleash: `  user admin, password: unleash.adminPassword in ${folder}/secrets.json`,
    simulator: '  every switch of the play vendors, as lines to copy',
  }
  return Object.entries(urls).map(([name, url]) => `  ${name.padEnd(10)} ${url}${notes[name] ?? ''}`)
}

/** Where a client of the secured stack finds what it has to bring. */
export function secureLines(folder: string): readonly string[] {
  return [
    'Secured: Kafka by SASL_SSL and SCRAM-SHA-512, Postgres by TLS, the registry by TLS and a login.',
    `  authority  ${folder}/authority/ca.pem`,
    `  logins     ${folder}/credentials/, a file each; of the registry ${folder}/registry-door/password`,
  ]
}

/** Lines that can be copied as they are. */
export function thingsToTry(urls: Readonly<Record<string, string>>): readonly string[] {
  const token = `$(npx calstream token --provider ${YOUR_PROVIDER})`
  return [
    'Try, in another terminal in this folder:',
    '  npx calstream tail   # every change as it is published, decoded',
    `  curl -s -H "Authorization: Bearer ${token}" -d '{"vendor":"google"}' ${urls['api'] ?? ''}/api/calendar/connect-links   # open its url: an account of your own`,
    `  curl -s -d '${JSON.stringify(GOOGLE_AWAY)}' ${urls['simulator'] ?? ''}/admin/faults   # Google is away for 2 min: see "retrying" in npx calstream status`,
  ]
}
