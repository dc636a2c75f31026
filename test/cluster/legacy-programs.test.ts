/** Programs of the field on a running cluster: bytes written by hand from the protocol's tables, and no HELLO. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { contentOf } from '../faults/random.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { freePort } from '../testkit/ports.ts'
import { RunningUp } from '../testkit/up.ts'
import { diskAgrees } from './agreement.ts'
import { ENGINES, type Backing } from './engines.ts'

const JOIN = 10
const BEAT = 11
const SADDRS = 12
const GROUPS = 13
const ID_GET = 40
const UPLOAD = 70
const FILESIZE = 71
const DOWNLOAD = 72
const DELETE = 73
const USER = 'an old user'

for (const engine of ENGINES) {
  describe(
    `a cluster on ${engine.name}, to programs of the field`,
    { skip: engine.skip, timeout: 120_000 },
    () => {
      let backing: Backing
      let up: RunningUp
      let tracker: string

      before(async () => {
        backing = await engine.start()
        up = await RunningUp.start(backing)
        tracker = up.trackers[0]!
      })
      after(async () => {
        await up?.close()
        await backing?.stop()
      })

      it('gives addresses, takes a file, tells its size, gives it back whole and in part, and deletes it', async () => {
        const content = contentOf('legacy', 300_000)
        const key = fileKey(USER, 'legacy')
        const where = await ask(tracker, frame(SADDRS, key), 100)
        equal(text(where.subarray(0, 17)), 'group001')
        match(text(where.subarray(17)), /^(127\.0\.0\.1:\d+;){2}$/)
        equal(where.at(-1), 0)
        const [first, second] = text(where.subarray(17)).split(';')
        const storage = await Conversation.with(first!)
        try {
          // Several requests on one connection, one after the other.
          deepEqual(
            await storage.ask(frame(UPLOAD, key, int64(content.byteLength), content), 102),
            Buffer.alloc(0)
          )
          deepEqual(await storage.ask(frame(FILESIZE, key), 102), int64(content.byteLength))
          ok((await storage.ask(frame(DOWNLOAD, key, int64(0), int64(0)), 102)).equals(content))
          const part = await storage.ask(frame(DOWNLOAD, key, int64(1_000), int64(50)), 102)
          ok(part.equals(content.subarray(1_000, 1_050)))
          deepEqual(
            await storage.ask(frame(DOWNLOAD, key, int64(content.byteLength), int64(0)), 102),
            Buffer.alloc(0)
          )
        } finally {
          storage.close()
        }
        // The other member has it as well, and so has a browser.
        ok((await ask(second!, frame(DOWNLOAD, key, int64(0), int64(0)), 102)).equals(content))
        const response = await fetch(up.urlOf(USER, 'legacy'))
        ok(Buffer.from(await response.arrayBuffer()).equals(content))

        const taken = await refusal(second!, frame(UPLOAD, key, int64(3), Buffer.from('new')), 102)
        match(taken.text, /^\[.+\] .*exists already/)
        equal(taken.errno, -1, 'the one number that existing programs know')
        equal(
          (await refusal(second!, frame(DOWNLOAD, key, int64(content.byteLength + 1), int64(0)), 102)).errno,
          -1
        )
        deepEqual(await ask(second!, frame(DELETE, key), 102), Buffer.alloc(0))
        for (const address of [first!, second!]) {
          match((await refusal(address, frame(FILESIZE, key), 102)).text, /no such file/)
        }
        equal((await fetch(up.urlOf(USER, 'legacy'))).status, 404)
      })

      it('takes an empty file, garbage behind a NUL, and a reader that closed its sending side', async () => {
        const key = fileKey(USER, 'empty')
        key.fill(0xee, 16 + 256 + 'empty'.length + 1)
        const [address] = await addressesFor(tracker, key)
        const socket = connect({ ...parse(address!), allowHalfOpen: true })
        await once(socket, 'connect')
        socket.end(frame(UPLOAD, key, int64(0)))
        deepEqual(await replyOf(socket, 102), { status: 0, body: Buffer.alloc(0) })
        socket.destroy()
        const response = await fetch(up.urlOf(USER, 'empty'))
        equal(response.status, 200)
        equal((await response.arrayBuffer()).byteLength, 0)
        deepEqual(await ask(address!, frame(FILESIZE, fileKey(USER, 'empty')), 102), int64(0))
      })

      it('gives a program of the field what a browser uploaded', async () => {
        const content = contentOf('modern', 2_000_000)
        equal((await fetch(up.urlOf(USER, 'modern'), { method: 'PUT', body: content })).status, 201)
        const key = fileKey(USER, 'modern')
        for (const address of await addressesFor(tracker, key)) {
          ok((await ask(address, frame(DOWNLOAD, key, int64(0), int64(0)), 102)).equals(content))
        }
      })

      it('leaves nothing of an upload that breaks off, and takes the file afterwards', async () => {
        const content = contentOf('broken', 400_000)
        const key = fileKey(USER, 'broken')
        const [address] = await addressesFor(tracker, key)
        const socket = connect(parse(address!))
        await once(socket, 'connect')
        socket.write(frame(UPLOAD, key, int64(content.byteLength), content).subarray(0, 250_000))
        await new Promise(resolve => setTimeout(resolve, 100))
        socket.resetAndDestroy()
        match((await refusal(address!, frame(FILESIZE, key), 102)).text, /no such file/)
        deepEqual(
          await ask(address!, frame(UPLOAD, key, int64(content.byteLength), content), 102),
          Buffer.alloc(0)
        )
      })

      it('hands out an ID server’s values, each once', async () => {
        const { address } = (await up.find('id'))!
        const seen = new Set<bigint>()
        const server = await Conversation.with(`${address.host}:${address.port}`)
        try {
          for (let i = 0; i < 250; i++) {
            seen.add((await server.ask(frame(ID_GET, Buffer.from('/srv/a store\0')), 101)).readBigInt64BE())
          }
        } finally {
          server.close()
        }
        equal(seen.size, 250)
      })

      it('lists a storage server of the field that joins and beats, and lives with it', async t => {
        const afterwards = cleanUps(t)
        const server = await Conversation.with(tracker)
        afterwards(() => server.close())
        equal(
          (await server.exchange(frame(BEAT, beatRecord('group001', 'elder')), 100)).status,
          -3,
          'it has not joined'
        )
        const other = await Conversation.with(tracker)
        afterwards(() => other.close())
        // It is in the group, listens nowhere, and keeps beating: the worst that may be handed out.
        const port = await freePort()
        deepEqual(await other.ask(frame(JOIN, joinRecord('group001', 'elder', port)), 100), Buffer.alloc(0))
        deepEqual(await other.ask(frame(BEAT, beatRecord('group001', 'elder')), 100), Buffer.alloc(0))
        const listing = text(await ask(tracker, frame(GROUPS), 100))
        match(listing, /elder/)
        match(listing, new RegExp(`127\\.0\\.0\\.1:${port}`))
        ok((await addressesFor(tracker, fileKey(USER, 'modern'))).includes(`127.0.0.1:${port}`))
        const client = up.client()
        const content = contentOf('modern', 2_000_000)
        for (let i = 0; i < 12; i++) {
          const key = { application: 'media', user: USER, file: `beside-${i}` }
          await client.upload(contentOf(key.file, 40_000), { key })
          const fetched = await client.fetch(key)
          ok(fetched.outcome === 'content' && fetched.bytes!.equals(contentOf(key.file, 40_000)))
          const response = await fetch(up.urlOf(USER, 'modern'))
          ok(Buffer.from(await response.arrayBuffer()).equals(content))
        }
      })

      it('lives with one in its group that knows none of its files and no command but the old ones', async t => {
        const afterwards = cleanUps(t)
        const elder = createServer(socket => {
          socket.on('error', () => {})
          socket.on('data', () => socket.end(errorFrame(102, '[elder] no such file')))
        }).listen(0, '127.0.0.1')
        afterwards(() => elder.close())
        await once(elder, 'listening')
        const { port } = elder.address() as AddressInfo
        const tie = await Conversation.with(tracker)
        afterwards(() => tie.close())
        await tie.ask(frame(JOIN, joinRecord('group001', 'stranger', port)), 100)
        await tie.ask(frame(BEAT, beatRecord('group001', 'stranger')), 100)
        const client = up.client()
        for (let i = 0; i < 12; i++) {
          const { sizeBytes } = await client.stat({ application: 'media', user: USER, file: 'modern' })
          equal(sizeBytes, 2_000_000)
          equal((await fetch(up.urlOf(USER, `beside-${i}`))).status, 200)
          equal((await fetch(up.urlOf(USER, 'nowhere'))).status, 404)
        }
      })

      it('leaves index and disk in agreement', async () => {
        deepEqual(await up.stop(), { exitCode: 0, signal: null })
        equal(await diskAgrees(up), 3 + 12)
      })
    }
  )
}

/** Body length, command, status; the rest as given. */
function frame(command: number, ...body: Buffer[]): Buffer {
  const bodyBytes = body.reduce((sum, { byteLength }) => sum + byteLength, 0)
  return Buffer.concat([int64(bodyBytes), Buffer.from([command, 0]), ...body])
}

