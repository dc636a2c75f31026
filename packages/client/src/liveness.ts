/**
 * Servers that owe an answer for long: a volume that stalls is waited for, a host that vanished is not. Which of the two
 * it is, a HELLO on a connection of its own tells.
 */
import type { Address } from '@tributary/protocol'
import type { PeerPool } from '@tributary/transport'
import { isCode } from './retry-rules.ts'

/** For so long an answer may be owed before its server is asked whether it lives; and from one question to the next. */
export const OWED_MS = 1_000
/** So long has a server for its HELLO: no process that serves anybody is silent for longer. */
export const PROBE_TIMEOUT_MS = 1_500

/**
 * Waits for `reply` for as long as its server lives. One that refuses connections may be stopping and finish what it has
 * in hand: only silence counts.
 *
 * @throws {UnavailableError} TIMED_OUT: the server is silent, and whether it did what was asked is not known. What
 *   `reply` throws.
 */
export function whileAlive<T>(reply: Promise<T>, pool: PeerPool, address: Address): Promise<T> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const look = (): void => {
      pool.probe(address, PROBE_TIMEOUT_MS).then(later, (error: unknown) => {
        if (isCode(error, 'TIMED_OUT')) reject(error)
        else later()
      })
    }
    const later = (): void => {
      if (!isOver) timer = setTimeout(look, OWED_MS)
    }
    const over = (): void => {
      isOver = true
      clearTimeout(timer)
    }
    let timer = setTimeout(look, OWED_MS)
    reply.then(
      answer => {
        over()
        resolve(answer)
      },
      (error: unknown) => {
        over()
        reject(error)
      }
    )
  })
}
