/** Servers and raw peers for the tests of this package. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { encodeFileKey, encodeFrame, COMMANDS, HELLO_OF, readBodyBytes, type Role } from '@tributary/protocol'
import { FrameServer, encodeGreeting, replyOf, type FrameServerOptions, type Handlers } from '../src/index.ts'

export const GREETING = { role: 'storage', cluster: 'c1', version: '0.1.0' } as const
export const noDeadline = new AbortController().signal

export const KEY = { application: 'media', user: 'anna', file: 'film-1' }
export const FILESIZE = encodeFrame(COMMANDS.FILESIZE.code, encodeFileKey(KEY))
export const EIGHT_BYTES = Buffer.from('0000000000000020', 'hex')
export const SIZE_REPLY = replyOf('storage', EIGHT_BYTES)

/** Every command of a storage server is refused, but for what the test gives. */
export function storageHandlers(given: Partial<Handlers<'storage'>>): Handlers<'storage'> {
  const unwanted = (): never => {
    throw new Error('the test expects no such request')
  }
  const names = Object.entries(COMMANDS).filter(([, { role }]) => role === 'storage')
  const all = Object.fromEntries(names.map(([name]) => [name, unwanted]))
  return { ...all, ...given } as Handlers<'storage'>
}

export interface Running {
  server: FrameServer<'storage'>
  port: number
  faults: unknown[]
}

export async function startServer(
  t: TestContext,
  handlers: Partial<Handlers<'storage'>>,
  options: Partial<FrameServerOptions<'storage'>> = {}
): Promise<Running> {
  const faults: unknown[] = []
  const server = new FrameServer({
    role: 'storage',
    hostName: 'here',
    greeting: GREETING,
    handlers: storageHandlers(handlers),
    onFault: fault => faults.push(fault),
    ...options
  })
  const { port } = await server.start({ host: '127.0.0.1', port: 0 })
  t.after(() => server.stop(AbortSignal.abort()))
  return { server, port, faults }
}

/** A TCP server whose every connection the test scripts by itself. */
export async function startScripted(
  t: TestContext,
  script: (socket: Socket, index: number) => void
): Promise<{ port: number; server: Server; sockets: Socket[] }> {
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    socket.on('error', () => {})
    sockets.push(socket)
    script(socket, sockets.length - 1)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { port: (server.address() as AddressInfo).port, server, sockets }
}

export interface Frame {
  command: number
  status: number
  body: Buffer
  bytes: Buffer
}

/** A client that sends what bytes it likes. */
export class RawPeer {
  readonly socket: Socket
  received = Buffer.alloc(0)
  ended = false
  closed = false
  reset = false
  #wake: (() => void) | undefined

  constructor(port: number, host = '127.0.0.1') {
    this.socket = connect({ port, host, allowHalfOpen: true, noDelay: true })
    this.socket.on('data', chunk => {
      this.received = Buffer.concat([this.received, chunk])
      this.#wake?.()
    })
    this.socket.on('end', () => {
      this.ended = true
      this.#wake?.()
    })
    this.socket.on('error', error => {
      this.reset = (error as NodeJS.ErrnoException).code === 'ECONNRESET'
    })
    this.socket.on('close', () => {
      this.closed = true
      this.#wake?.()
    })
  }

  static async open(t: TestContext, port: number): Promise<RawPeer> {
    const peer = new RawPeer(port)
    t.after(() => peer.socket.destroy())
    await once(peer.socket, 'connect')
    return peer
  }

  send(...parts: Uint8Array[]): void {
    for (const part of parts) this.socket.write(part)
  }

  /** One byte per write and turn, so that the other side sees them one by one. */
  async drip(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; at++) {
      this.socket.write(bytes.subarray(at, at + 1))
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  async until(condition: () => boolean, what: string, withinMs = 5_000): Promise<void> {
    const deadlineMs = performance.now() + withinMs
    while (!condition()) {
      const leftMs = deadlineMs - performance.now()
      if (leftMs <= 0) throw new Error(`waited ${withinMs} ms in vain: ${what}`)
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, leftMs)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** The next frame that came. */
  async frame(): Promise<Frame> {
    const whole = (): boolean =>
      this.received.byteLength >= 10 && this.received.byteLength >= 10 + readBodyBytes(this.received, 0)
    await this.until(() => whole() || this.ended || this.closed, 'a reply')
    if (!whole()) throw new Error(`the server closed after ${this.received.byteLength} bytes of a reply`)
    const end = 10 + readBodyBytes(this.received, 0)
    const bytes = this.received.subarray(0, end)
    this.received = this.received.subarray(end)
    return { command: bytes[8]!, status: bytes.readInt8(9), body: bytes.subarray(10), bytes }
  }

  async hello(role: Role = 'storage'): Promise<Frame> {
    this.send(encodeFrame(HELLO_OF[role].code, encodeGreeting(GREETING)))
    return this.frame()
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

/** A promise and its hands. */
export function gate<T = void>(): {
  promise: Promise<T>
  open: (value: T) => void
  fail: (error: Error) => void
} {
  return (() => {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    return { promise, open: resolve, fail: reject }
  })()
}

export function errnoOf(frame: Frame): number {
  return frame.body.readInt16BE(0)
}
export function textOf(frame: Frame): string {
  return frame.body.toString('utf8', 2, frame.body.byteLength - 1)
}
export function uploadHead(contentBytes: number): Buffer {
  const size = Buffer.alloc(8)
  size.writeBigInt64BE(BigInt(contentBytes))
  const frame = encodeFrame(COMMANDS.UPLOAD.code, encodeFileKey(KEY), size)
  frame.writeBigInt64BE(BigInt(408 + contentBytes), 0)
  return frame
}
