import { sendContinue, type Exchange } from './exchange.ts'
import { HttpProblem } from './problem.ts'

export interface ContentBounds {
  uploadBytesMax: number
  /** A sender that says nothing for so long, while it is listened to, is given up. */
  silenceMs: number
}

/** The content of one request. Nothing of it is read before the first piece is asked for. */
export class UploadContent implements AsyncIterable<Uint8Array> {
  /** Why reading was broken off here. */
  failure: Error | undefined
  readonly #exchange: Exchange
  readonly #bytesMax: number
  /** What is too long is so by a quota. */
  readonly #quotaCuts: boolean
  readonly #silenceMs: number
  readonly #cancel: AbortController
  #timer: NodeJS.Timeout | undefined

  constructor(
    exchange: Exchange,
    { uploadBytesMax, silenceMs }: ContentBounds,
    sizeBytes: number | undefined,
    roomBytes: number | undefined,
    cancel: AbortController
  ) {
    this.#exchange = exchange
    this.#bytesMax = sizeBytes ?? Math.min(uploadBytesMax, roomBytes ?? Infinity)
    this.#quotaCuts = sizeBytes === undefined && roomBytes !== undefined && roomBytes < uploadBytesMax
    this.#silenceMs = silenceMs
    this.#cancel = cancel
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { request } = this.#exchange
    sendContinue(this.#exchange)
    let receivedBytes = 0
    const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>
    for (;;) {
      this.#listen()
      const { value, done } = await chunks.next()
      this.stop()
      if (done) break
      receivedBytes += value.byteLength
      if (receivedBytes > this.#bytesMax) {
        this.#fail(this.#quotaCuts ? quotaFull(this.#bytesMax) : tooLarge(this.#bytesMax))
        throw this.failure!
      }
      yield value
    }
    if (!request.complete) throw new HttpProblem(400, 'the content broke off')
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Silence counts only while somebody listens: storage may be the slow one. */
  #listen(): void {
    this.#timer = setTimeout(() => {
      this.#fail(new HttpProblem(408, `nothing came for ${this.#silenceMs / 1000} s`))
    }, this.#silenceMs)
  }

  #fail(failure: Error): void {
    this.failure = failure
    this.#cancel.abort(failure)
  }
}

export function tooLarge(bytesMax: number): HttpProblem {
  return new HttpProblem(413, `an upload may have ${bytesMax} bytes`)
}

function quotaFull(bytesLeft: number): HttpProblem {
  return new HttpProblem(507, `of the quota ${bytesLeft} bytes were left`, [], 'QUOTA_EXCEEDED')
}