function errorFrame(command: number, description: string): Buffer {
  const body = Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.from(`${description}\0`)])
  return Buffer.concat([int64(body.byteLength), Buffer.from([command, 0xfd]), body])
}

function int64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value))
  return bytes
}

function field(value: string, width: number): Buffer {
  const bytes = Buffer.alloc(width)
  bytes.write(value)
  return bytes
}

const fileKey = (user: string, file: string): Buffer =>
  Buffer.concat([field('media', 16), field(user, 256), field(file, 128)])

const beatRecord = (group: string, host: string): Buffer =>
  Buffer.concat([field(group, 17), field(host, 129)])

function joinRecord(group: string, host: string, port: number): Buffer {
  const nowS = Math.floor(Date.now() / 1_000)
  const portBytes = Buffer.from([port >> 8, port & 0xff])
  return Buffer.concat([
    field('1.0', 7),
    field(group, 17),
    field(host, 129),
    portBytes,
    int64(nowS),
    int64(nowS)
  ])
}

const text = (bytes: Buffer): string =>
  bytes.toString('utf8', 0, bytes.includes(0) ? bytes.indexOf(0) : undefined)

function parse(address: string): { host: string; port: number } {
  const [host, port] = address.split(':')
  return { host: host!, port: Number(port) }
}

interface Reply {
  status: number
  body: Buffer
}

