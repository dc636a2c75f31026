/** Files that no row knows: kept for a while under `.lost/<day>/`, and never deleted before. */
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { makeStoreDirectory } from './store-directory.ts'

export const LOST_FOLDER = '.lost'

export async function moveToLost(root: string, path: string, nowMs: number): Promise<void> {
  const day = new Date(nowMs).toISOString().slice(0, 10)
  const folder = join(root, LOST_FOLDER, day)
  await makeStoreDirectory(root, join(LOST_FOLDER, day))
  await rename(join(root, path), join(folder, path.replaceAll('/', '-')))
}
