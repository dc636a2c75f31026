/** How slow this machine is just now, so that a promise made in seconds can be held to on a busy one as well. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const execute = promisify(execFile)
/** A bare Node that does nothing starts and ends within this on two idle cores. */
const BARE_START_MS = 60
const SAMPLES = 2
const SLOWNESS_MAX = 12

/** 1 where the machine is idle; 5: what is promised within a second may take five. */
export async function machineSlowness(): Promise<number> {
  let slowestMs = BARE_START_MS
  for (let i = 0; i < SAMPLES; i++) {
    const startMs = performance.now()
    await execute(process.execPath, ['-e', ''])
    slowestMs = Math.max(slowestMs, performance.now() - startMs)
  }
  return Math.min(SLOWNESS_MAX, slowestMs / BARE_START_MS)
}
