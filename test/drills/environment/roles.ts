// The passwords of the database roles in files of the services, so that they can change under load.
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { DATABASE_ROLES, type DatabaseRole, type StackSecrets } from '../../../infra/stack/secrets.ts'
import { writeWhole } from '../../../infra/stack/processes.ts'

/** What a rotation writes. */
export function roleFile(folder: string, role: DatabaseRole): string {
  return path.join(folder, 'credentials', role)
}

export function currentRolePassword(folder: string, role: DatabaseRole): string {
  return readFileSync(roleFile(folder, role), 'utf8').trimEnd()
}

/**
 * The settings that lead to the files. A file that is there stays: roles belong to the whole
 * server, and an earlier drill may have changed them.
 */
export function rolePasswordFiles(
  folder: string,
  { rolePasswords }: Pick<StackSecrets, 'rolePasswords'>,
): Readonly<Record<string, string>> {
  mkdirSync(path.join(folder, 'credentials'), { recursive: true, mode: 0o700 })
  return Object.fromEntries(
    DATABASE_ROLES.map((role) => {
      const file = roleFile(folder, role)
      if (!existsSync(file)) writeWhole(file, `${rolePasswords[role]}\n`)
      return [`POSTGRES_PASSWORD_FILE_${role.replace('calstream_', '').toUpperCase()}`, file]
    }),
  )
}
