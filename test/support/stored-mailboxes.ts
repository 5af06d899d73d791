// Mailboxes as a service has them: tokens and budgets of a real database.
import type { Keyring } from '#shared/process/keyring.ts'
import { systemClock } from '#shared/process/clock.ts'
import type { Logger } from '#shared/process/log.ts'
import { budgetStore } from '#shared/store/budgets.ts'
import { loadCredentials, saveAccess } from '#shared/store/credentials.ts'
import type { Database } from '#shared/store/database.ts'
import type { Vendors } from '#shared/vendors/index.ts'
import { openMailboxes, type Mailboxes } from '#shared/vendors/mailbox.ts'

/** What makes the mailboxes at the vendors, or at what a test makes of them. */
export function storedMailboxes({
  db,
  ...deps
}: {
  readonly db: Database
  readonly keyring: Keyring
  readonly logger: Logger
  readonly quotas: Parameters<typeof openMailboxes>[1]['quotas']
}): (vendors: Vendors) => Mailboxes {
  return (vendors) =>
    openMailboxes(vendors, {
      ...deps,
      clock: systemClock,
      load: (connection) => loadCredentials(db, connection),
      save: (update) => saveAccess(db, update),
      store: budgetStore(db),
    })
}
