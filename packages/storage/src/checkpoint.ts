/** Brings everything that was written to a local file system to disk, as one call: the work of sync(1) with -f. */
import { spawn } from 'node:child_process'
import { DiskSyncError } from './redo-log.ts'

/** A disk that needs longer is given up; the redo log then takes nothing more. */
const SYNC_TIMEOUT_MS = 120_000

/**
 * @throws {DiskSyncError} the file system could not be synced: what was written may be lost.
 * @throws {Error} it could not be tried.
 */
export async function syncFileSystem(path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn('sync', ['-f', path], {
      stdio: 'ignore',
      timeout: SYNC_TIMEOUT_MS,
      killSignal: 'SIGKILL'
    })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      if (code === 0) resolve()
      else reject(new DiskSyncError(`sync of ${path} failed: ${signal ?? `exit code ${code}`}`))
    })
  })
}
