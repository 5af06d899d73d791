// Private events without what they are about, at the source: a service that uses such a vendor
// never holds their titles or places.
import type { PrivateTitles } from '#shared/domain/judged-by.ts'
import type { PageItem } from '#shared/domain/plan.ts'
import type { Vendors } from './index.ts'
import type { Vendor } from './vendor.ts'

/**
 * The vendors, whose private and confidential events have neither title nor location when
 * they are to be withheld.
 */
export function withPrivateTitles(vendors: Vendors, titles: PrivateTitles): Vendors {
  if (titles === 'kept') return vendors
  return new Map([...vendors].map(([name, vendor]) => [name, withheld(vendor)]))
}

function withheld(vendor: Vendor): Vendor {
  const fetchSeries = vendor.fetchSeries?.bind(vendor)
  return {
    ...vendor,
    async fetchPage(...asked) {
      const page = await vendor.fetchPage(...asked)
      return page.kind === 'page' ? { ...page, items: page.items.map(untitled) } : page
    },
    ...(fetchSeries && {
      async fetchSeries(...asked: Parameters<typeof fetchSeries>) {
        const answer = await fetchSeries(...asked)
        return 'items' in answer ? { ...answer, items: answer.items.map(untitled) } : answer
      },
    }),
  }
}

function untitled(item: PageItem): PageItem {
  if (item.kind !== 'event') return item
  const { visibility } = item.event
  if (visibility !== 'private' && visibility !== 'confidential') return item
  return { ...item, event: { ...item.event, title: null, location: null } }
}