/** The bytes of exactly one reply frame. */
async function replyOf(socket: Socket, role: number): Promise<Reply> {
  let bytes = Buffer.alloc(0)
  for (;;) {
    if (bytes.byteLength >= 10) {
      const wholeBytes = 10 + Number(bytes.readBigInt64BE())
      if (bytes.byteLength >= wholeBytes) {
        equal(bytes.byteLength, wholeBytes, 'one reply to one request')
        equal(bytes[8], role)
        return { status: bytes.readInt8(9), body: bytes.subarray(10) }
      }
    }
    const piece = await Promise.race([
      once(socket, 'data').then(([chunk]) => chunk as Buffer),
      once(socket, 'end').then(() => undefined)
    ])
    if (!piece) throw new Error('the connection ended without a reply')
    bytes = Buffer.concat([bytes, piece])
  }
}

/** One connection, one request at a time. */
class Conversation {
  readonly #socket: Socket

  private constructor(socket: Socket) {
    this.#socket = socket
  }

  static async with(address: string): Promise<Conversation> {
    const socket = connect(parse(address))
    await once(socket, 'connect')
    return new Conversation(socket)
  }

  async exchange(request: Buffer, role: number): Promise<Reply> {
    this.#socket.write(request)
    return replyOf(this.#socket, role)
  }

  async ask(request: Buffer, role: number): Promise<Buffer> {
    const { status, body } = await this.exchange(request, role)
    equal(status, 0, text(body.subarray(2)))
    return body
  }

  close(): void {
    this.#socket.destroy()
  }
}

async function ask(address: string, request: Buffer, role: number): Promise<Buffer> {
  const conversation = await Conversation.with(address)
  try {
    return await conversation.ask(request, role)
  } finally {
    conversation.close()
  }
}

async function refusal(
  address: string,
  request: Buffer,
  role: number
): Promise<{ errno: number; text: string }> {
  const conversation = await Conversation.with(address)
  try {
    const { status, body } = await conversation.exchange(request, role)
    equal(status, -3)
    return { errno: body.readInt16BE(), text: text(body.subarray(2)) }
  } finally {
    conversation.close()
  }
}

async function addressesFor(tracker: string, key: Buffer): Promise<string[]> {
  const body = await ask(tracker, frame(SADDRS, key), 100)
  return text(body.subarray(17)).split(';').filter(Boolean)
}
