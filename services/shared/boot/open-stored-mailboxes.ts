// The mailboxes of a process whose tokens and shared budgets lie in the database.
import { budgetStore } from '#shared/store/budgets.ts'
import { loadCredentials, saveAccess } from '#shared/store/credentials.ts'
import type { Database } from '#shared/store/database.ts'
import type { Vendors } from '#shared/vendors/index.ts'
import { openMailboxes, type Mailboxes, type MailboxesDeps } from '#shared/vendors/mailbox.ts'

type Parts = Omit<MailboxesDeps, 'load' | 'save' | 'store'> & { readonly db: Database }

/** Once per process: limits per mailbox are counted here. */
export function openStoredMailboxes(adapters: Vendors, { db, ...deps }: Parts): Mailboxes {
  return openMailboxes(adapters, {
    ...deps,
    load: (connection) => loadCredentials(db, connection),
    save: (update) => saveAccess(db, update),
    store: budgetStore(db),
  })
}
