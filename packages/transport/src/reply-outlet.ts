/** Where one streamed reply goes: sends the head with the first piece, and counts what was promised. */
import { InvariantError } from '@tributary/protocol'
import type { Socket } from 'node:net'
import type { Outlet, StreamedReply } from './reply.ts'

export class ReplyOutlet implements Outlet {
  readonly #socket: Socket
  #head: Buffer | undefined
  #owedBytes: number

  constructor(socket: Socket, { head, contentBytes }: StreamedReply) {
    this.#socket = socket
    this.#head = head
    this.#owedBytes = contentBytes
  }

  /** Nothing of the reply has left: another one may be sent in its place. */
  get untouched(): boolean {
    return this.#head !== undefined
  }

  write(bytes: Buffer, done: (error?: Error | null) => void): void {
    this.#owedBytes -= bytes.byteLength
    if (this.#owedBytes < 0) {
      queueMicrotask(() => done(new InvariantError('a streamed reply wrote more than it announced')))
      return
    }
    const head = this.#head
    if (head === undefined) {
      this.#socket.write(bytes, done)
      return
    }
    this.#head = undefined
    this.#socket.cork()
    this.#socket.write(head)
    this.#socket.write(bytes, done)
    this.#socket.uncork()
  }

  /** The pump says that it is done. @throws {InvariantError} It wrote less than the head announced. */
  close(): void {
    if (this.#owedBytes !== 0) {
      throw new InvariantError(`a streamed reply kept back ${this.#owedBytes} bytes that it announced`)
    }
    if (this.#head) this.#socket.write(this.#head)
    this.#head = undefined
  }
}
