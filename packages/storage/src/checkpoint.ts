/** Brings everything that was written to a local file system to disk, as one call: the work of sync(1) with -f. */
import { spawn } from 'node:child_process'

/** A disk that needs longer is given up; the redo log then takes nothing more. */
const SYNC_TIMEOUT_MS = 120_000

/** @throws {Error} the file system could not be synced: what was written may be lost. */
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
      else reject(new Error(`sync of ${path} failed: ${signal ?? `exit code ${code}`}`))
    })
  })
}
