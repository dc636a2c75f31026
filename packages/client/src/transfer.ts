/** One reply on a connection of its own, on its way: its head first, then the content, held until it is wanted. */
import {
  COMMANDS,
  encodeDownload,
  encodeFrame,
  extension,
  ProtocolError,
  UnavailableError,
  type FetchReply,
  type FetchRequest,
  type FileKey
} from '@tributary/protocol'
import type { Lease, PieceTaker } from '@tributary/transport'
import { fetchReplyTaker } from './fetch-reply.ts'
import type { Member } from './members.ts'

export interface TransferTimes {
  callTimeoutMs: number
  silenceMs: number
}

export class Transfer {
  readonly member: Member
  readonly #lease: Lease
  readonly #head = Promise.withResolvers<FetchReply>()
  readonly #done: Promise<void>
  #taker: PieceTaker | undefined
  #held: { piece: Buffer; release: () => void }[] = []

  /** FETCH, from a server of ours. */
  static fetch(lease: Lease, member: Member, request: FetchRequest, times: TransferTimes): Transfer {
    const frame = encodeFrame(COMMANDS.FETCH.code, extension.fetch.encode(request))
    return new Transfer(lease, member, frame, times, (transfer, bodyBytes) =>
      fetchReplyTaker(
        bodyBytes,
        reply => transfer.#head.resolve(reply),
        transfer.#take,
        error => lease.connection.destroy(error)
      )
    )
  }

  /** DOWNLOAD, from a legacy server: `lengthBytes` from `offset`, at least one. */
  static download(
    lease: Lease,
    member: Member,
    range: { key: FileKey; offset: number; lengthBytes: number },
    reply: FetchReply,
    times: TransferTimes
  ): Transfer {
    const { key, offset, lengthBytes } = range
    const frame = encodeFrame(COMMANDS.DOWNLOAD.code, encodeDownload({ key, offset, sizeBytes: lengthBytes }))
    return new Transfer(lease, member, frame, times, (transfer, bodyBytes) => {
      if (bodyBytes === lengthBytes) transfer.#head.resolve(reply)
      else {
        lease.connection.destroy(
          new ProtocolError('BAD_REPLY', `${bodyBytes} bytes came where ${lengthBytes} were asked for`)
        )
      }
      return transfer.#take
    })
  }

  private constructor(
    lease: Lease,
    member: Member,
    frame: Buffer,
    times: TransferTimes,
    open: (transfer: Transfer, bodyBytes: number) => PieceTaker
  ) {
    this.member = member
    this.#lease = lease
    member.inFlight++
    this.#done = lease.connection
      .callStreamed(frame, { timeoutMs: times.callTimeoutMs, silenceMs: times.silenceMs }, bodyBytes =>
        open(this, bodyBytes)
      )
      .finally(() => {
        member.inFlight--
        lease.release()
      })
    this.#done.then(
      () => this.#head.reject(new UnavailableError('CONNECTION_LOST', 'the reply ended before it began')),
      error => this.#head.reject(error as Error)
    )
    this.#head.promise.catch(() => {}) // whoever waits for it hears it
  }

  /** What the content is, known before its first byte. */
  get head(): Promise<FetchReply> {
    return this.#head.promise
  }

  /** Gives what is held and all that comes. Resolves after the last piece. */
  async pump(taker: PieceTaker): Promise<void> {
    this.#taker = taker
    const held = this.#held
    this.#held = []
    for (const { piece, release } of held) taker(piece, release)
    await this.#done
  }

  /** Ends it now; the connection is lost with it. */
  cut(error: Error): void {
    this.#lease.connection.destroy(error)
    this.#held = []
  }

  // At most what the connection's two buffers hold, or one reply below 1 MiB.
  readonly #take: PieceTaker = (piece, release) => {
    if (this.#taker) this.#taker(piece, release)
    else this.#held.push({ piece, release })
  }
}
