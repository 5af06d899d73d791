// Mailboxes for tests whose vendor is a play one and that are about neither tokens nor limits.
import { createMailboxes, type Mailboxes } from '#shared/vendors/mailbox.ts'
import type { Guard } from '#shared/vendors/limits/guard.ts'
import type { BudgetStore } from '#shared/domain/call-budget.ts'
import type { Tokens } from '#shared/vendors/tokens.ts'
import { sendAtOnce, type Vendor } from '#shared/vendors/vendor.ts'

/** Everybody is let in with the same token. */
export const OPEN_DOOR: Tokens = { of: async () => 'access-token', invalidate: () => undefined }

/** Lets every call out at once. */
export const NO_LIMITS: Guard = {
  run: (_caller, _signal, method) => method(sendAtOnce),
  openBreakers: () => [],
}

/** A budget that is never spent, and no cool-downs. */
export const NEVER_SPENT: BudgetStore = {
  take: async (wishes) =>
    wishes.map(({ key, calls }) => ({
      key,
      granted: Math.max(1, calls),
      waitMicros: 0,
      isCoolingDown: false,
    })),
  coolDown: async () => undefined,
}

/** Every connection has a mailbox at these vendors; a test names what of a vendor it needs. */
export function freeMailboxes(
  vendors: readonly (Partial<Vendor> & Pick<Vendor, 'name'>)[],
  tokens: Tokens = OPEN_DOOR,
): Mailboxes {
  return createMailboxes(vendors.map((vendor) => ({ vendor: vendor as Vendor, guard: NO_LIMITS, tokens })))
}
