// Every drill, in running order. Each group has one file; a new group adds its list here.
import { chaosDrill, soakDrill } from '../chaos/chaos.ts'
import type { Drill } from '../drill.ts'
import { BROKER } from './broker.ts'
import { CRASHES } from './crash-points.ts'
import { DATABASE } from './database.ts'
import { DISCONNECTING } from './disconnecting.ts'
import { DOORS } from './doors.ts'
import { FLAG_SERVER } from './flag-server.ts'
import { FLOODS } from './flood.ts'
import { GRACEFUL_DEGRADATION } from './graceful-degradation.ts'
import { ILL } from './ill.ts'
import { INGRESS } from './ingress.ts'
import { KILLS } from './kills.ts'
import { LISTS } from './lists.ts'
import { MALFORMED } from './malformed.ts'
import { NETWORK } from './network.ts'
import { OUTAGES } from './outages.ts'
import { PLACES } from './places.ts'
import { PROCESSES } from './processes.ts'
import { RECOVERY } from './recovery.ts'
import { REOPENING } from './reopening.ts'
import { REPAIRING } from './repairing.ts'
import { RESTORES } from './restore.ts'
import { RIGHTS } from './rights.ts'
import { SCALING } from './scaling.ts'
import { SECURED } from './secured.ts'
import { SERIES } from './series.ts'
import { SWITCH_DRILLS } from './switches.ts'
import { TRANSACTIONS } from './transactions.ts'
import { UPGRADES } from './upgrade.ts'
import { VENDORS } from './vendors.ts'
import { WAVES } from './waves.ts'

/** How long they last by default. */
const CHAOS_MINUTES = 1.5
const SOAK_MINUTES = 40

const DRILLS: readonly Drill[] = [
  ...SWITCH_DRILLS,
  ...GRACEFUL_DEGRADATION,
  ...DOORS,
  ...REOPENING,
  ...OUTAGES,
  ...RECOVERY,
  ...DISCONNECTING,
  ...MALFORMED,
  ...INGRESS,
  ...FLOODS,
  ...VENDORS,
  ...SERIES,
  ...ILL,
  ...PLACES,
  ...WAVES,
  ...LISTS,
  ...KILLS,
  ...REPAIRING,
  ...CRASHES,
  ...PROCESSES,
  ...SCALING,
  ...BROKER,
  ...DATABASE,
  ...RESTORES,
  ...UPGRADES,
  ...TRANSACTIONS,
  ...NETWORK,
  ...FLAG_SERVER,
  ...RIGHTS,
  ...SECURED,
]

/** All of them. The drills without an end of their own last this many minutes. */
export function allDrills(minutes?: number): readonly Drill[] {
  return [...DRILLS, chaosDrill(minutes ?? CHAOS_MINUTES), soakDrill(minutes ?? SOAK_MINUTES)]
}

/** The drills named, or all of a profile. Throws RangeError for a name that there is not. */
export function chosenDrills(
  ids: readonly string[],
  profile: Drill['profiles'][number],
  minutes?: number,
): readonly Drill[] {
  const all = allDrills(minutes)
  if (ids.length === 0) return all.filter(({ profiles }) => profiles.includes(profile))
  return ids.map((id) => {
    const drill = all.find((one) => one.id.toLowerCase() === id.toLowerCase())
    if (!drill) throw new RangeError(`There is no drill "${id}". npm run drill -- --list shows all.`)
    if (profile !== 'secure' && drill.profiles.every((one) => one === 'secure'))
      throw new RangeError(`${drill.id} needs the secured stack: npm run drill -- ${drill.id} --secure`)
    return drill
  })
}
