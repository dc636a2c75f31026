import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { connect } from 'node:net'
import { once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import { encodeFrame, encodeInt64, ERRORS, RejectedError, UnavailableError } from '@tributary/protocol'
import {
  encodeGreeting,
  FrameServer,
  replyHeader,
  replyOf,
  type Call,
  type Outlet,
  type Reply,
  type StreamedReply
} from '../src/index.ts'
import {
  EIGHT_BYTES,
  errnoOf,
  FILESIZE,
  gate,
  GREETING,
  noDeadline,
  RawPeer,
  SIZE_REPLY,
  sleep,
  startServer,
  storageHandlers,
  textOf,
  uploadHead,
  type Running
} from './peers.ts'

function sizeReply(): Buffer {
  return SIZE_REPLY
}

async function serverHoldingOneCall(
  t: TestContext
): Promise<Running & { peer: RawPeer; release: () => void }> {
  const hold = gate<Reply>()
  const running = await startServer(t, { FILESIZE: () => hold.promise })
  const peer = await RawPeer.open(t, running.port)
  peer.send(FILESIZE)
  await sleep(20)
  return { ...running, peer, release: () => hold.open(SIZE_REPLY) }
}

describe('stopping a server', { timeout: 5_000 }, () => {
  it('lets a call in progress finish, and refuses newcomers meanwhile', async t => {
    const { server, port, peer, release } = await serverHoldingOneCall(t)
    const stopping = server.stop(noDeadline)
    await rejects(once(connect(port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
    release()
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    peer.socket.end()
    await stopping
  })

  it('does not wait for a peer that got its last reply and stays', async t => {
    const { server, peer, release } = await serverHoldingOneCall(t)
    const stopping = server.stop(noDeadline)
    release()
    await peer.frame()
    await stopping
  })

  it('does not wait for an idle connection', async t => {
    const { server, port } = await startServer(t, { FILESIZE: sizeReply })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE)
    await peer.frame()
    const startedMs = performance.now()
    await server.stop(noDeadline)
    ok(performance.now() - startedMs < 400)
    await peer.until(() => peer.ended, 'the end of an idle connection')
  })

  it('tells programs of ours with their last reply that what they send behind it is not taken', async t => {
    const hold = gate<Reply>()
    const { server, port } = await startServer(t, { FILESIZE: () => hold.promise })
    const [idle, busy, legacy] = [
      await RawPeer.open(t, port),
      await RawPeer.open(t, port),
      await RawPeer.open(t, port)
    ]
    for (const peer of [idle, busy]) {
      peer.send(encodeFrame(74, encodeGreeting({ role: 'client', cluster: '', version: 'test' })))
      await peer.frame()
    }
    busy.send(FILESIZE, FILESIZE)
    await sleep(20)
    const startedMs = performance.now()
    const stopping = server.stop(noDeadline)
    equal(errnoOf(await idle.frame()), ERRORS.SHUTTING_DOWN.wire)
    hold.open(SIZE_REPLY)
    for (let reply = 0; reply < 2; reply++) deepEqual((await busy.frame()).bytes, SIZE_REPLY)
    equal(errnoOf(await busy.frame()), ERRORS.SHUTTING_DOWN.wire)
    for (const peer of [idle, busy, legacy]) {
      await peer.until(() => peer.ended, 'the end')
      equal(peer.received.byteLength, 0, 'nothing more')
      peer.socket.end()
    }
    await stopping
    ok(performance.now() - startedMs < 400)
  })

  it('waits for the rest of what takes more than one request', async t => {
    let isBusy = true
    const { server, port } = await startServer(t, { FILESIZE: sizeReply }, { isBusy: () => isBusy })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE)
    await peer.frame()
    const stopping = server.stop(noDeadline)
    await sleep(50)
    equal(peer.ended, false)
    peer.send(FILESIZE)
    await peer.frame()
    isBusy = false
    peer.send(FILESIZE)
    await peer.until(() => peer.ended, 'the end')
    equal(peer.received.byteLength, 0, 'what comes after the rest is not served')
    peer.socket.end()
    await stopping
  })

  it('does not wait for half a request', async t => {
    const { server, port } = await startServer(t, { FILESIZE: sizeReply })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE.subarray(0, 100))
    await sleep(20)
    await server.stop(noDeadline)
  })

  it('returns at the deadline even if a handler ignores both orders', async t => {
    const { server, peer } = await serverHoldingOneCall(t)
    await server.stop(AbortSignal.timeout(20))
    await peer.until(() => peer.closed || peer.ended, 'the cut')
    equal(peer.received.byteLength, 0)
  })

  it('tells a handler in progress by its signal when it cuts', async t => {
    const told = gate<unknown>()
    const { server, port } = await startServer(t, {
      FILESIZE: (_, { signal }) => {
        signal.addEventListener('abort', () => told.open(signal.reason))
        return new Promise<Reply>(() => {})
      }
    })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE)
    await sleep(20)
    await server.stop(AbortSignal.abort())
    equal(((await told.promise) as { code: string }).code, 'CONNECTION_LOST')
  })

  it('has one outcome for every caller', async t => {
    const { server } = await startServer(t, {})
    equal(server.stop(noDeadline), server.stop(noDeadline))
    await server.stop(noDeadline)
  })

  it('answers what was asked before and leaves the rest of a pipeline unanswered', async t => {
    const hold = gate<Reply>()
    let asked = 0
    const { server, port } = await startServer(t, {
      FILESIZE: () => {
        asked++
        return asked === 1 ? SIZE_REPLY : hold.promise
      }
    })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE, FILESIZE)
    await peer.frame()
    const stopping = server.stop(noDeadline)
    peer.send(FILESIZE)
    await sleep(20)
    hold.open(SIZE_REPLY)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    await peer.until(() => peer.ended, 'the goodbye')
    equal(asked, 2)
    await stopping
  })

  it('lets a film in progress flow to its end', async t => {
    const more = gate()
    const { server, port } = await startServer(t, {
      DOWNLOAD: () => ({
        head: replyHeader('storage', 6),
        contentBytes: 6,
        async pump(out) {
          await written(out, Buffer.from('abc'))
          await more.promise
          await written(out, Buffer.from('def'))
        },
        abandon() {}
      })
    })
    const peer = await RawPeer.open(t, port)
    peer.send(DOWNLOAD)
    await peer.until(() => peer.received.byteLength === 13, 'the first half')
    const stopping = server.stop(noDeadline)
    await sleep(20)
    more.open()
    equal((await peer.frame()).body.toString(), 'abcdef')
    await stopping
  })

  it('lets an upload in progress come to its end', async t => {
    const { server, port } = await startServer(t, { UPLOAD: countingUpload })
    const peer = await RawPeer.open(t, port)
    peer.send(uploadHead(6), Buffer.from('abc'))
    await sleep(20)
    const stopping = server.stop(noDeadline)
    await sleep(20)
    peer.send(Buffer.from('def'))
    equal((await peer.frame()).body.toString(), 'abcdef')
    await stopping
  })

  it('does not reset the reply away from a sender whose content is still being dropped', async t => {
    const { server, port } = await startServer(t, { UPLOAD: refusing })
    const peer = await RawPeer.open(t, port)
    peer.socket.pause()
    peer.send(uploadHead(50e6), Buffer.alloc(1e6))
    await sleep(50)
    const stopping = server.stop(noDeadline)
    peer.send(Buffer.alloc(1e6))
    await sleep(50)
    peer.socket.resume()
    equal(textOf(await peer.frame()), '[here] the film is there')
    await stopping
  })

  it('is complete when it is asked for while the server starts', async () => {
    const server = new FrameServer({
      role: 'storage',
      hostName: 'here',
      greeting: GREETING,
      handlers: storageHandlers({})
    })
    const starting = server.start({ host: '127.0.0.1', port: 0 })
    await server.stop(noDeadline)
    const { port } = await starting
    await rejects(once(connect(port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
  })

  it('keeps a server that was never started from starting', async () => {
    const options = { role: 'storage', hostName: 'here', greeting: GREETING } as const
    const server = new FrameServer({ ...options, handlers: storageHandlers({}) })
    await server.stop(noDeadline)
    await rejects(server.start({ host: '127.0.0.1', port: 0 }), { code: 'SHUTTING_DOWN' })
  })

  it('has nothing to do after a start that failed', async t => {
    const { port } = await startServer(t, {})
    const options = { role: 'storage', hostName: 'here', greeting: GREETING } as const
    const server = new FrameServer({ ...options, handlers: storageHandlers({}) })
    await rejects(server.start({ host: '127.0.0.1', port }), { code: 'EADDRINUSE' })
    await server.stop(noDeadline)
  })
})

describe('answering requests', { timeout: 10_000 }, () => {
  it('answers 1,000 pipelined requests in their order', async t => {
    let count = 0
    const { port } = await startServer(t, {
      FILESIZE: () => {
        const number = count++
        const reply = replyOf('storage', encodeInt64(number))
        // Some at once, some later, some much later: the order of the replies is the requests'.
        if (number % 3 === 0) return reply
        return sleep(number % 7 === 0 ? 2 : 0).then(() => reply)
      }
    })
    const peer = await RawPeer.open(t, port)
    for (let at = 0; at < 1_000; at += 100)
      peer.send(Buffer.concat(Array.from({ length: 100 }, () => FILESIZE)))
    for (let at = 0; at < 1_000; at++) equal((await peer.frame()).body.readBigInt64BE(), BigInt(at))
  })

  it('understands requests that come byte by byte', async t => {
    const { port } = await startServer(t, { FILESIZE: sizeReply, UPLOAD: countingUpload })
    const peer = await RawPeer.open(t, port)
    await peer.drip(Buffer.concat([FILESIZE, uploadHead(3), Buffer.from('abc'), FILESIZE]))
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    equal((await peer.frame()).body.toString(), 'abc')
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('serves content behind other requests after they were answered, and others behind it', async t => {
    const hold = gate<Reply>()
    const order: string[] = []
    const { port } = await startServer(t, {
      FILESIZE: () => {
        order.push('size')
        return order.length === 1 ? hold.promise : SIZE_REPLY
      },
      UPLOAD: (body, call) => {
        order.push('upload')
        return countingUpload(body, call)
      }
    })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE, uploadHead(3), Buffer.from('abc'), uploadHead(0), FILESIZE)
    await sleep(30)
    deepEqual(order, ['size'])
    hold.open(SIZE_REPLY)
    const bodies = []
    for (let at = 0; at < 4; at++) bodies.push((await peer.frame()).body.toString('latin1'))
    deepEqual(bodies, [EIGHT_BYTES.toString('latin1'), 'abc', '', EIGHT_BYTES.toString('latin1')])
    deepEqual(order, ['size', 'upload', 'upload', 'size'])
  })

  it('serves an empty body that was held back byte by byte', async t => {
    const hold = gate<Reply>()
    const { port } = await startServer(t, {
      FILESIZE: () => hold.promise,
      STORE_BODY: (_, { content }) => replyOf('storage', Buffer.from(`${content.lengthBytes}`))
    })
    const peer = await RawPeer.open(t, port)
    await peer.hello()
    peer.send(FILESIZE)
    await peer.drip(encodeFrame(77))
    hold.open(SIZE_REPLY)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    equal((await peer.frame()).body.toString(), '0')
  })

  it('gives the reply to a peer that closed its side after the request', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => sleep(20).then(sizeReply) })
    const peer = await RawPeer.open(t, port)
    peer.socket.end(Buffer.concat([FILESIZE, FILESIZE]))
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    await peer.until(() => peer.closed, 'the end of a connection that nobody needs')
    equal(server.counts.open, 0)
  })

  it('answers a handler that refuses, at once or later, and goes on', async t => {
    let count = 0
    const { port, faults } = await startServer(t, {
      FILESIZE: async () => {
        count++
        if (count === 1) throw new RejectedError('FILE_NOT_FOUND', 'no such film')
        if (count === 2) throw new TypeError('a bug')
        return SIZE_REPLY
      },
      DELETE: () => {
        throw new RejectedError('FILE_NOT_FOUND', 'no such film')
      }
    })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE, FILESIZE, DELETE, FILESIZE)
    const replies = []
    for (let at = 0; at < 3; at++) replies.push(await peer.frame())
    deepEqual(replies.map(textOf), ['[here] no such film', '[here] internal error', '[here] no such film'])
    deepEqual(replies.map(errnoOf), [-1, -1, -1])
    deepEqual(
      replies.map(({ command, status }) => [command, status]),
      replies.map(() => [102, -3])
    )
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    equal(faults.length, 1)
  })

  it('answers a handler that answers nothing as a fault', async t => {
    const { port, faults } = await startServer(t, { FILESIZE: () => undefined as unknown as Buffer })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE)
    equal(textOf(await peer.frame()), '[here] internal error')
    equal(faults.length, 1)
  })

  it('tells programs of ours the number of the error, and legacy ones -1', async t => {
    const { port } = await startServer(t, {
      FILESIZE: () => {
        throw new RejectedError('FILE_NOT_FOUND', 'no such film')
      }
    })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE)
    equal(errnoOf(await peer.frame()), -1)
    equal((await peer.hello()).status, 0)
    peer.send(FILESIZE)
    equal(errnoOf(await peer.frame()), ERRORS.FILE_NOT_FOUND.wire)
  })

  it('knows no extension before HELLO', async t => {
    const { port } = await startServer(t, { STAT: sizeReply })
    const peer = await RawPeer.open(t, port)
    peer.send(encodeFrame(78, Buffer.from('abc')))
    match(textOf(await peer.frame()), /needs HELLO/)
    await peer.hello()
    peer.send(encodeFrame(78, Buffer.from('abc')))
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('refuses a program of another cluster, and closes', async t => {
    const { port } = await startServer(t, {})
    const peer = await RawPeer.open(t, port)
    peer.send(encodeFrame(74, encodeGreeting({ role: 'client', cluster: 'c2', version: '1' })))
    equal(errnoOf(await peer.frame()), ERRORS.WRONG_CLUSTER.wire)
    await peer.until(() => peer.ended, 'the goodbye')
  })

  it('tells its observer of every request', async t => {
    const seen: unknown[] = []
    const { port } = await startServer(
      t,
      {
        FILESIZE: () => sleep(10).then(sizeReply),
        UPLOAD: countingUpload,
        DELETE: () => {
          throw new RejectedError('FILE_NOT_FOUND', 'no')
        }
      },
      {
        observe: (command, outcome, elapsedMs, bytesIn, bytesOut) => {
          ok(elapsedMs >= (command === 'FILESIZE' ? 8 : 0) && elapsedMs < 1_000)
          seen.push([command, outcome, bytesIn, bytesOut])
        }
      }
    )
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE, uploadHead(3), Buffer.from('abc'), DELETE, encodeFrame(99))
    for (let at = 0; at < 4; at++) await peer.frame()
    deepEqual(seen, [
      ['FILESIZE', 'ok', 410, 18],
      ['UPLOAD', 'ok', 421, 13],
      ['DELETE', 'FILE_NOT_FOUND', 410, 10 + 2 + '[here] no'.length + 1],
      ['UNKNOWN', 'UNKNOWN_COMMAND', 10, 10 + 2 + '[here] unknown command: 99'.length + 1]
    ])
  })
})

