// What rotates on the secured stack: passwords, certificates, and the authority that issues them.
import { randomBytes } from 'node:crypto'
import type { Authority } from '../../../infra/stack/authority.ts'
import { servingBrokers, setPassword } from '../../../infra/stack/kafka-operator.ts'
import { runStatement } from '../../../infra/stack/postgres.ts'
import { writeWhole } from '../../../infra/stack/processes.ts'
import { DATABASE_ROLES } from '../../../infra/stack/secrets.ts'
import { currentLogin, KAFKA_PRINCIPALS, passwordFile } from '../../../infra/stack/secured.ts'
import { serialShownBy } from '../../support/shown-certificate.ts'
import { allOf, type Finding, met } from '../criterion.ts'
import { DrillInvalid, type DrillRun } from '../drill.ts'
import { currentRolePassword, roleFile } from '../environment/roles.ts'
import type { DrillStack, Lines } from '../environment/stack.ts'

const F12 = 'F12'
/** For services to connect again and to work by what is new. */
const IN_USE_MS = 5_000

/** The parts of a secured stack. Throws DrillInvalid on the open one. */
export function securedPartsOf({ stack }: { readonly stack: DrillStack }) {
  const { cluster, authorities, door } = stack
  if (cluster === null || authorities === null || door === null)
    throw new DrillInvalid('this needs the secured stack: --secure')
  return { cluster, authorities, door }
}

/** Whether clients see the certificates of the servers, or those of the lines. */
export function leaveTls({ kafka, postgres }: Lines, isLeft: boolean): void {
  kafka.leaveTls(isLeft)
  postgres.leaveTls(isLeft)
}

/** A login as it is now. */
interface Login {
  readonly name: string
  isRefused(): Promise<boolean>
}

/** Of Kafka and of Postgres, each with its password of this moment. */
export function loginsOf(d: DrillRun): readonly Login[] {
  const { folder } = d.system.stack.place
  const { operator } = securedPartsOf(d.system).cluster
  return [
    ...KAFKA_PRINCIPALS.map((name) => {
      const login = currentLogin(folder, name)
      return { name, isRefused: () => fails(servingBrokers({ ...operator, login })) }
    }),
    ...DATABASE_ROLES.map((name) => {
      const url = roleUrl(d, name, currentRolePassword(folder, name))
      return { name, isRefused: () => fails(runStatement(url, 'select 1')) }
    }),
  ]
}

/** Changes every password at the server first, then in the file that its client reads. */
export async function newPasswords(d: DrillRun): Promise<void> {
  const { cluster, door } = securedPartsOf(d.system)
  const { place, postgres } = d.system.stack
  const change = (target: string, act: (password: string) => Promise<void>) =>
    d.strike({ fault: F12, action: 'new password', target }, () => act(randomBytes(24).toString('hex')))
  for (const name of KAFKA_PRINCIPALS)
    await change(name, async (password) => {
      await setPassword(cluster.operator, { name, password })
      writeWhole(passwordFile(place.folder, name), `${password}\n`)
    })
  for (const role of DATABASE_ROLES)
    await change(role, async (password) => {
      await runStatement(postgres.url('postgres'), `alter role ${role} password '${password}'`)
      writeWhole(roleFile(place.folder, role), `${password}\n`)
    })
  // Door and clients read the same file.
  await change('registry', async (password) => writeWhole(door.passwordFile, `${password}\n`))
  // Sessions of Postgres last, whatever becomes of their password.
  d.system.stack.lines.postgres.resetAll()
}

/**
 * One authority takes over from another: both are trusted, servers show certificates of the new
 * one, the old one is forgotten.
 */
export async function newAuthority(d: DrillRun, from: Authority, to: Authority): Promise<void> {
  const { cluster, authorities, door } = securedPartsOf(d.system)
  const { lines, postgres } = d.system.stack
  const strike = (action: string, target: string, act: () => Promise<void>) =>
    d.strike({ fault: F12, action, target }, act)
  // Sessions that are open keep what they were begun with: new ones have to be made.
  const inUse = async () => {
    lines.kafka.resetAll()
    lines.postgres.resetAll()
    await d.lasting(IN_USE_MS)
  }
  await strike('both authorities trusted', 'services', async () => authorities.trust(from, to))
  await inUse()
  await strike('certificate of the new authority', 'kafka', () => cluster.renewCertificates(to))
  await strike('certificate of the new authority', 'postgres', () => postgres.renewCertificate(to))
  await strike('certificate of the new authority', 'registry', () => door.renewCertificate(to))
  await inUse()
  await strike('the old authority forgotten', 'services', async () => authorities.trust(to))
  await inUse()
}

/** Whether every server is known by one authority and by the other is not. */
export async function knownBy(d: DrillRun, from: Authority, to: Authority): Promise<Finding> {
  const { cluster } = securedPartsOf(d.system)
  const servers = [...cluster.brokers.split(','), new URL(d.system.stack.registry.url).host]
  const known = async ({ caFile }: Authority): Promise<readonly string[]> => {
    const url = new URL(d.system.stack.postgres.url('postgres'))
    url.searchParams.set('sslrootcert', caFile)
    const asked = [
      { name: 'postgres', isRefused: fails(runStatement(url.href, 'select 1')) },
      ...servers.map((name) => ({ name, isRefused: fails(serialShownBy(name, caFile)) })),
    ]
    const refused = await Promise.all(asked.map(({ isRefused }) => isRefused))
    return asked.flatMap(({ name }, index) => (refused[index] === true ? [] : [name]))
  }
  const all = servers.length + 1
  const [byNew, byOld] = [await known(to), await known(from)]
  return allOf(
    met(byNew.length === all, `${byNew.length} of ${all} known by the new authority`),
    met(byOld.length === 0, `${byOld.length} by the old one${byOld.map((name) => `, ${name}`).join('')}`),
  )
}

function roleUrl(d: DrillRun, name: string, password: string): string {
  const database = new URL(d.system.databaseUrl).pathname.slice(1)
  return d.system.stack.postgres.url(database, { name, password })
}

function fails(act: Promise<unknown>): Promise<boolean> {
  return act.then(
    () => false,
    () => true,
  )
}
