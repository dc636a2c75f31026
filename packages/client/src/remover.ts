/**
 * Deleting, so that a lost reply leaves nobody in doubt. What is deleted is a generation of a file: to ask for that again,
 * of any server and however late, does no harm to a later file of its name.
 */
import {
  COMMANDS,
  encodeFileKey,
  encodeFrame,
  extension,
  OutcomeUnknownError,
  UnavailableError,
  type FileKey
} from '@tributary/protocol'
import type { Lease, PeerPool } from '@tributary/transport'
import { sizeFrame } from './fetcher.ts'
import { whileAlive } from './liveness.ts'
import type { MemberCalls } from './member-calls.ts'
import type { Member } from './members.ts'
import { abortable, isCode, leavesDoubt } from './retry-rules.ts'

/** A delete by a server that knows no generations is sent so many times in all, each after a look that the file is there. */
const BLIND_ATTEMPTS_MAX = 4
/** Generations that may be found to be gone in a row, each replaced by the next. */
const GENERATIONS_MAX = 4

/** Facts of the file that has the key now; an empty generation: the server knows none. */
type Look = (key: FileKey, signal: AbortSignal | undefined) => Promise<{ generation: string }>

export class Remover {
  readonly #calls: MemberCalls
  readonly #pool: PeerPool
  readonly #callTimeoutMs: number
  readonly #commitTimeoutMs: number
  readonly #look: Look

  constructor(
    calls: MemberCalls,
    pool: PeerPool,
    times: { callTimeoutMs: number; commitTimeoutMs: number },
    look: Look
  ) {
    this.#calls = calls
    this.#pool = pool
    this.#callTimeoutMs = times.callTimeoutMs
    this.#commitTimeoutMs = times.commitTimeoutMs
    this.#look = look
  }

  async delete(key: FileKey, signal: AbortSignal | undefined): Promise<void> {
    for (let tried = 1; ; tried++) {
      const { generation } = await this.#look(key, signal)
      try {
        return await this.#delete(key, generation, signal)
      } catch (error) {
        // Somebody else was faster, and the name is another file's already, or nobody's: the next look tells.
        if (!isCode(error, 'FILE_NOT_FOUND') || generation === '' || tried === GENERATIONS_MAX) throw error
      }
    }
  }

  /** This generation and no later one, also where nobody can read it any more: from the trash. */
  deleteGeneration(
    key: FileKey,
    generation: string,
    fromTrash: boolean,
    signal: AbortSignal | undefined
  ): Promise<void> {
    return this.#delete(key, generation, signal, fromTrash)
  }

  /** Into the trash, or out of it (0). Asked for by its generation it may be asked for again. */
  async trash(
    key: FileKey,
    generation: string,
    untilMs: number,
    signal: AbortSignal | undefined
  ): Promise<void> {
    const frame = encodeFrame(COMMANDS.TRASH.code, extension.trash.encode({ ...key, generation, untilMs }))
    try {
      await this.#calls.ask(
        key,
        signal,
        async member => {
          const lease = await this.#pool.lease(member.address, { timeoutMs: this.#callTimeoutMs, signal })
          try {
            if (((lease.connection.hello?.features ?? 0) & extension.FEATURES.TRASH) === 0) {
              throw new UnavailableError(
                'STORE_UNAVAILABLE',
                `storage server ${lease.connection.name} is an older program, without a trash`
              )
            }
            const reply = lease.connection.call(frame, { timeoutMs: this.#commitTimeoutMs })
            await abortable(whileAlive(reply, this.#pool, member.address), signal)
          } finally {
            lease.release()
          }
        },
        async () => undefined
      )
    } finally {
      this.#calls.locations.forget(key)
    }
  }

  async #delete(
    key: FileKey,
    generation: string,
    signal: AbortSignal | undefined,
    fromTrash = false
  ): Promise<void> {
    let inDoubt = false
    let blindAttempts = 0
    const attempt = async (member: Member): Promise<true> => {
      const lease = await this.#pool.lease(member.address, { timeoutMs: this.#callTimeoutMs, signal })
      try {
        const isBlind = generation === '' || !knowsRemove(lease)
        if (isBlind) blindAttempts++
        const frame = isBlind
          ? encodeFrame(COMMANDS.DELETE.code, encodeFileKey(key))
          : encodeFrame(
              COMMANDS.REMOVE.code,
              extension.remove.encode({ ...key, generation, fromTrash: fromTrash || undefined })
            )
        const reply = lease.connection.call(frame, { timeoutMs: this.#commitTimeoutMs })
        await abortable(whileAlive(reply, this.#pool, member.address), signal)
        return true
      } catch (error) {
        inDoubt ||= leavesDoubt(error) || this.#calls.cutOff(error)
        throw error
      } finally {
        lease.release()
      }
    }
    const settle = async (failure: Error): Promise<true | undefined> => {
      // Asked for by its generation it is simply asked for again.
      if (!inDoubt || blindAttempts === 0) return undefined
      if (await this.#isGone(key, signal)) return true
      if (blindAttempts >= BLIND_ATTEMPTS_MAX) throw doubt(failure)
      return undefined
    }
    try {
      await this.#calls.ask(key, signal, attempt, settle)
    } catch (error) {
      if (!inDoubt || isCode(error, 'CANCELLED')) throw error
      // An attempt whose reply was lost did it. Or may have: that a later one was refused says nothing of it.
      if (!isCode(error, 'FILE_NOT_FOUND')) throw doubt(error)
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

function knowsRemove({ connection }: Lease): boolean {
  return ((connection.hello?.features ?? 0) & extension.FEATURES.REMOVE) !== 0
}

function doubt(cause: unknown): OutcomeUnknownError {
  if (isCode(cause, 'OUTCOME_UNKNOWN')) return cause as OutcomeUnknownError
  return new OutcomeUnknownError(`whether the file was deleted is not known: ${(cause as Error).message}`, {
    cause
  })
}
