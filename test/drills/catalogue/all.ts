// Every drill, in the order in which they run. One file per group; to add a group, add its list here.
import type { Drill } from '../drill.ts'
import { GRACEFUL_DEGRADATION } from './graceful-degradation.ts'
import { INFRASTRUCTURE } from './infrastructure.ts'
import { INGRESS } from './ingress.ts'
import { OUTAGES } from './outages.ts'
import { PROCESSES } from './processes.ts'
import { VENDORS } from './vendors.ts'

export const DRILLS: readonly Drill[] = [
  ...GRACEFUL_DEGRADATION,
  ...OUTAGES,
  ...PROCESSES,
  ...INFRASTRUCTURE,
  ...INGRESS,
]

/** The drills named, or all of a profile. Throws RangeError for a name that there is not. */
export function chosenDrills(ids: readonly string[], profile: Drill['profiles'][number]): readonly Drill[] {
  if (ids.length === 0) return DRILLS.filter(({ profiles }) => profiles.includes(profile))
  return ids.map((id) => {
    const drill = DRILLS.find((one) => one.id.toLowerCase() === id.toLowerCase())
    if (!drill) throw new RangeError(`There is no drill "${id}". npm run drill -- --list shows all.`)
    return drill
  })
}
