// Migrations go in two halves: expand, then contract. So a version and the one before it can run
// side by side, and a way back stays open.
import { describe, expect, test } from 'vitest'
import { Failure } from '#shared/domain/failure.ts'
import { compareTables, compatibleWith, knownFiles, sqlOf, tableProblem } from '#shared/store/table-set.ts'
import { problemsOf } from '../../support/expand-contract.ts'

const FILES = knownFiles()
const EXPAND = '-- Up Migration\n-- compatible-with: 000016\n'

describe('the files of schemas/sql', () => {
  test('name the oldest version that works with them, and take away only as a second half', () => {
    expect(FILES.length).toBeGreaterThan(15)
    expect(FILES.flatMap((name) => problemsOf(name, sqlOf(name)))).toEqual([])
  })

  test.each([
    ['drop column', 'alter table outbox drop column headers;', 'drops'],
    ['drop in a block', "do $$ begin execute 'drop table outbox'; end $$;", 'drops'],
    ['rename', 'alter table outbox rename column headers to heads;', 'renames'],
    ['set not null', 'alter table outbox alter column value set not null;', 'refuses null'],
    ['type', 'alter table outbox alter column id type text;', 'type of a column'],
    ['type, long', 'alter table outbox alter id\n  set data type text;', 'type of a column'],
    ['not null without default', 'alter table outbox add column a int not null;', 'leave out'],
    [
      'the second of two',
      "alter table outbox add column a int not null default 0, add column b text check (b in ('x', 'y')) not null;",
      'leave out',
    ],
    ['a constraint', 'alter table outbox add constraint short check (length(key) < 9);', 'constraint'],
    ['a unique index', 'create unique index one on outbox (key);', 'unique index'],
    ['revoke', 'revoke select on outbox from calstream_relay;', 'right'],
    ['truncate', 'truncate outbox;', 'empties'],
  ])('may not %s without saying so', (_what, statement, says) => {
    expect(problemsOf('000017_x', EXPAND + statement).join()).toContain(says)
    // As the second half it may.
    const contract = `-- Up Migration\n-- compatible-with: 000016\n-- contract-of: 000016\n${statement}`
    expect(problemsOf('000017_x', contract)).toEqual([])
  })

  test.each([
    ['a column', 'alter table outbox add column a int, add column b int not null default 0;'],
    ['a table', 'create table notes (id uuid primary key, text text not null);'],
    ['words in comments', "-- drop it later\ncomment on column outbox.key is 'drop; rename';"],
  ])('may add %s (control)', (_what, statement) => {
    expect(problemsOf('000017_x', EXPAND + statement)).toEqual([])
  })

  test.each([
    ['no header', '000017_x', '-- Up Migration\n', 'has no line'],
    ['a later version', '000017_x', '-- compatible-with: 000018\n', 'comes later'],
    [
      'a contract of itself',
      '000017_x',
      '-- compatible-with: 000017\n-- contract-of: 000017\n',
      'not before',
    ],
    [
      'too old a version',
      '000018_x',
      '-- compatible-with: 000016\n-- contract-of: 000017\n',
      'no version before',
    ],
  ])('are refused with %s', (_what, name, sql, says) => {
    expect(problemsOf(name, sql).join()).toContain(says)
  })
})

describe('a version looks at the tables', () => {
  const known = ['000001_a', '000002_b']
  const applied = (...files: readonly (readonly [string, number | null])[]) =>
    compareTables(
      known,
      files.map(([name, compatible]) => ({ name, compatibleWith: compatible })),
    )

  test.each([
    [
      'equal',
      [
        ['000001_a', 1],
        ['000002_b', 2],
      ],
      null,
    ],
    ['one file missing', [['000001_a', 1]], 'lacks 000002_b'],
    ['nothing there', [], 'lacks 000001_a, 000002_b'],
    [
      'newer and compatible',
      [
        ['000001_a', 1],
        ['000002_b', 2],
        ['000003_c', 2],
      ],
      null,
    ],
    [
      'newer and not compatible',
      [
        ['000001_a', 1],
        ['000002_b', 2],
        ['000003_c', 3],
      ],
      'does not work with',
    ],
    [
      'newer and not recorded',
      [
        ['000001_a', 1],
        ['000002_b', 2],
        ['000003_c', null],
      ],
      'does not work with',
    ],
    [
      'one of two newer ones not compatible',
      [
        ['000001_a', 1],
        ['000002_b', 2],
        ['000003_c', 3],
        ['000004_d', 1],
      ],
      'has 000003_c,',
    ],
  ] as const)('%s', (_what, files, says) => {
    const problem = tableProblem(applied(...files))
    if (says === null) expect(problem).toBeNull()
    else expect(problem).toContain(says)
  })

  test('a file without a header is a defect', () => {
    expect(() => compatibleWith('000017_x', '-- Up Migration\n')).toThrow(Failure)
  })
})
