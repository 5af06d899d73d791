// Times and counts as people say them, and what is shown for a state. Pure.
import { html, type Html } from './html.ts'

/** "3 min ago" or "in 2 h", with the instant itself on hover and for programs. */
export function when(iso: string | null, asOf: string, none = 'never'): Html {
  if (iso === null) return html`<span class="quiet">${none}</span>`
  const seconds = (Date.parse(iso) - Date.parse(asOf)) / 1000
  const words = Math.abs(seconds) < 1 ? 'now' : seconds < 0 ? `${span(-seconds)} ago` : `in ${span(seconds)}`
  return html`<time datetime="${iso}" title="${iso}">${words}</time>`
}

/** Seconds as a person says them. */
export function span(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}

/** 12345 as "12 345", with thin spaces. */
export function counted(number: number): string {
  return String(Math.round(number)).replaceAll(/\B(?=(?:\d{3})+$)/g, '\u2009')
}

export function count(number: number, what: string): string {
  return `${counted(number)} ${what}${number === 1 ? '' : 's'}`
}

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'off'

/** A sign for each tone, since colour alone tells not everybody. */
const SIGNS: Readonly<Record<Tone, string>> = { good: '✓', busy: '↻', warn: '▲', bad: '✕', off: '■' }

/** A word with its tone. */
export function badge(tone: Tone, word: string): Html {
  return html`<span class="badge ${tone}"><span aria-hidden="true">${SIGNS[tone]}</span> ${word}</span>`
}

const STATE_TONES: Readonly<Record<string, Tone>> = {
  in_sync: 'good',
  first_sync: 'busy',
  catching_up: 'busy',
  late: 'bad',
  partly_in_sync: 'warn',
  retrying: 'warn',
  paused: 'off',
  unknown: 'warn',
  needs_reauth: 'bad',
  disabled: 'off',
  disconnected: 'off',
  stale: 'warn',
  failing: 'bad',
  not_selected: 'off',
  removed: 'off',
}

/** A state of a connection or a calendar: `in_sync` as "in sync", with its tone. */
export function stateBadge(state: string): Html {
  return badge(STATE_TONES[state] ?? 'warn', wordsOf(state))
}

/** `catching_up` as "catching up". */
export function wordsOf(name: string): string {
  return name.replaceAll('_', ' ')
}

/** How a vendor writes itself. */
export function vendorName(vendor: string | null): string {
  if (vendor === null) return '–'
  return vendor === 'google' ? 'Google' : vendor === 'microsoft' ? 'Microsoft' : vendor
}
