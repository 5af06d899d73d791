// Faults of the vendors, played by the simulator: each is proven by the calls that met it.
import type { ActiveFault, DrillRun } from '../drill.ts'
import type { FaultSpec as VendorFault } from '../environment/vendor-hand.ts'

/** Calls that list events: what a unit does. */
export const LISTING = '/events$|calendarView/delta'

/** The play vendor misbehaves until healed; active once a call has met it. */
export async function vendorFault(
  drill: DrillRun,
  what: {
    readonly fault: string
    readonly action: string
    readonly target?: string
    readonly minHits?: number
    /** Makes calls come that meet it, once it is there. */
    readonly rings?: () => Promise<void>
  },
  ...specs: readonly VendorFault[]
): Promise<ActiveFault> {
  const { vendor } = drill.system
  const ids: string[] = []
  return drill.inject({
    fault: what.fault,
    action: what.action,
    target: what.target ?? 'vendor',
    async inject() {
      for (const spec of specs) ids.push(await vendor.fault(spec))
      await what.rings?.()
    },
    async isActive() {
      const hits = await Promise.all(ids.map((id) => vendor.hits(id)))
      return hits.reduce((sum, one) => sum + one, 0) >= (what.minHits ?? 1)
    },
    async heal() {
      for (const id of ids) await vendor.admin('DELETE', `/admin/faults/${id}`).catch(() => undefined)
    },
    async isHealed() {
      const { faults } = await vendor.admin<{ faults: { faultId: string }[] }>('GET', '/admin/faults')
      return !faults.some(({ faultId }) => ids.includes(faultId))
    },
  })
}
