// The vendors of a process, with the tokens and the shared budgets that lie in the database.
import type { VendorName } from '#shared/domain/ids.ts'
import { budgetStore } from '#shared/store/budgets.ts'
import { loadCredentials, saveAccess } from '#shared/store/credentials.ts'
import type { Database } from '#shared/store/database.ts'
import type { Vendors } from '#shared/vendors/index.ts'
import { openVendorUses, type VendorUse, type VendorUsesDeps } from '#shared/vendors/uses.ts'

type VendorParts = Omit<VendorUsesDeps, 'load' | 'save' | 'store'> & { readonly db: Database }

/** Once per process: limits per mailbox are counted here. */
export function openVendors(adapters: Vendors, parts: VendorParts): ReadonlyMap<VendorName, VendorUse> {
  const { db, ...deps } = parts
  return openVendorUses(adapters, {
    ...deps,
    load: (connection) => loadCredentials(db, connection),
    save: (update) => saveAccess(db, update),
    store: budgetStore(db),
  })
}
