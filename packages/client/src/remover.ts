/** Deleting, so that a lost reply leaves nobody in doubt. */
import { COMMANDS, encodeFileKey, encodeFrame, OutcomeUnknownError, type FileKey } from '@tributary/protocol'
import type { PeerPool } from '@tributary/transport'
import { sizeFrame } from './fetcher.ts'
import { whileAlive } from './liveness.ts'
import type { MemberCalls } from './member-calls.ts'
import type { Member } from './members.ts'
import { abortable, isCode, leavesDoubt } from './retry-rules.ts'

/** A delete that was lost is sent so many times in all, each after a look that showed the file is still there. */
const ATTEMPTS_MAX = 4

export class Remover {
  readonly #calls: MemberCalls
  readonly #pool: PeerPool
  readonly #callTimeoutMs: number
  readonly #commitTimeoutMs: number

  constructor(calls: MemberCalls, pool: PeerPool, times: { callTimeoutMs: number; commitTimeoutMs: number }) {
    this.#calls = calls
    this.#pool = pool
    this.#callTimeoutMs = times.callTimeoutMs
    this.#commitTimeoutMs = times.commitTimeoutMs
  }

  async delete(key: FileKey, signal: AbortSignal | undefined): Promise<void> {
    const frame = encodeFrame(COMMANDS.DELETE.code, encodeFileKey(key))
    let inDoubt = false
    let attempts = 0
    try {
      await this.#calls.ask(
        key,
        signal,
        async member => {
          const lease = await this.#pool.lease(member.address, { timeoutMs: this.#callTimeoutMs, signal })
          try {
            attempts++
            const reply = lease.connection.call(frame, { timeoutMs: this.#commitTimeoutMs })
            await abortable(whileAlive(reply, this.#pool, member.address), signal)
            return true
          } catch (error) {
            inDoubt ||= leavesDoubt(error) || this.#calls.cutOff(error)
            throw error
          } finally {
            lease.release()
          }
        },
        async failure => {
          if (!inDoubt) return undefined
          const gone = await this.#isGone(key, signal)
          if (gone) return true
          if (attempts >= ATTEMPTS_MAX) throw doubt(failure)
          return undefined
        }
      )
    } catch (error) {
      // An attempt whose reply was lost did it.
      if (!(inDoubt && isCode(error, 'FILE_NOT_FOUND')))
        throw inDoubt && (leavesDoubt(error) || this.#calls.cutOff(error)) ? doubt(error) : error
    } finally {
      this.#calls.locations.forget(key)
    }
  }

  /** False also where nobody can tell. */
  async #isGone(key: FileKey, signal: AbortSignal | undefined): Promise<boolean> {
    try {
      const { members } = await abortable(this.#calls.locations.ask(key, { fresh: true }), signal)
      const tried = new Set<Member>()
      for (let member; (member = this.#calls.members.pick(members, tried)); tried.add(member)) {
        try {
          const call = this.#pool.call(member.address, () => sizeFrame(key), {
            timeoutMs: this.#callTimeoutMs
          })
          await abortable(whileAlive(call, this.#pool, member.address), signal)
          return false
        } catch (error) {
          // A legacy server has one errno for all it cannot do; after a delete this one means: not there.
          if (isCode(error, 'FILE_NOT_FOUND') || isCode(error, 'PEER_ERROR')) return true
          if (isCode(error, 'CANCELLED')) throw error
        }
      }
    } catch (error) {
      if (isCode(error, 'CANCELLED')) throw error
    }
    return false
  }
}

function doubt(cause: unknown): OutcomeUnknownError {
  if (isCode(cause, 'OUTCOME_UNKNOWN')) return cause as OutcomeUnknownError
  return new OutcomeUnknownError(`whether the file was deleted is not known: ${(cause as Error).message}`, {
    cause
  })
}
