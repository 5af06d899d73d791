// `calstream reset`: the local stack forgets everything,
// so that the next `npm start` begins afresh.
import { clearFolder, holdFolder, STACK_FOLDER } from '../stack/stack-folder.ts'

/** Throws a UserError while the stack runs. */
export async function resetStack(folder: string = STACK_FOLDER): Promise<void> {
  using _held = await holdFolder(folder)
  clearFolder(folder)
}
