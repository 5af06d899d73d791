// Options that several commands take. Each throws a UserError that says what is wrong with a text.
import { z } from 'zod'
import { isUuid, type VendorName } from '#shared/domain/ids.ts'
import { UserError } from '#shared/process/user-error.ts'

/** An id in lower case; `option` is what the person named it by. */
export function uuidOf(option: string, text: string): string {
  if (!isUuid(text)) throw new UserError(`${option} must be a uuid, not "${text}".`)
  return text.toLowerCase()
}

export function limitOf(text: string, max = Infinity): number {
  const count = z.coerce.number().int().min(1).max(max).safeParse(text)
  if (count.success) return count.data
  throw new UserError(`--limit must be a number from 1${max === Infinity ? '' : ` to ${max}`}.`)
}

export function vendorOf(name: string): VendorName {
  if (name === 'google' || name === 'microsoft') return name
  throw new UserError(`--vendor must be google or microsoft, not "${name}".`)
}
