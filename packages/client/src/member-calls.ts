/** One request, asked from the members of the file's group in turn, and again later while that makes sense. */
import { errorOf, formatAddress, formatFileKey, UnavailableError, type FileKey } from '@tributary/protocol'
import type { ClientEvent } from './contract.ts'
import type { Location, Locations } from './locations.ts'
import type { Member, Members } from './members.ts'
import type { LocateQuestion } from './tracker-calls.ts'
import { abortable, isCode, leavesDoubt, Patience, worthElsewhere, worthLater } from './retry-rules.ts'

export class MemberCalls {
  readonly members: Members
  readonly locations: Locations
  readonly #retryForMs: number
  readonly #onEvent: (event: ClientEvent) => void
  #closed = false

  constructor(
    members: Members,
    locations: Locations,
    retryForMs: number,
    onEvent: (event: ClientEvent) => void
  ) {
    this.members = members
    this.locations = locations
    this.#retryForMs = retryForMs
    this.#onEvent = onEvent
  }

  /**
   * Calls `attempt` with one member after the other until it succeeds.
   *
   * @param settle Called after a failure that leaves in doubt whether the request was carried out; what it returns
   *               is the answer, undefined lets the next attempt be made.
   * @param question As Locations.ask has it.
   * @throws the last failure; FILE_NOT_FOUND only where a place just asked for says so.
   */
  async ask<T>(
    key: FileKey,
    signal: AbortSignal | undefined,
    attempt: (member: Member, location: Location) => Promise<T>,
    settle?: (error: Error) => Promise<T | undefined>,
    question: LocateQuestion = {}
  ): Promise<T> {
    let location = this.locations.remembered(key)
    let patience: Patience | undefined
    /** A server said that another group has the file: the tracker has to look again too. */
    let wasMoved = false
    for (;;) {
      let isFresh = false
      let failure: unknown
      let isMoved = false
      try {
        if (!location) {
          const asked = wasMoved ? { ...question, fresh: true as const } : question
          location = await abortable(this.locations.ask(key, asked), signal)
          isFresh = true
        }
        const tried = new Set<Member>()
        for (;;) {
          const member = this.members.pick(location.members, tried)
          if (!member) break
          tried.add(member)
          try {
            member.inFlight++
            return await attempt(member, location)
          } catch (error) {
            failure = failure === undefined || leavesDoubt(failure) ? error : failure
            if (isCode(error, 'FILE_NOT_FOUND') && !isFresh) break
            if (isCode(error, 'WRONG_GROUP') && !wasMoved) {
              wasMoved = true
              isMoved = true
              break
            }
            if (!worthElsewhere(error) && !(settle && leavesDoubt(error))) throw error
            this.noteFailure(member, error)
            const settled = settle && leavesDoubt(error) ? await settle(error as Error) : undefined
            if (settled !== undefined) return settled
          } finally {
            member.inFlight--
          }
        }
        if (isMoved) {
          this.locations.forget(key)
          location = undefined
          continue
        }
        failure ??= new UnavailableError('NO_STORAGE_READY', `no storage server for ${formatFileKey(key)}`)
        if (isCode(failure, 'PEER_ERROR') && location.exists === false) {
          // A legacy server has one errno for everything; together with the tracker's word it is plain.
          throw errorOf('FILE_NOT_FOUND', `${formatFileKey(key)} does not exist`, { cause: failure })
        }
      } catch (error) {
        failure = error
        if (!worthLater(error)) throw error
      }
      location = undefined
      if (!isFresh && isCode(failure, 'FILE_NOT_FOUND')) continue
      if (this.#closed || !(worthLater(failure) || (!isFresh && worthElsewhere(failure)))) throw failure
      patience ??= new Patience(this.#retryForMs, signal)
      if (!(await patience.pause())) throw failure
    }
  }

  noteFailure(member: Member, error: unknown): void {
    if (leavesDoubt(error) || isCode(error, 'SHUTTING_DOWN') || isCode(error, 'STORE_UNAVAILABLE')) {
      this.members.failed(member)
    }
    const text = `storage server ${formatAddress(member.address)}: ${(error as Error).message}`
    this.#onEvent({ level: 'warn', text })
  }

  newPatience(signal: AbortSignal | undefined): Patience {
    return new Patience(this.#retryForMs, signal)
  }

  get closed(): boolean {
    return this.#closed
  }

  /** The caller closed the client under a call: a request that had left may have been carried out. */
  cutOff(error: unknown): boolean {
    return this.#closed && isCode(error, 'SHUTTING_DOWN')
  }

  close(): void {
    this.#closed = true
  }
}
