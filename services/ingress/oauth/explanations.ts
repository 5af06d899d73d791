// What a person is told when a flow does not end in a connection: what happened, and
// what to do. Pure. Nothing that a vendor or a URL says is repeated; its few documented
// words choose among ours.
import type { Failure } from '#shared/domain/failure.ts'
import type { VendorName } from '#shared/domain/ids.ts'
import { microsoftWordIn } from '#shared/vendors/grant-words.ts'
import type { Page } from './page.ts'

/** A page without its actions: whether there is a way to try again depends on the flow. */
export type Explanation = Omit<Page, 'actions' | 'form'>

export const VENDOR_NAMES: Readonly<Record<VendorName, string>> = { google: 'Google', microsoft: 'Microsoft' }

export const LINK_REFUSED: Explanation = {
  status: 401,
  title: 'This link does not work any more',
  paragraphs: [
    'A link to connect a calendar works once and for ten minutes.',
    'Go back to the app that you came from and start again there.',
  ],
}

/** In the browser that followed it. */
export const LINK_USED: Explanation = {
  status: 401,
  title: 'This link was used already',
  paragraphs: [
    'You began to connect a calendar with it in this browser. If that is still open in another window, finish it there.',
    'Otherwise try again.',
  ],
}

export const FORM_REFUSED: Explanation = {
  status: 401,
  title: 'This page does not work any more',
  paragraphs: [
    'It was not opened in this browser, or your browser did not keep our cookie. Nothing was connected.',
    'Allow cookies and follow your link again.',
  ],
}

/** The person reloads, or comes back to, a sign-in that ended well. */
export const CONNECTED_ALREADY: Explanation = {
  status: 401,
  title: 'This sign-in was used already',
  paragraphs: ['Your calendar was connected with it. Everything is in order and you can close this page.'],
}

/** An earlier try, whose state is worth nothing since a later one was begun. */
export const STATE_OUTDATED: Explanation = {
  status: 401,
  title: 'This sign-in was used already',
  paragraphs: [
    'You began another one in this browser after it. Finish that one, or start again in the app that you came from.',
  ],
}

/** Where a page says "try again" and the link has no try left. */
export const START_AGAIN =
  'Your link is used up: go back to the app that you came from and start again there.'

export interface Asking {
  readonly vendor: VendorName
  /** What the app calls itself. */
  readonly appName: string | null
  /** Where the person goes back to. */
  readonly host: string | null
  /** The account that is to be connected again. */
  readonly account: string | null
}

/**
 * What a person reads before the vendor asks:
 * who wants what, and whose account is connected to whom.
 */
export function askingPage({ vendor, appName, host, account }: Asking): Explanation {
  const name = VENDOR_NAMES[vendor]
  const app = appName ?? host
  const who = app ?? 'The app that you came from'
  return {
    status: 200,
    title: `${who} asks to read your ${name} calendar`,
    paragraphs: [
      `If you continue, you choose an account at ${name}. Its calendars are then connected to ${app ?? 'that app'}, no matter who asked for this link.`,
      ...(account === null ? [] : [`It asks for ${account}, which was connected before.`]),
      'We read when your events are, what they are called, where they take place and who invites. We never change or delete anything.',
      ...(host === null || host === app ? [] : [`Afterwards you go back to ${host}.`]),
      'You did not ask for this yourself? Then close this page: so far nothing is connected.',
    ],
  }
}

export const STRANGER: Explanation = {
  status: 401,
  title: 'This sign-in cannot be finished here',
  paragraphs: [
    'It was not begun in this browser, it took longer than ten minutes, or its address is incomplete. Nothing was connected.',
    'Go back to the app that you came from and start again there, with cookies allowed.',
  ],
}

export const STATE_SPENT: Explanation = {
  status: 401,
  title: 'This sign-in was used already',
  paragraphs: [
    'Each consent can be used once. If the calendar was connected, everything is in order and you can close this page.',
    'Otherwise try again.',
  ],
}

export const STATE_EXPIRED: Explanation = {
  status: 401,
  title: 'This sign-in took too long',
  paragraphs: ['A consent has to be given within ten minutes. Nothing was connected. Try again.'],
}

const RETRY_AFTER_S = '5'

/** Trouble of ours or of the vendor: it passes. */
export function troublePage(vendor: VendorName): Explanation {
  return {
    status: 503,
    title: 'The calendar could not be connected just now',
    paragraphs: [
      `${VENDOR_NAMES[vendor]} or our own service did not answer as it should. Nothing was connected and nothing is lost.`,
      'Wait a moment and try again.',
    ],
    headers: { 'retry-after': RETRY_AFTER_S },
  }
}

/** What the vendor sent the browser back with, instead of a code. */
interface ConsentRefusal {
  readonly error?: unknown
  readonly error_description?: unknown
  /**
   * Entra, after an administrator approved the app: the browser comes back with this and no code.
   */
  readonly admin_consent?: unknown
}

/**
 * The vendor sent the browser back without a code. `error`: RFC 6749 §4.1.2.1 and the vendors' own
 * words; the number in Entra's description says more. `approvalUrl`: where an administrator
 * approves the app, if there is such a page.
 */
