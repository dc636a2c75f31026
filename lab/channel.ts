/** Questions and answers over Node's channel between two processes. */
import type { Serializable } from 'node:child_process'
import type { Socket } from 'node:net'

interface Message {
  /** A question has an order; its answer has the same id and none. */
  id: number
  order?: string
  args?: unknown
  value?: unknown
  error?: string
}

/** A child, or `process` in one. */
interface Peer {
  readonly connected: boolean
  on(event: 'message', listener: (message: unknown, socket: unknown) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
  send?(
    message: Serializable,
    handle?: Socket,
    options?: object,
    done?: (error: Error | null) => void
  ): boolean
}

/** Answers questions; what it throws is told to whoever asked. */
export type Answer = (order: string, args: unknown, socket?: Socket) => unknown

export class Channel {
  readonly #peer: Peer
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  #lastId = 0
  #gone: string | undefined

  /** For the side that mostly answers. */
  static serve(peer: Peer, answer: Answer): Channel {
    return new Channel(peer, answer)
  }

  constructor(peer: Peer, answer: Answer) {
    this.#peer = peer
    peer.on('message', (message: unknown, socket: unknown) => {
      const { id, order, args, value, error } = message as Message
      if (order !== undefined) void this.#reply(id, answer, order, args, socket as Socket | undefined)
      else {
        const waiting = this.#waiting.get(id)
        this.#waiting.delete(id)
        if (error === undefined) waiting?.resolve(value)
        else waiting?.reject(new Error(error))
      }
    })
    peer.on('disconnect', () => this.close('it is gone'))
  }

  /** @throws the other side refused, failed, or is gone: then nobody knows what became of the order. */
  call(order: string, args: unknown = {}, socket?: Socket): Promise<unknown> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined || !this.#peer.connected) {
        reject(new Error(this.#gone ?? 'it is gone'))
        return
      }
      this.#waiting.set(id, { resolve, reject })
      this.#peer.send!({ id, order, args }, socket, {}, error => {
        if (!error) return
        this.#waiting.delete(id)
        reject(error)
      })
    })
  }

  /** Fails what still waits. */
  close(reason: string): void {
    this.#gone ??= reason
    for (const { reject } of this.#waiting.values()) reject(new Error(this.#gone))
    this.#waiting.clear()
  }

  async #reply(id: number, answer: Answer, order: string, args: unknown, socket?: Socket): Promise<void> {
    let message: Message
    try {
      message = { id, value: await answer(order, args, socket) }
    } catch (error) {
      message = { id, error: error instanceof Error ? error.message : String(error) }
    }
    if (this.#peer.connected) this.#peer.send!(message as unknown as Serializable, undefined, {}, () => {})
  }
}
