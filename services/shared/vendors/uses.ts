// Vendors as services use them: an adapter behind its budgets,
// and access to the tokens of its connections.
import type { VendorName } from '#shared/domain/ids.ts'
import { openAccess, type Access, type AccessDeps } from './tokens.ts'
import type { Quota } from './limits/budget.ts'
import type { Vendors } from './index.ts'
import type { Vendor } from './vendor.ts'
import { withBudgets, type BudgetedVendorDeps } from './limits/guard.ts'

export interface VendorUse {
  readonly vendor: Vendor
  readonly access: Access
}

/** What `quotaEnv` reads. */
export interface QuotaConfig {
  readonly GOOGLE_CALLS_PER_MINUTE: number
  readonly GOOGLE_MAILBOX_CALLS_PER_MINUTE: number
  readonly MICROSOFT_CALLS_PER_MINUTE: number
  readonly MICROSOFT_MAILBOX_CALLS_PER_MINUTE: number
}

export type VendorUsesDeps = Omit<AccessDeps, 'vendor'> &
  Omit<BudgetedVendorDeps, 'quota'> & { readonly quotas: QuotaConfig }

/**
 * Every vendor behind its budgets, with access to the tokens of its connections. Once per process:
 * limits per mailbox are counted here.
 */
export function openVendorUses(vendors: Vendors, deps: VendorUsesDeps): ReadonlyMap<VendorName, VendorUse> {
  return new Map(
    [...vendors].map(([name, adapter]) => {
      const vendor = withBudgets(adapter, { ...deps, quota: quotaOf(name, deps.quotas) })
      return [name, { vendor, access: vendor.bind(openAccess({ ...deps, vendor })) }]
    }),
  )
}

/** The quota of one vendor. */
export function quotaOf(name: VendorName, quotas: QuotaConfig): Quota {
  return name === 'google'
    ? { perMinute: quotas.GOOGLE_CALLS_PER_MINUTE, mailboxPerMinute: quotas.GOOGLE_MAILBOX_CALLS_PER_MINUTE }
    : {
        perMinute: quotas.MICROSOFT_CALLS_PER_MINUTE,
        mailboxPerMinute: quotas.MICROSOFT_MAILBOX_CALLS_PER_MINUTE,
      }
}
