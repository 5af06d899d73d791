// The operator's hand on the gates, and the ledger F: every switch with the moment it was asked for
// and the moment the server had it. Clients poll the server every half second. The server looks at
// its own database once a second.
import type { SwitchName } from '#shared/gates/gate-rules.ts'
import { setAllowlist, setToggle, SWITCHES, type AdminAddress } from '#shared/gates/seed-toggles.ts'

export interface GateSwitch {
  /** ms since 1970: before the call, and after its answer. */
  readonly askedAt: number
  readonly doneAt: number
  readonly gate: string
  /** Of a switch. */
  readonly on: boolean | null
  /** Of an allowlist. */
  readonly ids: readonly string[] | null
}

export interface GateHand {
  readonly timeline: readonly GateSwitch[]
  set(gate: SwitchName, on: boolean): Promise<GateSwitch>
  /** Exactly these are let in. */
  allow(providerIds: readonly string[], connectionIds: readonly string[]): Promise<GateSwitch>
  /** A fault makes the server tell that all switches are off, or it does not do so any more. */
  told(on: boolean): void
  /** Who is let in now. */
  listed(): { readonly providerIds: readonly string[]; readonly connectionIds: readonly string[] }
  /** All switches on, both lists as they were last set. */
  reset(): Promise<void>
}

const LIMIT_MS = 20_000

export function openGateHand(address: AdminAddress): GateHand {
  const timeline: GateSwitch[] = []
  let listed: ReturnType<GateHand['listed']> = { providerIds: [], connectionIds: [] }
  async function note(
    what: Pick<GateSwitch, 'gate' | 'on' | 'ids'>,
    act: (signal: AbortSignal) => Promise<void>,
  ): Promise<GateSwitch> {
    const askedAt = Date.now()
    await act(AbortSignal.timeout(LIMIT_MS))
    const noted = { ...what, askedAt, doneAt: Date.now() }
    timeline.push(noted)
    return noted
  }
  const set = (gate: SwitchName, on: boolean) =>
    note({ gate, on, ids: null }, (signal) => setToggle(address, gate, on, signal))
  return {
    timeline,
    set,
    async allow(providerIds, connectionIds) {
      listed = { providerIds, connectionIds }
      await note({ gate: 'CALENDAR_ALLOWLIST_PROVIDER_IDS', on: null, ids: providerIds }, (signal) =>
        setAllowlist(address, 'CALENDAR_ALLOWLIST_PROVIDER_IDS', providerIds, signal),
      )
      return note({ gate: 'CALENDAR_ALLOWLIST_CONNECTION_IDS', on: null, ids: connectionIds }, (signal) =>
        setAllowlist(address, 'CALENDAR_ALLOWLIST_CONNECTION_IDS', connectionIds, signal),
      )
    },
    told(on) {
      const at = Date.now()
      for (const gate of SWITCHES) timeline.push({ gate, on, ids: null, askedAt: at, doneAt: at })
    },
    listed: () => listed,
    async reset() {
      for (const gate of SWITCHES) await set(gate, true)
    },
  }
}
