/** Requests that are passed on to another group, and their replies. */
import { equal, ok, rejects } from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { COMMANDS, encodeDownload, extension, RejectedError, type Address } from '@tributary/protocol'
import {
  FrameServer,
  replyHeader,
  replyOf,
  type Handlers,
  type Reply,
  type StreamedReply
} from '@tributary/transport'
import { FileRelay, RELAYS_MAX } from '../src/file-relay.ts'
import { Neighbours } from '../src/neighbours.ts'
import { GREETING, keyOf } from './parts.ts'

const KEY = keyOf('film')
const BODY = encodeDownload({ key: KEY, offset: 0, sizeBytes: 0 })
const refuse = (): never => {
  throw new RejectedError('FILE_NOT_FOUND', 'no such file')
}

async function serve(t: TestContext, role: 'tracker' | 'storage', handlers: object): Promise<Address> {
  const names = Object.entries(COMMANDS).filter(([, command]) => command.role === role)
  const server = new FrameServer({
    role,
    hostName: role,
    greeting: { role, cluster: '', version: '0.0.0' },
    handlers: {
      ...Object.fromEntries(names.map(([name]) => [name, refuse])),
      ...handlers
    } as unknown as Handlers<typeof role>,
    onFault: () => {}
  })
  const { port } = await server.start({ host: '127.0.0.1', port: 0 })
  t.after(() => server.stop(AbortSignal.abort()))
  return { host: '127.0.0.1', port }
}

/** A relay whose neighbour answers a DOWNLOAD like this. */
async function relayTo(t: TestContext, download: () => Reply): Promise<FileRelay> {
  const member = await serve(t, 'storage', { DOWNLOAD: download })
  const tracker = await serve(t, 'tracker', {
    LOCATE: () =>
      replyOf(
        'tracker',
        extension.locateReply.encode({ group: 'next', exists: true, addresses: [{ ...member, family: 4 }] })
      )
  })
  const neighbours = new Neighbours([tracker], GREETING)
  t.after(() => neighbours.close())
  return new FileRelay(neighbours)
}

function streamed(
  content: Buffer,
  onPiece: (sentBytes: number) => void,
  pieceBytes = 256 * 1024
): StreamedReply {
  return {
    head: replyHeader('storage', content.byteLength),
    contentBytes: content.byteLength,
    abandon: () => {},
    pump: out =>
      new Promise((resolve, reject) => {
        let at = 0
        const step = (error?: Error | null): void => {
          if (error) return reject(error)
          if (at === content.byteLength) return resolve()
          const piece = content.subarray(at, at + pieceBytes)
          at += piece.byteLength
          onPiece(at)
          out.write(piece, step)
        }
        step()
      })
  }
}

async function pumped(reply: Reply, onPiece: () => Promise<void> | void = () => {}): Promise<Buffer> {
  ok(!Buffer.isBuffer(reply))
  const pieces: Buffer[] = []
  await reply.pump({
    write: (bytes, done) => {
      pieces.push(Buffer.from(bytes))
      void Promise.resolve(onPiece()).then(() => done())
    }
  })
  return Buffer.concat(pieces)
}

describe('passing on a request', { timeout: 30_000 }, () => {
  it('gives the bytes of every size as they came', async t => {
    for (const sizeBytes of [0, 1, 70_000, 1_048_575, 5_000_001]) {
      const content = Buffer.alloc(sizeBytes, 'film and more')
      const relay = await relayTo(t, () => streamed(content, () => {}))
      const reply = await relay.forward('DOWNLOAD', KEY, BODY)
      if (sizeBytes === 0) ok(Buffer.isBuffer(reply))
      else ok((await pumped(reply)).equals(content), String(sizeBytes))
    }
  })

  it('holds the other member back while the receiver takes nothing', async t => {
    const content = Buffer.alloc(64 * 1024 * 1024, 7)
    let sentBytes = 0
    const relay = await relayTo(t, () => streamed(content, bytes => (sentBytes = bytes)))
    const reply = await relay.forward('DOWNLOAD', KEY, BODY)
    let isHeld = true
    const taking = pumped(reply, async () => {
      if (!isHeld) return
      await new Promise(resolve => setTimeout(resolve, 500))
      ok(sentBytes < content.byteLength / 2, `${sentBytes} bytes have left`)
      isHeld = false
    })
    equal((await taking).byteLength, content.byteLength)
  })

  it('refuses more than its bound, and takes others when those before have ended or were left', async t => {
    const content = Buffer.alloc(2 * 1024 * 1024, 7)
    const relay = await relayTo(t, () => streamed(content, () => {}))
    for (let round = 0; round < 2; round++) {
      const replies = await Promise.all(
        Array.from({ length: RELAYS_MAX }, () => relay.forward('DOWNLOAD', KEY, BODY))
      )
      await rejects(relay.forward('DOWNLOAD', KEY, BODY), { code: 'OVERLOADED' })
      for (const [at, reply] of replies.entries()) {
        if (at % 8 === 0) equal((await pumped(reply)).byteLength, content.byteLength)
        else (reply as StreamedReply).abandon()
      }
    }
    const refused = await relayTo(t, refuse)
    for (let at = 0; at <= RELAYS_MAX; at++) {
      await rejects(refused.forward('DOWNLOAD', KEY, BODY), { code: 'FILE_NOT_FOUND' })
    }
  })

  it('breaks off when the other member does, without a byte too many', async t => {
    const relay = await relayTo(t, () => {
      const whole = streamed(Buffer.alloc(1_000_000), () => {})
      return { ...whole, contentBytes: 3_000_000, head: replyHeader('storage', 3_000_000) }
    })
    const reply = await relay.forward('DOWNLOAD', KEY, BODY)
    await rejects(pumped(reply), { code: 'CONNECTION_LOST' })
  })
})
