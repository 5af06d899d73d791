// The verdicts of the failure drills, where this installation has their evidence: a clone has, the
// image has not.
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { z } from 'zod'
import { html, type Html } from '../html.ts'
import { empty, table } from '../layout.ts'
import { badge, when } from '../words.ts'
import type { Page } from './pages.ts'

const EVIDENCE = path.resolve(import.meta.dirname, '../../../docs/drills/evidence/ci')

const evidence = z.object({
  drill: z.string(),
  title: z.string(),
  verdict: z.string(),
  end: z.string(),
  criteria: z.array(z.object({ text: z.string(), verdict: z.string() })),
})

interface Drills {
  readonly as_of: string
  readonly drills: readonly {
    id: string
    title: string
    verdict: string
    ended_at: string
    criteria: number
    passed: number
  }[]
}

/** Whether there is anything to show. */
export async function hasDrills(folder = EVIDENCE): Promise<boolean> {
  return (await namesIn(folder)).length > 0
}

export function drillsPage(folder = EVIDENCE): Page<Drills> {
  return {
    path: '/drills',
    at: '/drills',
    async read() {
      const names = await namesIn(folder)
      const found = await Promise.all(names.map((name) => verdictIn(path.join(folder, name))))
      return { as_of: new Date().toISOString(), drills: found.flatMap((one) => one ?? []) }
    },
    view: (drills) => ({ title: 'Drills', body: view(drills) }),
  }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => name.endsWith('.json')).toSorted()
}

/** null for a file that is no evidence. */
async function verdictIn(file: string): Promise<Drills['drills'][number] | null> {
  const parsed = evidence.safeParse(parsedOrNull(await readFile(file, 'utf8')))
  if (!parsed.success) return null
  const { drill, title, verdict, end, criteria } = parsed.data
  const passed = criteria.filter((one) => one.verdict === 'PASS').length
  return { id: drill, title, verdict, ended_at: end, criteria: criteria.length, passed }
}

function parsedOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function view({ drills, as_of: asOf }: Drills): Html {
  if (drills.length === 0)
    return empty('No drill has left its evidence here.', html`<code>npm run drill -- --profile ci</code>`)
  const rows = drills.map(
    ({ id, title, verdict, ended_at: at, criteria, passed }) =>
      html`<tr>
        <th scope="row"><code>${id}</code></th>
        <td class="wide">${title}</td>
        <td>${badge(verdict === 'PASS' ? 'good' : 'bad', verdict)}</td>
        <td class="number">${passed} of ${criteria}</td>
        <td>${when(at, asOf)}</td>
      </tr>`,
  )
  return html`<section>
    ${table('Drills', ['Drill', 'What is claimed', 'Verdict', html`<span class="right">Criteria</span>`, 'When'], rows)}
  </section>`
}
