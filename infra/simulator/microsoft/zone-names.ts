// Windows names of time zones, which Graph speaks, from Unicode's own table (CLDR
// windowsZones). A zone that Windows has no name for stays under its IANA name, which Graph
// does too for a part of them.
import { createRequire } from 'node:module'

interface WindowsZones {
  readonly supplemental: {
    readonly windowsZones: {
      readonly mapTimezones: readonly {
        readonly mapZone: { readonly _other: string; readonly _type: string; readonly _territory: string }
      }[]
    }
  }
}

const table = createRequire(import.meta.url)('cldr-core/supplemental/windowsZones.json') as WindowsZones

const windowsByIana = new Map<string, string>()
const ianaByWindows = new Map<string, string>()
for (const { mapZone } of table.supplemental.windowsZones.mapTimezones) {
  for (const zone of mapZone._type.split(' ')) {
    if (!windowsByIana.has(zone)) windowsByIana.set(zone, mapZone._other)
  }
  // 001 is the world: the zone that stands for a Windows name where no country is known.
  if (mapZone._territory === '001')
    ianaByWindows.set(mapZone._other, mapZone._type.split(' ')[0] ?? mapZone._type)
}

/** The name that Graph gives a zone. */
export function windowsName(zone: string): string {
  return zone === 'UTC' ? 'UTC' : (windowsByIana.get(zone) ?? zone)
}

/** The zone of a name that a client sent, Windows or IANA; null when nobody knows it. */
export function zoneOf(name: string): string | null {
  if (name === 'UTC') return 'UTC'
  const zone = ianaByWindows.get(name) ?? name
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone
  } catch {
    return null
  }
}
