import { deepEqual, equal, match } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it, type TestContext } from 'node:test'
import {
  COMMANDS,
  decodeBeat,
  decodeDownload,
  decodeFileKey,
  decodeIdKey,
  decodeJoin,
  decodeUploadHead,
  encodeAddressesReply,
  encodeInt64,
  mapKeyOf,
  RejectedError,
  REPLY_CODES,
  resolveDownload,
  type Role
} from '@tributary/protocol'
import { FrameServer, replyOf, type Handler, type Handlers } from '../src/index.ts'
import { GREETING, RawPeer } from './peers.ts'

interface Vector {
  name: string
  request: Buffer
  reply: Buffer
}
const recorded = JSON.parse(
  readFileSync(new URL('../../protocol/vectors/recorded.json', import.meta.url), 'utf8')
) as { vectors: { name: string; request: string; reply: string }[] }
const VECTORS: Vector[] = recorded.vectors.map(({ name, request, reply }) => ({
  name,
  request: Buffer.from(request, 'hex'),
  reply: Buffer.from(reply, 'hex')
}))

/** What each role does with the published commands, in a few lines: enough to answer the recorded requests. */
function servers(): Record<Role, Record<string, Handler>> {
  const joined = new Set<string>()
  const counters = new Map<string, bigint>()
  const files = new Map<string, Buffer>()
  const fileOf = (body: Buffer): Buffer => {
    const found = files.get(mapKeyOf(decodeFileKey(body)))
    if (!found) throw new RejectedError('FILE_NOT_FOUND', 'no such file')
    return found
  }
  return {
    tracker: {
      JOIN: body => {
        const { group, hostName } = decodeJoin(body)
        joined.add(`${group}/${hostName}`)
        return replyOf('tracker')
      },
      BEAT: body => {
        const { group, hostName } = decodeBeat(body)
        if (!joined.has(`${group}/${hostName}`))
          throw new RejectedError('NOT_JOINED', 'unknown storage server')
        return replyOf('tracker')
      },
      SADDRS: body => {
        const { application } = decodeFileKey(body, 0, true)
        if (application !== 'tnvideo')
          throw new RejectedError('UNKNOWN_APPLICATION', `unknown appid: ${application}`)
        const addresses = [23_000, 23_001].map(port => ({ host: '127.0.0.1', port }))
        return replyOf('tracker', encodeAddressesReply('group001', addresses))
      },
      GROUPS: () =>
        replyOf('tracker', VECTORS.find(({ name }) => name === 'tracker.groups')!.reply.subarray(10))
    },
    id: {
      ID_GET: body => {
        const key = decodeIdKey(body)
        const value = counters.get(key) ?? 0n
        counters.set(key, value + 1n)
        return replyOf('id', encodeInt64(value))
      }
    },
    storage: {
      UPLOAD: async (head, { content }) => {
        const { key } = decodeUploadHead(head, content.lengthBytes)
        const chunks: Buffer[] = []
        await content.read(chunk => void chunks.push(chunk))
        files.set(mapKeyOf(key), Buffer.concat(chunks))
        return replyOf('storage')
      },
      FILESIZE: body => replyOf('storage', encodeInt64(fileOf(body).byteLength)),
      DOWNLOAD: body => {
        const { key, offset, sizeBytes } = decodeDownload(body)
        const file = files.get(mapKeyOf(key))!
        return replyOf(
          'storage',
          file.subarray(offset, offset + resolveDownload(offset, sizeBytes, file.byteLength))
        )
      },
      DELETE: body => {
        fileOf(body)
        files.delete(mapKeyOf(decodeFileKey(body)))
        return replyOf('storage')
      }
    }
  }
}

async function startRoles(t: TestContext): Promise<Record<Role, number>> {
  const handlers = servers()
  const ports = {} as Record<Role, number>
  for (const role of Object.keys(REPLY_CODES) as Role[]) {
    const server = new FrameServer({
      role,
      hostName: 'vm',
      greeting: { ...GREETING, role },
      handlers: handlers[role] as Handlers<Role>
    })
    ports[role] = (await server.start({ host: '127.0.0.1', port: 0 })).port
    t.after(() => server.stop(AbortSignal.abort()))
  }
  return ports
}

type Feed = (peer: RawPeer, bytes: Buffer) => void | Promise<void>
const FEEDS: Record<string, Feed> = {
  'as they were': (peer, bytes) => peer.send(bytes),
  'byte by byte': (peer, bytes) => peer.drip(bytes),
  'cut in the middle of the head': async (peer, bytes) => {
    peer.send(bytes.subarray(0, 7))
    await new Promise(resolve => setTimeout(resolve, 1))
    peer.send(bytes.subarray(7))
  }
}

describe('recorded requests', { timeout: 30_000 }, () => {
  for (const [how, feed] of Object.entries(FEEDS)) {
    it(`sent ${how} get the recorded replies`, async t => {
      const ports = await startRoles(t)
      for (const { name, request, reply } of VECTORS) {
        const role = name.split('.')[0] as Role
        const peer = await RawPeer.open(t, ports[role])
        if (name === 'storage.filesize.padded_with_garbage') {
          // Its file of 32 bytes is to be there before; the key is the request's own, garbage and all.
          const size = encodeInt64(32)
          const header = Buffer.alloc(10)
          header.writeBigInt64BE(440n)
          header[8] = COMMANDS.UPLOAD.code
          await feed(peer, Buffer.concat([header, request.subarray(10), size, Buffer.alloc(32, 'x')]))
          equal((await peer.frame()).status, 0)
        }
        await feed(peer, request)
        const got = await peer.frame()
        if (reply.readInt8(9) === 0) deepEqual(got.bytes, reply, name)
        else {
          equal(got.command, reply[8], name)
          equal(got.status, -3, name)
          equal(got.body.readInt16BE(0), -1, name)
          equal(got.body.at(-1), 0, name)
          match(got.body.toString('utf8', 2), /^\[vm\] ./, name)
        }
        peer.socket.destroy()
      }
    })
  }

  it('of one role, pipelined in one connection, get the recorded replies in order', async t => {
    const ports = await startRoles(t)
    for (const role of Object.keys(ports) as Role[]) {
      const of = VECTORS.filter(({ name }) => name.startsWith(role) && !/negative|garbage/.test(name))
      const peer = await RawPeer.open(t, ports[role])
      peer.send(Buffer.concat(of.map(({ request }) => request)))
      for (const { name, reply } of of) {
        const got = await peer.frame()
        if (reply.readInt8(9) === 0) deepEqual(got.bytes, reply, name)
        else equal(got.status, -3, name)
      }
    }
  })
})
