/** Clients that upload and delete over several connections, and write down what they were promised. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Address } from '@tributary/protocol'
import type { Ledger } from './ledger.ts'
import { someSize, type Random } from './random.ts'
import { Lost, Refused, WirePeer } from './wire-peer.ts'

/** As many uploads are on their way at most. */
export const CONNECTIONS = 8
const RETRY_MS = 10

export interface LoadOptions {
  address: () => Address
  ledger: Ledger
  random: Random
  /** Operations to begin in all. */
  operations: number
  /** Errors that are to be expected; anything else fails the test. */
  mayRefuse?: readonly string[]
  sizeOf?: (random: Random) => number
}

export class Load {
  begun = 0
  readonly done: Promise<void>
  readonly #options: LoadOptions
  #stopped = false
  #failure: unknown

  constructor(options: LoadOptions) {
    this.#options = options
    const clients = Array.from({ length: CONNECTIONS }, (_, index) => this.#client(index))
    this.done = Promise.all(clients).then(() => {
      if (this.#failure !== undefined) throw new Error('the load failed', { cause: this.#failure })
    })
    this.done.catch(() => {})
  }

  get isOver(): boolean {
    return this.#stopped || this.#failure !== undefined || this.begun >= this.#options.operations
  }

  stop(): Promise<void> {
    this.#stopped = true
    return this.done
  }

  async #client(index: number): Promise<void> {
    const { address, mayRefuse = [] } = this.#options
    let peer: WirePeer | undefined
    while (!this.isOver) {
      try {
        if (!peer || peer.lost) peer = await WirePeer.greeted(address())
        await this.#operate(peer, index)
      } catch (error) {
        peer?.close()
        peer = undefined
        const isExpected =
          error instanceof Lost ||
          (error as NodeJS.ErrnoException).code === 'ECONNREFUSED' ||
          (error as NodeJS.ErrnoException).code === 'ECONNRESET' ||
          (error instanceof Refused && mayRefuse.includes(error.code ?? ''))
        if (!isExpected) this.#failure = error
        await sleep(RETRY_MS)
      }
    }
    peer?.close()
  }

  async #operate(peer: WirePeer, client: number): Promise<void> {
    const { ledger, random, sizeOf = someSize } = this.#options
    const number = this.begun++
    if (random.below(4) === 0) {
      const stored = ledger.stored()
      if (stored.length > 0) return ledger.delete(peer, random.pick(stored))
    }
    return ledger.upload(peer, `file-${number}-${client}`, sizeOf(random))
  }
}
