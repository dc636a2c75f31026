/** A storage server's tie to its trackers: ours, legacy ones, and such as hang or come and go. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  COMMANDS,
  decodeBeat,
  decodeJoin,
  encodeErrorReply,
  encodeFrame,
  extension,
  HEADER_BYTES,
  readBodyBytes,
  REPLY_CODES,
  type Presence
} from '@tributary/protocol'
import { silentLog } from '@tributary/runtime'
import { encodeGreeting } from '@tributary/transport'
import { TrackerLink } from '../src/tracker-link.ts'
import { GREETING } from './parts.ts'

const PRESENCE: Presence = {
  version: '1.2.3',
  group: 'group001',
  hostName: 'here',
  port: 23_000,
  startedAtS: 1_700_000_000,
  joinedAtS: 1_700_000_001,
  serving: true,
  taking: true,
  freeBytes: 1,
  totalBytes: 2,
  connections: 3,
  requestsPerS: 4,
  bytesPerS: 5,
  busyPermille: 0
}
const { TRACKER_HELLO, PRESENCE: TELL, LEAVE, JOIN, BEAT } = COMMANDS

describe('a tracker link', () => {
  it('tells one of ours how it is, at once when that changes, and says goodbye', async t => {
    const tracker = await scriptedTracker(t)
    let serving = true
    const link = linkTo(t, tracker.port, () => ({ ...PRESENCE, serving }))
    link.start()
    await tracker.until(TELL.code, 1)
    await sleep(50)
    ok(link.heartbeatAgeMs < 5_000)
    serving = false
    link.tellNow()
    link.tellNow()
    await tracker.until(TELL.code, 2, 1_000)
    equal(extension.presence.decode(tracker.bodies(TELL.code).at(-1)!).serving, false)
    await link.stop()
    equal(tracker.bodies(LEAVE.code).length, 1)
  })

  it('loses no change that happens while it speaks', async t => {
    const tracker = await scriptedTracker(t)
    tracker.delayMs = 200
    const link = linkTo(t, tracker.port, () => PRESENCE)
    link.start()
    await tracker.until(TELL.code, 1)
    link.tellNow() // the reply to the first is not there yet
    await tracker.until(TELL.code, 2, 2_000)
  })

  it('is back within 2 s of a tracker that comes back', async t => {
    const tracker = await scriptedTracker(t)
    const link = linkTo(t, tracker.port, () => PRESENCE)
    link.start()
    await tracker.until(TELL.code, 1)
    const { port } = tracker
    await tracker.stop()
    await sleep(1_200)
    const again = await scriptedTracker(t, port)
    await again.until(TELL.code, 1, 2_000)
    await link.stop()
  })

  it('joins a legacy tracker and beats, and falls silent when it cannot serve', async t => {
    const tracker = await scriptedTracker(t)
    tracker.isLegacy = true
    let serving = true
    const link = linkTo(t, tracker.port, () => ({ ...PRESENCE, serving }), 50)
    link.start()
    await tracker.until(BEAT.code, 3)
    equal(tracker.bodies(JOIN.code).length, 1)
    deepEqual(decodeBeat(tracker.bodies(BEAT.code)[0]!), { group: 'group001', hostName: 'here' })
    equal(decodeJoin(tracker.bodies(JOIN.code)[0]!).port, 23_000)
    serving = false
    await sleep(100)
    const silent = tracker.bodies(BEAT.code).length
    await sleep(200)
    ok(tracker.bodies(BEAT.code).length <= silent + 1)
    await link.stop()
    equal(tracker.bodies(LEAVE.code).length, 0)
  })

  it('does not hold up the stop for a tracker that hangs', async t => {
    const tracker = await scriptedTracker(t)
    tracker.delayMs = 60_000
    const link = linkTo(t, tracker.port, () => PRESENCE)
    link.start()
    await tracker.until(TRACKER_HELLO.code, 1)
    const startMs = performance.now()
    await link.stop()
    ok(performance.now() - startMs < 1_500, `${performance.now() - startMs} ms`)
  })
})

function linkTo(t: TestContext, port: number, presence: () => Presence, heartbeatMs = 60_000): TrackerLink {
  const link = new TrackerLink({
    tracker: { host: '127.0.0.1', port },
    greeting: GREETING,
    heartbeatMs,
    presence,
    log: silentLog()
  })
  t.after(() => link.stop())
  return link
}

class ScriptedTracker {
  isLegacy = false
  delayMs = 0
  readonly #got: { command: number; body: Buffer }[] = []
  readonly #sockets = new Set<Socket>()
  readonly #server: Server

  constructor() {
    this.#server = createServer(socket => this.#serve(socket))
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async start(port: number): Promise<void> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return
    const closed = once(this.#server.close(), 'close')
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  bodies(command: number): Buffer[] {
    return this.#got.filter(got => got.command === command).map(({ body }) => body)
  }

  async until(command: number, count: number, withinMs = 5_000): Promise<void> {
    const endMs = performance.now() + withinMs
    while (this.bodies(command).length < count) {
      if (performance.now() > endMs) throw new Error(`no ${count} of command ${command} in ${withinMs} ms`)
      await sleep(5)
    }
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => {})
    let bytes = Buffer.alloc(0)
    socket.on('data', chunk => {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.byteLength >= HEADER_BYTES) {
        const end = HEADER_BYTES + readBodyBytes(bytes, 0)
        if (bytes.byteLength < end) return
        const command = bytes[8]!
        this.#got.push({ command, body: Buffer.from(bytes.subarray(HEADER_BYTES, end)) })
        bytes = bytes.subarray(end)
        const reply = this.#replyTo(command)
        setTimeout(() => {
          if (socket.destroyed) return
          socket.write(reply.bytes)
          if (reply.closes) socket.end()
        }, this.delayMs).unref()
      }
    })
  }

  #replyTo(command: number): { bytes: Buffer; closes: boolean } {
    const isKnown = command === JOIN.code || command === BEAT.code || !this.isLegacy
    if (!isKnown)
      return { bytes: encodeErrorReply(REPLY_CODES.tracker, -1, '[old] unknown command'), closes: true }
    const body =
      command === TRACKER_HELLO.code
        ? encodeGreeting({ role: 'tracker', cluster: '', version: '0.0.0' })
        : command === TELL.code
          ? extension.presenceReply.encode({ checkIntervalMs: 30_000 })
          : Buffer.alloc(0)
    return { bytes: encodeFrame(REPLY_CODES.tracker, body), closes: false }
  }
}

async function scriptedTracker(t: TestContext, port = 0): Promise<ScriptedTracker> {
  const tracker = new ScriptedTracker()
  await tracker.start(port)
  t.after(() => tracker.stop())
  return tracker
}
