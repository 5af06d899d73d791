// acl: who else may see a calendar. Every change of it ends the sync tokens
// of the calendar's events.
// https://developers.google.com/workspace/calendar/api/v3/reference/acl
import { type Answer, type Call, readObject } from '../http.ts'
import type { AclRule, Calendar } from '../world/calendar.ts'
import type { World } from '../world/world.ts'
import { googleError } from './errors.ts'

const ROLES = ['none', 'freeBusyReader', 'reader', 'writer', 'owner']
const SCOPES = ['default', 'user', 'group', 'domain']

export function listRules(calendar: Calendar): Answer {
  const items = calendar.acl.map((rule) => show(rule))
  return { status: 200, body: { kind: 'calendar#acl', etag: '"0"', items } }
}

/** POST …/acl: adds a rule, or changes the role of the one that is there. */
export function insertRule(world: World, calendar: Calendar, call: Call): Answer {
  const body = readObject(call.body)
  if (!body) return googleError('parseError')
  const { role, scope } = body
  const { type, value } = (typeof scope === 'object' && scope !== null ? scope : {}) as Record<
    string,
    unknown
  >
  if (typeof role !== 'string' || !ROLES.includes(role)) return googleError('invalid', { parameter: 'role' })
  if (typeof type !== 'string' || !SCOPES.includes(type))
    return googleError('invalid', { parameter: 'scope' })
  const named = typeof value === 'string' ? { value } : {}
  const rule: AclRule = {
    id: 'value' in named ? `${type}:${named.value}` : type,
    role,
    scope: { type, ...named },
  }
  const others = calendar.acl.filter(({ id }) => id !== rule.id)
  world.changeCalendar(calendar, { acl: [...others, rule] })
  return { status: 200, body: show(rule) }
}

export function deleteRule(world: World, calendar: Calendar, ruleId: string): Answer {
  const left = calendar.acl.filter(({ id }) => id !== ruleId)
  if (left.length === calendar.acl.length) return googleError('notFound')
  world.changeCalendar(calendar, { acl: left })
  return { status: 204 }
}

function show(rule: AclRule) {
  return { kind: 'calendar#aclRule', etag: '"0"', ...rule }
}
