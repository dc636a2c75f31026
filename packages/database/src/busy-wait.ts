import { setTimeout as sleep } from 'node:timers/promises'
import { isBusy } from './sqlite-connection.ts'

// Other processes write to the same file, one transaction at a time, each a few milliseconds long. The
// waits are short and random, so that nobody is always last.
const WAIT_MS_MIN = 0.2
const WAIT_MS_MAX = 3

const waitMs = (): number => WAIT_MS_MIN + Math.random() * (WAIT_MS_MAX - WAIT_MS_MIN)

/** Runs `attempt` until no other process is in its way, or the deadline passed; stops this thread meanwhile. */
export function untilFreeSync<T>(attempt: () => T, timeoutMs: number): T {
  const deadline = performance.now() + timeoutMs
  const cell = new Int32Array(new SharedArrayBuffer(4))
  for (;;) {
    try {
      return attempt()
    } catch (error) {
      if (!isBusy(error) || performance.now() >= deadline) throw error
      Atomics.wait(cell, 0, 0, waitMs())
    }
  }
}

/** The same without stopping the thread. */
export async function untilFree<T>(attempt: () => T, timeoutMs: number): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    try {
      return attempt()
    } catch (error) {
      if (!isBusy(error) || performance.now() >= deadline) throw error
      await sleep(Math.ceil(waitMs()))
    }
  }
}
