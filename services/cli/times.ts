// Times as a person says them, beside the exact ones.

/** Seconds as a person says them. */
export function span(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}

/** "3 min ago", "in 2 h". `now` in ms since 1970. */
export function awayFrom(at: Date, now: number): string {
  const seconds = (now - at.getTime()) / 1000
  if (Math.abs(seconds) < 1) return 'now'
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`
}

/** As isoOf writes it, and Date: an instant in UTC. */
const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z$/

/** The text with how far away it is, if it is an instant; else null. `now` in ms since 1970. */
export function instantWords(text: string, now: number): string | null {
  return INSTANT.test(text) ? `${text} (${awayFrom(new Date(text), now)})` : null
}
