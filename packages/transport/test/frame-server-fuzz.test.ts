import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { encodeFrame, RejectedError, UnavailableError } from '@tributary/protocol'
import { replyHeader, replyOf, type IncomingContent, type Reply } from '../src/index.ts'
import { RawPeer, sleep, startServer, uploadHead } from './peers.ts'

/** What a client may send, and what it must get for it. */
type Step =
  | { kind: 'size' | 'later' | 'refused' | 'unknown' | 'short' | 'stream' | 'spoiltStream'; number: number }
  | { kind: 'upload' | 'slowUpload' | 'unreadUpload'; number: number; contentBytes: number }

const number = fc.integer({ min: 0, max: 250 })
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('size', 'later', 'refused', 'unknown', 'short', 'stream', 'spoiltStream'),
    number
  }),
  fc.record({
    kind: fc.constantFrom('upload', 'slowUpload', 'unreadUpload'),
    number,
    contentBytes: fc.constantFrom(0, 1, 9, 400, 5_000, 70_000)
  })
)

function keyBody(kind: string, at: number): Buffer {
  const body = Buffer.alloc(400)
  body.write(kind)
  body[399] = at
  return body
}

function bytesOf(given: Step): Buffer {
  switch (given.kind) {
    case 'unknown':
      return encodeFrame(99, Buffer.alloc(given.number))
    case 'short':
      return encodeFrame(71, Buffer.alloc(given.number))
    case 'stream':
    case 'spoiltStream':
      return encodeFrame(72, keyBody(given.kind, given.number), Buffer.alloc(16))
    case 'upload':
    case 'slowUpload':
    case 'unreadUpload': {
      const head = uploadHead(given.contentBytes)
      head.fill(0, 10, 410).write(given.kind, 10)
      return Buffer.concat([head, Buffer.alloc(given.contentBytes, given.number)])
    }
    default:
      return encodeFrame(71, keyBody(given.kind, given.number))
  }
}

function replyTo(given: Step): string {
  switch (given.kind) {
    case 'size':
    case 'later':
      return `${given.number}`
    case 'stream':
      return 'x'.repeat(given.number)
    case 'upload':
    case 'slowUpload':
      return `${given.contentBytes} of ${given.contentBytes === 0 ? 0 : given.number}`
    default:
      return 'error'
  }
}

const kindOf = (body: Buffer): string => body.toString('latin1', 0, body.indexOf(0))
const handlers = {
  FILESIZE(body: Buffer): Reply | Promise<Reply> {
    const reply = replyOf('storage', Buffer.from(`${body[399]!}`))
    if (kindOf(body) === 'refused') throw new RejectedError('FILE_NOT_FOUND', 'no')
    return kindOf(body) === 'size' ? reply : sleep(body[399]! % 4).then(() => reply)
  },
  DOWNLOAD(body: Buffer): Reply {
    const contentBytes = body[399]!
    const spoilt = kindOf(body) === 'spoiltStream'
    return {
      head: replyHeader('storage', contentBytes),
      contentBytes,
      async pump(out) {
        if (spoilt) throw new UnavailableError('STORE_UNAVAILABLE', 'no disk')
        for (let left = contentBytes; left > 0; left -= Math.min(left, 100)) {
          const piece = Buffer.alloc(Math.min(left, 100), 'x')
          await new Promise<void>((resolve, reject) => out.write(piece, e => (e ? reject(e) : resolve())))
        }
      },
      abandon() {}
    }
  },
  async UPLOAD(body: Buffer, { content }: { content: IncomingContent }): Promise<Reply> {
    const kind = kindOf(body)
    if (kind === 'unreadUpload') throw new RejectedError('FILE_EXISTS', 'there')
    if (kind === 'slowUpload') await sleep(1)
    let bytes = 0
    let value = 0
    await content.read(chunk => {
      bytes += chunk.byteLength
      value = chunk.at(-1)!
      if (kind === 'slowUpload') return sleep(1)
    })
    return replyOf('storage', Buffer.from(`${bytes} of ${value}`))
  }
}

describe('any pipeline of requests, cut anywhere', { timeout: 60_000 }, () => {
  it('gets its replies, each once, in order', async t => {
    const { port, faults, server } = await startServer(t, handlers)
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 20 }),
        fc.boolean(),
        async (steps, cuts, halfCloses) => {
          const peer = await RawPeer.open(t, port)
          const stream = Buffer.concat(steps.map(bytesOf))
          void (async () => {
            for (let offset = 0, at = 0; offset < stream.byteLength; at++) {
              const length = cuts[at % cuts.length]!
              peer.send(stream.subarray(offset, offset + length))
              offset += length
              if (at < 200) await new Promise(resolve => setImmediate(resolve))
            }
            if (halfCloses) peer.socket.end()
          })()
          const replies: string[] = []
          for (const _ of steps) {
            const frame = await peer.frame()
            replies.push(frame.status === 0 ? frame.body.toString() : 'error')
          }
          deepEqual(replies, steps.map(replyTo))
          equal(peer.received.byteLength, 0)
          if (halfCloses) await peer.until(() => peer.closed, 'the end')
          peer.socket.destroy()
        }
      ),
      { numRuns: 150 }
    )
    deepEqual(faults, [])
    await sleep(20)
    equal(server.counts.open, 0)
  })

  it('harms nothing when it is nonsense, or breaks off', async t => {
    const { port, faults, server } = await startServer(t, handlers)
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 10 }),
        fc.uint8Array({ maxLength: 40 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.boolean(),
        async (steps, nonsense, share, resets) => {
          const peer = await RawPeer.open(t, port)
          const stream = Buffer.concat([...steps.map(bytesOf), nonsense])
          peer.send(stream.subarray(0, Math.ceil(stream.byteLength * share)))
          await sleep(2)
          if (resets) peer.socket.resetAndDestroy()
          else peer.socket.end()
          await peer.until(() => peer.closed, 'the end')
        }
      ),
      { numRuns: 100 }
    )
    const peer = await RawPeer.open(t, port)
    peer.send(encodeFrame(71, keyBody('size', 7)))
    equal((await peer.frame()).body.toString(), '7')
    peer.socket.destroy()
    await sleep(50)
    equal(server.counts.open, 0)
    deepEqual(faults, [])
  })
})