describe('streamed replies', { timeout: 10_000 }, () => {
  function streamed(
    contentBytes: number,
    pump: StreamedReply['pump'],
    abandon = (): void => {}
  ): StreamedReply {
    return { head: replyHeader('storage', contentBytes), contentBytes, pump, abandon }
  }

  it('keep their place among others', async t => {
    const { port } = await startServer(t, {
      FILESIZE: sizeReply,
      DOWNLOAD: () =>
        streamed(6, async out => {
          await written(out, Buffer.from('abc'))
          await sleep(10)
          await written(out, Buffer.from('def'))
        })
    })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE, DOWNLOAD, FILESIZE, DOWNLOAD)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    equal((await peer.frame()).body.toString(), 'abcdef')
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    equal((await peer.frame()).body.toString(), 'abcdef')
  })

  it('may be empty', async t => {
    const { port } = await startServer(t, {
      DOWNLOAD: () => streamed(0, async () => {}),
      FILESIZE: sizeReply
    })
    const peer = await RawPeer.open(t, port)
    peer.send(DOWNLOAD, FILESIZE)
    equal((await peer.frame()).body.byteLength, 0)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('that fail before their first byte are answered by an error, and the connection goes on', async t => {
    const { port } = await startServer(t, {
      DOWNLOAD: () =>
        streamed(6, () => {
          throw new UnavailableError('STORE_UNAVAILABLE', 'the disk is gone')
        }),
      FILESIZE: sizeReply
    })
    const peer = await RawPeer.open(t, port)
    peer.send(DOWNLOAD, FILESIZE)
    equal(textOf(await peer.frame()), '[here] the disk is gone')
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('that fail later end the connection, so that nobody takes half for the whole', async t => {
    const { port, faults } = await startServer(t, {
      DOWNLOAD: () =>
        streamed(6, async out => {
          await written(out, Buffer.from('abc'))
          throw new Error('EIO')
        })
    })
    const peer = await RawPeer.open(t, port)
    peer.send(DOWNLOAD)
    await rejects(peer.frame(), /closed after 13 bytes/)
    equal(faults.length, 1)
  })

  for (const [what, text] of [
    ['less', 'abc'],
    ['more', 'abcdefg']
  ] as const) {
    it(`that bring ${what} than they announced end the connection and are a fault`, async t => {
      const { port, faults } = await startServer(t, {
        DOWNLOAD: () => streamed(6, out => written(out, Buffer.from(text))),
        FILESIZE: sizeReply
      })
      const peer = await RawPeer.open(t, port)
      peer.send(DOWNLOAD, FILESIZE)
      if (what === 'less') await rejects(peer.frame(), /closed after/)
      else equal((await peer.frame()).status, -3)
      equal(faults.length, 1)
    })
  }

  it('are abandoned when the receiver is gone before their turn', async t => {
    const abandoned = gate()
    const hold = gate<Reply>()
    const { port } = await startServer(t, {
      FILESIZE: () => hold.promise,
      DOWNLOAD: () => streamed(6, async () => {}, abandoned.open)
    })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE, DOWNLOAD)
    await sleep(20)
    peer.socket.resetAndDestroy()
    await abandoned.promise
  })

  it('are abandoned when the receiver went away while they were prepared', async t => {
    const abandoned = gate()
    const hold = gate<Reply>()
    const { port } = await startServer(t, { DOWNLOAD: () => hold.promise })
    const peer = await RawPeer.open(t, port)
    peer.send(DOWNLOAD)
    await sleep(20)
    peer.socket.resetAndDestroy()
    await sleep(20)
    hold.open(streamed(6, async () => {}, abandoned.open))
    await abandoned.promise
  })

  it('stop when the receiver goes away in mid-reply', async t => {
    const stopped = gate<Error>()
    const { port, faults } = await startServer(t, {
      DOWNLOAD: () =>
        streamed(1e9, async out => {
          const piece = Buffer.alloc(256 * 1024)
          try {
            for (;;) await written(out, piece)
          } catch (error) {
            stopped.open(error as Error)
            throw error
          }
        })
    })
    const peer = await RawPeer.open(t, port)
    peer.send(DOWNLOAD)
    await peer.until(() => peer.received.byteLength > 1_000_000, 'some of it')
    peer.socket.resetAndDestroy()
    await stopped.promise
    await sleep(10)
    deepEqual(faults, [])
  })
})

describe('content of requests', { timeout: 20_000 }, () => {
  it('that is here already is whole when its handler is called', async t => {
    const { port } = await startServer(t, {
      UPLOAD: (_, { content }) => replyOf('storage', content.takeIfComplete() ?? Buffer.from('not yet'))
    })
    const peer = await RawPeer.open(t, port)
    peer.send(Buffer.concat([uploadHead(3), Buffer.from('abc')]))
    equal((await peer.frame()).body.toString(), 'abc')
  })

  it('holds the sender back while its taker is busy', async t => {
    const resume = gate()
    let takenBytes = 0
    const { port } = await startServer(t, {
      UPLOAD: async (_, { content }) => {
        await content.read(chunk => {
          takenBytes += chunk.byteLength
          return takenBytes === chunk.byteLength ? resume.promise : undefined
        })
        return replyOf('storage')
      }
    })
    const peer = await RawPeer.open(t, port)
    const totalBytes = 64 * 1024 * 1024
    peer.send(uploadHead(totalBytes), Buffer.alloc(totalBytes))
    await sleep(100)
    ok(takenBytes <= 256 * 1024, `${takenBytes} bytes were taken while the taker was busy`)
    ok(peer.socket.writableLength > 32 * 1024 * 1024, 'the rest waits at the sender')
    resume.open()
    equal((await peer.frame()).status, 0)
    equal(takenBytes, totalBytes)
  })

  it('holds the sender back until somebody reads it', async t => {
    const begin = gate()
    const { port } = await startServer(t, {
      UPLOAD: async (body, call) => {
        await begin.promise
        return countingUpload(body, call)
      }
    })
    const peer = await RawPeer.open(t, port)
    const content = Buffer.alloc(4 * 1024 * 1024, 'x')
    peer.send(uploadHead(content.byteLength), content)
    await sleep(50)
    begin.open()
    deepEqual((await peer.frame()).body, content)
  })

  it('that is refused early is dropped, and the connection goes on', async t => {
    const { port } = await startServer(t, { UPLOAD: refusing, FILESIZE: sizeReply })
    const peer = await RawPeer.open(t, port)
    peer.send(uploadHead(8 * 1024 * 1024), Buffer.alloc(8 * 1024 * 1024), FILESIZE)
    equal(textOf(await peer.frame()), '[here] the film is there')
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('that is refused and too long to drop ends the connection, after the reply', async t => {
    const { port } = await startServer(t, { UPLOAD: refusing, FILESIZE: sizeReply })
    const peer = await RawPeer.open(t, port)
    peer.send(uploadHead(2 ** 40), Buffer.alloc(1024 * 1024))
    equal(textOf(await peer.frame()), '[here] the film is there')
    await peer.until(() => peer.ended, 'the goodbye')
  })

  it('reaches its handler as a loss when the sender goes away', async t => {
    for (const leave of ['end', 'resetAndDestroy'] as const) {
      const lost = gate<unknown>()
      const { port } = await startServer(t, {
        UPLOAD: async (_, { content }) => {
          await content.read(() => {}).catch(lost.open)
          return replyOf('storage')
        }
      })
      const peer = await RawPeer.open(t, port)
      peer.send(uploadHead(100), Buffer.from('abc'))
      await sleep(20)
      peer.socket[leave]()
      equal(((await lost.promise) as { code: string }).code, 'CONNECTION_LOST')
    }
  })

  it('is answered even when its sender half-closed in the middle of it', async t => {
    const { port } = await startServer(t, { UPLOAD: countingUpload })
    const peer = await RawPeer.open(t, port)
    peer.socket.end(Buffer.concat([uploadHead(100), Buffer.from('abc')]))
    match(textOf(await peer.frame()), /went away/)
    await peer.until(() => peer.closed, 'the end')
  })

  it('that its taker refuses in the middle is dropped to its end', async t => {
    const { port } = await startServer(t, {
      UPLOAD: async (_, { content }) => {
        await content.read(() => {
          throw new UnavailableError('NO_SPACE', 'the disk is full')
        })
        return replyOf('storage')
      },
      FILESIZE: sizeReply
    })
    const peer = await RawPeer.open(t, port)
    peer.send(uploadHead(4 * 1024 * 1024), Buffer.alloc(4 * 1024 * 1024), FILESIZE)
    equal(textOf(await peer.frame()), '[here] the disk is full')
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })
})

const DOWNLOAD = encodeFrame(72, Buffer.alloc(416, 'a'))
const DELETE = encodeFrame(73, Buffer.alloc(400, 'a'))

function written(out: Outlet, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    out.write(bytes, error => (error ? reject(error) : resolve()))
  })
}

async function countingUpload(_: Buffer, { content }: Call): Promise<Reply> {
  const chunks: Buffer[] = []
  await content.read(chunk => void chunks.push(chunk))
  return replyOf('storage', ...chunks)
}

function refusing(): never {
  throw new RejectedError('FILE_EXISTS', 'the film is there')
}
