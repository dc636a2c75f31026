/** A server on bytes, written for tests: cuts frames, and answers each as the test says. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import {
  COMMANDS,
  encodeErrorReply,
  encodeFieldBlock,
  encodeFrame,
  ERRORS,
  extension,
  HEADER_BYTES,
  readBodyBytes,
  REPLY_CODES,
  type ErrorCode,
  type FileFacts,
  type Role
} from '@tributary/protocol'
import { encodeGreeting } from '@tributary/transport'

export interface Request {
  code: number
  body: Buffer
  socket: Socket
  /** The how manieth frame of this server it is, from 1; HELLO does not count. */
  count: number
}
/** A whole frame, or nothing: then the test answers by the socket itself, or not at all. */
export type Answer = Buffer | undefined | void | Promise<Buffer | undefined | void>

export interface ScriptedServer {
  port: number
  name: string
  requests: Request[]
  close(): void
  /** As kill -9 does: no further connection, the open ones reset. */
  kill(): void
  /** As kill -STOP does: connections are accepted by the kernel, and nobody reads or writes any more. */
  freeze(): void
}

export async function scriptedServer(
  t: { after(callback: () => void): void },
  role: Role,
  answer: (request: Request) => Answer,
  { legacy = false, port = 0, features = extension.OWN_FEATURES as number } = {}
): Promise<ScriptedServer> {
  const sockets = new Set<Socket>()
  const requests: Request[] = []
  const hello = { tracker: 14, id: 41, storage: 74 }[role]
  let isFrozen = false
  const server: Server = createServer(socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let rest = Buffer.alloc(0)
    socket.on('data', chunk => {
      if (isFrozen) return
      rest = Buffer.concat([rest, chunk])
      for (;;) {
        if (rest.byteLength < HEADER_BYTES) return
        const bodyBytes = readBodyBytes(rest, 0)
        if (rest.byteLength < HEADER_BYTES + bodyBytes) return
        const code = rest[8]!
        const body = Buffer.from(rest.subarray(HEADER_BYTES, HEADER_BYTES + bodyBytes))
        rest = rest.subarray(HEADER_BYTES + bodyBytes)
        if (code === hello) {
          if (legacy) socket.end(encodeErrorReply(REPLY_CODES[role], -1, `[old] unknown command: ${code}`))
          else socket.write(encodeFrame(REPLY_CODES[role], greetingOf(role, features)))
          continue
        }
        const request = { code, body, socket, count: requests.length + 1 }
        requests.push(request)
        const reply = (bytes: Buffer | undefined | void): void => {
          if (!bytes || socket.destroyed || isFrozen) return
          if (legacy && bytes[9] !== 0) socket.end(bytes)
          else socket.write(bytes)
        }
        const settled = answer(request)
        if (settled instanceof Promise) void settled.then(reply)
        else reply(settled)
      }
    })
  })
  server.listen({ host: '127.0.0.1', port })
  await once(server, 'listening')
  const bound = (server.address() as AddressInfo).port
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  t.after(close)
  return {
    port: bound,
    name: `127.0.0.1:${bound}`,
    requests,
    close,
    kill() {
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
    },
    freeze() {
      isFrozen = true
    }
  }
}

function greetingOf(role: Role, features: number): Buffer {
  const own = extension.hello.decode(encodeGreeting({ role: role as 'storage', cluster: 'c', version: 't' }))
  return extension.hello.encode({ ...own, features })
}

/** A tracker that hands out these storage servers for everything. */
export function trackerFor(
  t: { after(callback: () => void): void },
  storages: readonly { port: number }[] | (() => readonly { port: number }[]),
  { exists = true, legacy = false } = {}
): Promise<ScriptedServer> {
  const listed = (): { port: number }[] => [...(typeof storages === 'function' ? storages() : storages)]
  return scriptedServer(
    t,
    'tracker',
    ({ code }) => {
      if (code === COMMANDS.LOCATE.code) {
        const addresses = listed().map(({ port }) => ({ host: '127.0.0.1', port, family: 4 }))
        if (addresses.length === 0) return failure('tracker', 'NO_STORAGE_READY')
        return encodeFrame(100, extension.locateReply.encode({ group: 'group001', exists, addresses }))
      }
      const group = Buffer.alloc(17)
      group.write('group001')
      const text = listed()
        .map(({ port }) => `127.0.0.1:${port};`)
        .join('')
      if (code === COMMANDS.SADDRS.code) return encodeFrame(100, group, Buffer.from(`${text}\0`))
      if (code === COMMANDS.GROUPS.code) return encodeFrame(100, Buffer.from('COUNT OF GROUPS: 1\n\0'))
      return encodeErrorReply(100, legacy ? -1 : ERRORS.UNKNOWN_COMMAND.wire, 'unknown command')
    },
    { legacy }
  )
}

export function failure(role: Role, code: ErrorCode): Buffer {
  return encodeErrorReply(REPLY_CODES[role], ERRORS[code].wire, `[scripted] ${code}`)
}

export function factsFor(bytes: Buffer, crc32: number, generation = 'aa01'): FileFacts {
  return {
    generation,
    sizeBytes: bytes.byteLength,
    crc32,
    storedAtMs: 1_700_000_000_000,
    mediaType: 'video/mp4',
    name: 'a.mp4'
  }
}

/** The whole reply that a well-behaved storage server gives to a FETCH. */
export function fetchReplyOf(request: Buffer, content: Buffer, facts: FileFacts): Buffer {
  const asked = extension.fetch.decode(request)
  if (asked.generation !== undefined && asked.generation !== facts.generation)
    return failure('storage', 'GENERATION_MISMATCH')
  const block = (more: object, bytes: Buffer): Buffer =>
    encodeFrame(102, encodeFieldBlock(extension.fetchReply.encode({ ...facts, ...more })), bytes)
  const none = Buffer.alloc(0)
  if (asked.unlessGeneration === facts.generation) return block({ notModified: true }, none)
  const counts = asked.rangeGeneration === undefined || asked.rangeGeneration === facts.generation
  const ranged = counts && (asked.start !== undefined || asked.suffix !== undefined)
  if (!ranged) {
    if (content.byteLength > (asked.contentBytesMax ?? Infinity)) return block({ omitted: true }, none)
    return block({}, content)
  }
  const offset = asked.suffix === undefined ? asked.start! : Math.max(0, content.byteLength - asked.suffix)
  const end =
    asked.suffix === undefined
      ? Math.min(asked.end ?? Infinity, content.byteLength - 1)
      : content.byteLength - 1
  const lengthBytes = end - offset + 1
  if (lengthBytes <= 0) return block({ unsatisfiable: true }, none)
  if (lengthBytes > (asked.contentBytesMax ?? Infinity))
    return block({ offset, lengthBytes, omitted: true }, none)
  return block({ offset, lengthBytes }, content.subarray(offset, end + 1))
}