export function refusedConsent(
  vendor: VendorName,
  refusal: ConsentRefusal,
  approvalUrl?: string | null,
): Explanation {
  if (isApproval(refusal)) return APP_APPROVED
  const word = vendor === 'microsoft' ? microsoftWordIn(refusal.error_description) : null
  if (word?.code === 'vendor/admin-required') return askAdministrator(vendor, approvalUrl)
  if (word?.code === 'vendor/client-rejected') return appNotSetUp(vendor)
  switch (refusal.error) {
    case 'access_denied':
      return {
        status: 403,
        title: 'You did not allow access',
        paragraphs: [
          `You told ${VENDOR_NAMES[vendor]} not to let us read your calendars, or closed its page. Nothing was connected.`,
          'To connect your calendar, try again and allow it there.',
        ],
      }
    // Entra ID: learn.microsoft.com/entra/identity-platform/reference-error-codes; Google:
    // an administrator's policy.
    case 'consent_required':
    case 'interaction_required':
    case 'admin_policy_enforced':
    case 'org_internal':
    case 'unauthorized_client':
      return askAdministrator(vendor, approvalUrl)
    case 'server_error':
    case 'temporarily_unavailable':
      return troublePage(vendor)
    default:
      return {
        status: 400,
        title: 'The sign-in did not work',
        paragraphs: [
          `${VENDOR_NAMES[vendor]} ended it without saying that you allowed or refused access. Nothing was connected.`,
          'Try again. If it happens again, tell the people behind the app that you came from.',
        ],
      }
  }
}

/**
 * An administrator approved the app for an organization: Entra sends them to the first address of
 * the app, without a code and, when they came by a link of their own, without a state. Source, read
 * 2026-11-29:
 * https://learn.microsoft.com/entra/identity-platform/v2-admin-consent#successful-response
 */
export function isApproval({ error, admin_consent: approved }: ConsentRefusal): boolean {
  return error === undefined && typeof approved === 'string' && approved.toLowerCase() === 'true'
}

export const APP_APPROVED: Explanation = {
  status: 200,
  title: 'The app is approved for your organization',
  paragraphs: [
    'From now on people of your organization can connect their calendars with it.',
    'Calendars that waited for this continue automatically within an hour. People who could not connect theirs go back to the app and start again there.',
  ],
}

/** The person allowed some of it. */
export function partialConsent(vendor: VendorName): Explanation {
  return {
    status: 403,
    title: 'One permission is missing',
    paragraphs: [
      `You signed in at ${VENDOR_NAMES[vendor]}, but did not allow us to see your calendars. Without that we cannot know when you are busy. Nothing was connected.`,
      'Try again and leave every calendar permission ticked. We only read; we never change or delete anything.',
    ],
  }
}

/**
 * A vendor's call failed after the person consented. `approvalUrl`: where an administrator approves
 * the app, if there is such a page.
 */
export function failedGrant(
  vendor: VendorName,
  { code, kind }: Failure,
  approvalUrl?: string | null,
): Explanation {
  if (code === 'vendor/grant-revoked') {
    return {
      status: 400,
      title: 'The consent could not be used',
      paragraphs: [
        `${VENDOR_NAMES[vendor]} says that it was used before, took too long or was withdrawn. Nothing was connected.`,
        'Try again.',
      ],
    }
  }
  if (code === 'vendor/client-rejected') return appNotSetUp(vendor)
  if (code === 'vendor/no-offline-access') return noLastingAccess(vendor)
  if (code === 'vendor/no-mailbox') return noMailbox(vendor)
  const isRefused = kind === 'unauthorized' || kind === 'refused' || code === 'vendor/token-rejected'
  return isRefused ? askAdministrator(vendor, approvalUrl) : troublePage(vendor)
}

/**
 * The account is there, and has no calendar or is not let at it:
 * another account may do, and so may an administrator.
 */
function noMailbox(vendor: VendorName): Explanation {
  const service = vendor === 'google' ? 'Google Calendar' : 'A mailbox with a calendar'
  return {
    status: 403,
    title: `${service} is not switched on for this account`,
    paragraphs: [
      `${VENDOR_NAMES[vendor]} knows the account, but it has no calendar that can be read. Nothing was connected.`,
      vendor === 'google'
        ? 'Open calendar.google.com once with this account. In an organization, its administrator can switch Google Calendar on for you.'
        : 'In an organization, its administrator can give the account a licence with an Exchange Online mailbox.',
      'Then try again, or try with another account.',
    ],
  }
}

/** No person can mend it, neither at the vendor nor here. */
function appNotSetUp(vendor: VendorName): Explanation {
  return {
    status: 503,
    title: 'The app is not set up correctly',
    paragraphs: [
      `${VENDOR_NAMES[vendor]} does not accept our app, no matter who signs in. You did nothing wrong. Nothing was connected.`,
      'Tell the people behind the app that you came from. When they have mended it, try again.',
    ],
    headers: { 'retry-after': RETRY_AFTER_S },
  }
}

/** The same: what the app asks for, or may ask for, is too little. */
function noLastingAccess(vendor: VendorName): Explanation {
  const page = appNotSetUp(vendor)
  const what = `${VENDOR_NAMES[vendor]} let us in for an hour and no longer, which is too short to keep a calendar up to date. You did nothing wrong. Nothing was connected.`
  return { ...page, paragraphs: [what, ...page.paragraphs.slice(1)] }
}

export function noCalendars(vendor: VendorName): Explanation {
  return {
    status: 403,
    title: 'There is no calendar to connect',
    paragraphs: [
      `This ${VENDOR_NAMES[vendor]} account has no calendar that it may read. Nothing was connected.`,
      'Try again with another account.',
    ],
  }
}

function askAdministrator(vendor: VendorName, approvalUrl: string | null = null): Explanation {
  return {
    status: 403,
    title: 'Your organization does not allow this yet',
    paragraphs: [
      `${VENDOR_NAMES[vendor]} did not let this account give us access to its calendars. Nothing was connected.`,
      `Ask the administrator of your ${VENDOR_NAMES[vendor]} organization to approve the app, or try again with another account.`,
      ...(approvalUrl === null ? [] : [`An administrator approves it for everybody here: ${approvalUrl}`]),
    ],
  }
}
