/** The content of one file or range, from as many servers as it takes, without a seam. */
import {
  CancelledError,
  formatFileKey,
  ProtocolError,
  RejectedError,
  type FileFacts
} from '@tributary/protocol'
import type { FileKey } from '@tributary/protocol'
import type { PeerPool, PieceTaker } from '@tributary/transport'
import { ALONE_MS, ALONE_SILENCE_MS } from './company.ts'
import type { Location } from './locations.ts'
import type { MemberCalls } from './member-calls.ts'
import type { Member } from './members.ts'
import { abortable, cancelledBy, worthElsewhere, type Patience } from './retry-rules.ts'
import { Transfer, type TransferTimes } from './transfer.ts'

/** Content that nobody claims is given up, so that a forgotten call does not hold a connection. */
const UNCLAIMED_MS = 60_000
/** After so many bytes from a server its predecessors' failures no longer count. */
const PROGRESS_BYTES = 1024 * 1024
/** Servers that may fail one after the other without such progress. */
const FAILURES_MAX = 12

export interface Content {
  key: FileKey
  facts: FileFacts
  offset: number
  lengthBytes: number
}

export class ContentStream {
  readonly #content: Content
  readonly #calls: MemberCalls
  readonly #pool: PeerPool
  readonly #times: TransferTimes
  readonly #endBytes: number
  #positionBytes: number
  #transfer: Transfer | undefined
  #unclaimed: NodeJS.Timeout | undefined
  #ended: Error | undefined
  #claimed = false

  /** @param transfer The first one, when it is under way already. */
  constructor(
    content: Content,
    calls: MemberCalls,
    pool: PeerPool,
    times: TransferTimes,
    transfer: Transfer | undefined
  ) {
    this.#content = content
    this.#calls = calls
    this.#pool = pool
    this.#times = times
    this.#positionBytes = content.offset
    this.#endBytes = content.offset + content.lengthBytes
    this.#transfer = transfer
    if (transfer) {
      this.#unclaimed = setTimeout(() => this.cancel(), UNCLAIMED_MS)
      this.#unclaimed.unref()
    }
  }

  cancel(): void {
    this.#end(new CancelledError('the content is not wanted'))
  }

  async stream(taker: PieceTaker, signal: AbortSignal | undefined): Promise<void> {
    if (this.#claimed) throw new CancelledError('the content was given already')
    this.#claimed = true
    clearTimeout(this.#unclaimed)
    const onAbort = (): void => this.#end(cancelledBy(signal!))
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      await this.#run(taker, signal)
    } catch (error) {
      throw this.#ended ?? error
    } finally {
      signal?.removeEventListener('abort', onAbort)
      this.#transfer = undefined
    }
  }

  async #run(taker: PieceTaker, signal: AbortSignal | undefined): Promise<void> {
    const deliver: PieceTaker = (piece, release) => {
      if (this.#ended) return release()
      this.#positionBytes += piece.byteLength
      taker(piece, release)
    }
    let failures = 0
    let failedAtBytes = this.#positionBytes
    let patience: Patience | undefined
    const tried = new Set<Member>()
    let location: Location | undefined
    for (;;) {
      if (this.#ended) throw this.#ended
      let member: Member | undefined = this.#transfer?.member
      try {
        if (!this.#transfer) {
          if (this.#positionBytes >= this.#endBytes) return
          location ??=
            this.#calls.locations.remembered(this.#content.key) ??
            (await abortable(this.#calls.locations.ask(this.#content.key), signal))
          member = this.#calls.members.pick(location.members, tried)
          if (!member) {
            // All of them failed: the tracker may know others, or one of them is back in a moment.
            tried.clear()
            location = await abortable(this.#calls.locations.ask(this.#content.key), signal)
            member = this.#calls.members.pick(location.members)
          }
          if (member) {
            const times = hastyTimes(this.#times, location, failures)
            this.#transfer = await this.#open(member, times, signal)
          }
        }
        if (this.#transfer) await this.#transfer.pump(deliver)
        if (this.#positionBytes >= this.#endBytes) return
        this.#transfer = undefined
        throw new ProtocolError(
          'BAD_REPLY',
          `the content of ${formatFileKey(this.#content.key)} ended too early`
        )
      } catch (error) {
        this.#transfer = undefined
        if (this.#ended || this.#calls.closed || !worthElsewhere(error)) throw error
        if (member) {
          tried.add(member)
          this.#calls.noteFailure(member, error)
        }
        if (this.#positionBytes >= failedAtBytes + PROGRESS_BYTES) {
          failures = 0
          patience = undefined
          failedAtBytes = this.#positionBytes
        }
        if (++failures > FAILURES_MAX) throw error
        if (location && this.#calls.members.pick(location.members, tried)) continue
        if (failures > 1 || !member) {
          patience ??= this.#calls.newPatience(signal)
          if (!(await patience.pause())) throw error
        }
      }
    }
  }

  /** Asks `member` for what is missing of this very content. */
  async #open(member: Member, times: TransferTimes, signal: AbortSignal | undefined): Promise<Transfer> {
    const { key, facts } = this.#content
    const offset = this.#positionBytes
    const lengthBytes = this.#endBytes - offset
    const lease = await this.#pool.lease(member.address, { timeoutMs: this.#times.callTimeoutMs, signal })
    if (!lease.ours) {
      if (facts.generation !== '') {
        lease.release()
        throw new ProtocolError(
          'BAD_REPLY',
          'an older storage server cannot go on with a file by its generation'
        )
      }
      return (this.#transfer = Transfer.download(lease, member, { key, offset, lengthBytes }, facts, times))
    }
    if (facts.generation === '') {
      lease.release()
      throw new RejectedError(
        'GENERATION_MISMATCH',
        'the server changed in mid-file, and nothing tells the file is the same'
      )
    }
    const request = { ...key, generation: facts.generation, start: offset, end: this.#endBytes - 1 }
    const transfer = (this.#transfer = Transfer.fetch(lease, member, request, times))
    const head = await transfer.head
    if (head.generation !== facts.generation) {
      const wrong = new RejectedError('GENERATION_MISMATCH', `${formatFileKey(key)} was replaced meanwhile`)
      transfer.cut(wrong)
      throw wrong
    }
    if (
      head.omitted ||
      (head.offset ?? 0) !== offset ||
      (head.lengthBytes ?? head.sizeBytes) !== lengthBytes
    ) {
      const wrong = new ProtocolError('BAD_REPLY', 'the reply is not the range that was asked for')
      transfer.cut(wrong)
      throw wrong
    }
    return transfer
  }

  #end(error: Error): void {
    if (this.#ended) return
    this.#ended = error
    clearTimeout(this.#unclaimed)
    this.#transfer?.cut(error)
  }
}

/** A silent server is left for another one soon, while there are some that were not tried; then each gets its full time. */
export function hastyTimes(times: TransferTimes, { members }: Location, failures: number): TransferTimes {
  if (failures >= members.length - 1) return times
  return {
    callTimeoutMs: Math.min(times.callTimeoutMs, ALONE_MS),
    silenceMs: Math.min(times.silenceMs, ALONE_SILENCE_MS)
  }
}
