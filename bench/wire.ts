/** One connection of the generator: raw bytes out, counted and checked bytes in. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Target } from './task.ts'

const READ_BUFFER_BYTES = 256 * 1024
/** Nothing here may take longer between two bytes. */
const SILENCE_MS = 60_000

/** A server answered what it must not, or not at all. */
export class WrongAnswerError extends Error {}

export interface Wire {
  readonly socket: Socket
  /** Called with each piece received: a view that is valid within the call. */
  receive: (bytes: Buffer) => void
  /** Called once when the connection fails. */
  fail: (error: Error) => void
}

/** Received bytes come in one buffer per connection, so that the generator makes no garbage. */
export async function openWire({ host, port }: Target, bufferBytes = READ_BUFFER_BYTES): Promise<Wire> {
  const buffer = Buffer.allocUnsafeSlow(bufferBytes)
  const wire: { -readonly [K in keyof Wire]: Wire[K] } = {
    socket: connect({
      host,
      port,
      noDelay: true,
      onread: {
        buffer,
        callback: bytes => {
          wire.receive(bytes === bufferBytes ? buffer : buffer.subarray(0, bytes))
          return true
        }
      }
    }),
    receive: () => {},
    fail: () => {}
  }
  const { socket } = wire
  await once(socket, 'connect')
  let failed = false
  const fail = (error: Error): void => {
    if (failed) return
    failed = true
    socket.destroy()
    wire.fail(error)
  }
  socket.setTimeout(SILENCE_MS, () => fail(new WrongAnswerError(`${host}:${port} is silent`)))
  socket.on('error', error => fail(error))
  socket.on('close', () => fail(new WrongAnswerError(`${host}:${port} closed the connection`)))
  return wire
}

export function closeWire(wire: Wire): void {
  wire.fail = () => {}
  wire.receive = () => {}
  wire.socket.destroy()
}
