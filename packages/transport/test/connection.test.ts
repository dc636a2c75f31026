import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict'
import type { Socket } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { encodeErrorReply, encodeFrame, encodeHeader, encodeInt64 } from '@tributary/protocol'
import { Connection, replyOf, type PieceTaker } from '../src/index.ts'
import {
  FILESIZE,
  gate,
  GREETING,
  SIZE_REPLY,
  sleep,
  startScripted,
  startServer,
  uploadHead
} from './peers.ts'

const CALL = { timeoutMs: 2_000 }
const STREAM = { timeoutMs: 2_000, silenceMs: 2_000 }

async function openTo(t: TestContext, port: number): Promise<Connection> {
  const connection = await Connection.open('storage', { host: '127.0.0.1', port }, { timeoutMs: 1_000 })
  t.after(() => connection.destroy())
  return connection
}

/** A server that answers the n-th bytes that come with what `replies` says. */
async function answering(t: TestContext, ...replies: ((socket: Socket) => void)[]): Promise<Connection> {
  const { port } = await startScripted(t, socket => {
    let at = 0
    socket.on('data', () => replies[at++]?.(socket))
  })
  return openTo(t, port)
}

function collecting(): { open: () => PieceTaker; text: () => string } {
  let text = ''
  return {
    open: () => (bytes, release) => {
      text += bytes.toString()
      release()
    },
    text: () => text
  }
}

describe('a connection', { timeout: 20_000 }, () => {
  it('tells one that was never made from one that broke', async t => {
    const { port, server } = await startScripted(t, socket =>
      socket.once('data', () => socket.resetAndDestroy())
    )
    const connection = await openTo(t, port)
    await rejects(connection.call(FILESIZE, CALL), {
      code: 'CONNECTION_LOST',
      message: /^(?:lost )?the connection/
    })
    server.close()
    await rejects(openTo(t, port), { code: 'CONNECTION_LOST', message: /^no connection to .*ECONNREFUSED$/ })
  })

  it('knows of a request that met a stopping server that it was not done', async t => {
    let asked = 0
    const { port, server } = await startServer(t, {
      FILESIZE: () => {
        asked++
        return SIZE_REPLY
      }
    })
    const [busy, idle] = [await openTo(t, port), await openTo(t, port)]
    for (const connection of [busy, idle]) {
      await connection.greet({ role: 'client', cluster: '', version: 'test' }, CALL)
      await connection.call(FILESIZE, CALL)
    }
    const stopping = server.stop(AbortSignal.timeout(2_000))
    await rejects(busy.call(FILESIZE, CALL), { code: 'SHUTTING_DOWN' })
    await stopping
    equal(asked, 2)
    equal(idle.alive, false)
    await rejects(idle.call(FILESIZE, CALL), { code: 'SHUTTING_DOWN' })
  })

  it('brings replies to their calls in order', async t => {
    let count = 0
    const { port } = await startServer(t, {
      FILESIZE: () => {
        const number = count++
        return sleep(number % 2 ? 3 : 0).then(() => replyOf('storage', encodeInt64(number)))
      }
    })
    const connection = await openTo(t, port)
    const bodies = await Promise.all(Array.from({ length: 100 }, () => connection.call(FILESIZE, CALL)))
    deepEqual(
      bodies.map(body => Number(body.readBigInt64BE())),
      Array.from({ length: 100 }, (_, at) => at)
    )
    equal(connection.inFlight, 0)
    equal(connection.settled, true)
  })

  it('reads replies that come byte by byte', async t => {
    const film = Buffer.from('a film that is not long')
    const bytes = Buffer.concat([
      SIZE_REPLY,
      replyOf('storage', film),
      encodeErrorReply(102, 10, 'no such film'),
      SIZE_REPLY
    ])
    const { port } = await startScripted(t, socket => {
      socket.once('data', () => {
        void (async () => {
          for (let at = 0; at < bytes.byteLength; at++) {
            socket.write(bytes.subarray(at, at + 1))
            await new Promise(resolve => setImmediate(resolve))
          }
        })()
      })
    })
    const connection = await openTo(t, port)
    connection.hello = {} as never // an error of a program of ours does not end the connection
    const streamed = collecting()
    const calls = [
      connection.call(FILESIZE, CALL),
      connection.callStreamed(FILESIZE, STREAM, streamed.open),
      connection.call(FILESIZE, CALL),
      connection.call(FILESIZE, CALL)
    ]
    await rejects(calls[2]!, { code: 'FILE_NOT_FOUND', message: 'no such film' })
    deepEqual(await calls[0], SIZE_REPLY.subarray(10))
    await calls[1]
    equal(streamed.text(), film.toString())
    deepEqual(await calls[3], SIZE_REPLY.subarray(10))
  })

  it('reads a buffered reply that is larger than its read buffer', async t => {
    const body = Buffer.alloc(200_000, 'x')
    const { port } = await startServer(t, { FILESIZE: () => replyOf('storage', body) })
    const connection = await openTo(t, port)
    deepEqual(await connection.call(FILESIZE, CALL), body)
  })

  it('fails where nobody listens', async () => {
    const call = Connection.open('storage', { host: '127.0.0.1', port: 1 }, { timeoutMs: 1_000 })
    await rejects(call, { code: 'CONNECTION_LOST' })
  })

  it('is cancelled while it opens, and before', async () => {
    const address = { host: '192.0.2.1', port: 9 }
    const opening = Connection.open('storage', address, { timeoutMs: 5_000, signal: AbortSignal.timeout(20) })
    await rejects(opening, error =>
      ['CANCELLED', 'CONNECTION_LOST'].includes((error as { code: string }).code)
    )
    const signal = AbortSignal.abort()
    await rejects(Connection.open('storage', address, { timeoutMs: 5_000, signal }), { code: 'CANCELLED' })
  })
})

describe('a server that lies', { timeout: 20_000 }, () => {
  const lies: Record<string, Buffer> = {
    'answers with the code of another role': encodeFrame(100, Buffer.alloc(8)),
    'answers with a request': FILESIZE,
    'announces a negative length': Buffer.from('ffffffffffffffff6600', 'hex'),
    'announces a length of 2^62': Buffer.from('40000000000000006600', 'hex'),
    'announces more than the caller takes': encodeHeader(1_000_000, 102),
    'announces an endless error': Buffer.from('000000000000ffff66fd', 'hex')
  }
  for (const [what, bytes] of Object.entries(lies)) {
    it(`and ${what} is not believed, and not asked again`, async t => {
      const connection = await answering(t, socket => socket.write(bytes))
      await rejects(connection.call(FILESIZE, CALL), { code: 'BAD_REPLY' })
      equal(connection.alive, false)
      await rejects(connection.call(FILESIZE, CALL), { code: 'BAD_REPLY' })
    })
  }

  it('and sends a reply that nobody asked for is not believed', async t => {
    const connection = await answering(t, socket => socket.write(Buffer.concat([SIZE_REPLY, SIZE_REPLY])))
    deepEqual(await connection.call(FILESIZE, CALL), SIZE_REPLY.subarray(10))
    equal(connection.alive, false)
  })

  it('and streams more than it announced is not believed', async t => {
    const connection = await answering(t, socket =>
      socket.write(Buffer.concat([replyOf('storage', Buffer.from('abc')), Buffer.alloc(20, 'x')]))
    )
    const streamed = collecting()
    await connection.callStreamed(FILESIZE, STREAM, streamed.open)
    equal(streamed.text(), 'abc')
    equal(connection.alive, false)
  })

  it('and closes in mid-reply leaves the call with an error', async t => {
    for (const cut of [0, 5, 10, 14]) {
      const connection = await answering(t, socket => socket.end(SIZE_REPLY.subarray(0, cut)))
      await rejects(connection.call(FILESIZE, CALL), { code: 'CONNECTION_LOST' })
    }
    const connection = await answering(t, socket =>
      socket.end(replyOf('storage', Buffer.alloc(100)).subarray(0, 50))
    )
    await rejects(connection.callStreamed(FILESIZE, STREAM, collecting().open), { code: 'CONNECTION_LOST' })
  })

  it('and resets leaves the call with an error', async t => {
    const connection = await answering(t, socket => void socket.resetAndDestroy())
    await rejects(connection.call(FILESIZE, CALL), { code: 'CONNECTION_LOST' })
  })

  it('and stays silent is left at the time-out, with its late reply', async t => {
    const connection = await answering(t, socket => void sleep(80).then(() => socket.write(SIZE_REPLY)))
    const startedMs = performance.now()
    await rejects(connection.call(FILESIZE, { timeoutMs: 40 }), { code: 'TIMED_OUT' })
    ok(performance.now() - startedMs < 75)
    equal(connection.alive, false)
    await rejects(connection.call(FILESIZE, CALL), { code: 'CONNECTION_LOST' })
  })

  it('and drips its reply is left at the time-out', async t => {
    const connection = await answering(t, socket => {
      let at = 0
      const drip = setInterval(() => socket.write(SIZE_REPLY.subarray(at, ++at)), 20)
      socket.on('close', () => clearInterval(drip))
    })
    await rejects(connection.call(FILESIZE, { timeoutMs: 100 }), { code: 'TIMED_OUT' })
  })

  it('and falls silent in mid-stream is left after the silence', async t => {
    const connection = await answering(t, socket =>
      socket.write(replyOf('storage', Buffer.alloc(100)).subarray(0, 50))
    )
    const call = connection.callStreamed(FILESIZE, { timeoutMs: 50, silenceMs: 100 }, collecting().open)
    await rejects(call, { code: 'TIMED_OUT' })
  })

  it('and streams slowly but steadily is listened to', async t => {
    const connection = await answering(t, socket => {
      socket.write(encodeHeader(5, 102))
      let sent = 0
      const drip = setInterval(() => {
        socket.write('x')
        if (++sent === 5) clearInterval(drip)
      }, 40)
    })
    const streamed = collecting()
    await connection.callStreamed(FILESIZE, { timeoutMs: 100, silenceMs: 100 }, streamed.open)
    equal(streamed.text(), 'xxxxx')
  })
})

describe('calls that share a connection', { timeout: 20_000 }, () => {
  it('each keep their own time-out; those that had time left learn of a loss', async t => {
    const connection = await answering(t)
    const patient = connection.call(FILESIZE, { timeoutMs: 5_000 })
    const hasty = connection.call(FILESIZE, { timeoutMs: 40 })
    await Promise.all([rejects(hasty, { code: 'TIMED_OUT' }), rejects(patient, { code: 'CONNECTION_LOST' })])
  })

  it('survive the cancelling of one of them, whose reply reaches nobody', async t => {
    const go = gate()
    let count = 0
    const { port } = await startServer(t, {
      FILESIZE: async () => {
        const number = count++
        await go.promise
        return replyOf('storage', encodeInt64(number))
      }
    })
    const connection = await openTo(t, port)
    const abort = new AbortController()
    const first = connection.call(FILESIZE, { ...CALL, signal: abort.signal })
    const second = connection.call(FILESIZE, CALL)
    await sleep(10)
    abort.abort()
    await rejects(first, { code: 'CANCELLED' })
    go.open()
    equal((await second).readBigInt64BE(), 1n)
    equal(connection.alive, true)
  })

  it('end the connection when the only one is cancelled', async t => {
    const connection = await answering(t)
    const call = connection.call(FILESIZE, { ...CALL, signal: AbortSignal.timeout(20) })
    await rejects(call, { code: 'CANCELLED' })
    equal(connection.alive, false)
  })

  it('are not sent at all where the signal has aborted before', async t => {
    const connection = await answering(t)
    await rejects(connection.call(FILESIZE, { ...CALL, signal: AbortSignal.abort() }), { code: 'CANCELLED' })
    equal(connection.alive, true)
  })

  it('leave no listener on a signal that lives long', async t => {
    const connection = await answering(
      t,
      ...Array.from({ length: 50 }, () => (socket: Socket) => void socket.write(SIZE_REPLY))
    )
    const abort = new AbortController()
    let listeners = 0
    const { signal } = abort
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args))
    signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args))
    for (let at = 0; at < 50; at++) await connection.call(FILESIZE, { ...CALL, signal })
    equal(listeners, 0)
  })
})

describe('a streamed reply', { timeout: 20_000 }, () => {
  const totalBytes = 24 * 1024 * 1024

  it('stops the sender while its taker holds both buffers, and goes on when it lets go', async t => {
    let sender: Socket | undefined
    const connection = await answering(t, socket => {
      sender = socket
      socket.write(encodeHeader(totalBytes, 102))
      socket.write(Buffer.alloc(totalBytes, 'x'))
    })
    const held: (() => void)[] = []
    let takenBytes = 0
    let holding = true
    const call = connection.callStreamed(
      FILESIZE,
      { timeoutMs: 1_000, silenceMs: 150 },
      () => (bytes, release) => {
        takenBytes += bytes.byteLength
        ok(bytes[0] === 120 && bytes[bytes.byteLength - 1] === 120)
        if (holding) held.push(release)
        else release()
      }
    )
    await sleep(400) // longer than the silence: it is we who hold it back
    ok(takenBytes <= 600 * 1024, `${takenBytes} bytes were taken without a release`)
    ok(sender!.writableLength > 0, 'the rest waits at the sender')
    holding = false
    for (const release of held) {
      release()
      release() // a second time changes nothing
    }
    await call
    equal(takenBytes, totalBytes)
  })

  it('never overwrites what its taker still holds', async t => {
    const content = Buffer.alloc(8 * 1024 * 1024)
    for (let at = 0; at < content.byteLength; at += 4) content.writeUInt32BE(at, at)
    const { port } = await startServer(t, { FILESIZE: () => replyOf('storage', content) })
    const connection = await openTo(t, port)
    let at = 0
    let waiting = 0
    const spoilt: number[] = []
    await connection.callStreamed(FILESIZE, STREAM, () => (bytes, release) => {
      const from = at
      at += bytes.byteLength
      waiting++
      setTimeout(() => {
        if (!bytes.equals(content.subarray(from, from + bytes.byteLength))) spoilt.push(from)
        waiting--
        release()
      }, Math.random() * 5)
    })
    const allReleased = (): boolean => waiting === 0
    while (!allReleased()) await sleep(5)
    equal(at, content.byteLength)
    deepEqual(spoilt, [])
  })

  it('keeps what its taker never releases through the replies after it', async t => {
    let count = 0
    const { port } = await startServer(t, {
      FILESIZE: () => replyOf('storage', Buffer.alloc(2 * 1024 * 1024, count++ === 0 ? 'a' : 'b'))
    })
    const connection = await openTo(t, port)
    let last: Buffer | undefined
    await connection.callStreamed(FILESIZE, STREAM, bodyBytes => {
      let leftBytes = bodyBytes
      return (bytes, release) => {
        leftBytes -= bytes.byteLength
        if (leftBytes > 0) release()
        else last = bytes
      }
    })
    await connection.callStreamed(FILESIZE, STREAM, collecting().open)
    ok(last!.every(byte => byte === 97))
  })

  it('may be followed by others on the same connection, pipelined', async t => {
    const sizes = [2_000_000, 10, 3_000_000, 0, 1_500_000]
    let count = 0
    const { port } = await startServer(t, {
      FILESIZE: () => replyOf('storage', Buffer.alloc(sizes[count++]!, 'x'))
    })
    const connection = await openTo(t, port)
    const taken = await Promise.all(
      sizes.map(async () => {
        let bytesTaken = 0
        await connection.callStreamed(FILESIZE, STREAM, () => (bytes, release) => {
          bytesTaken += bytes.byteLength
          setImmediate(release)
        })
        return bytesTaken
      })
    )
    deepEqual(taken, sizes)
    equal(connection.settled, true)
  })

  it('ends with what its taker throws', async t => {
    const connection = await answering(t, socket => socket.write(replyOf('storage', Buffer.alloc(100))))
    const call = connection.callStreamed(FILESIZE, STREAM, () => () => {
      throw new RangeError('no room')
    })
    await rejects(call, RangeError)
    equal(connection.alive, false)
  })

  it('ends with what its opener throws', async t => {
    const connection = await answering(t, socket => socket.write(replyOf('storage', Buffer.alloc(100))))
    const call = connection.callStreamed(FILESIZE, STREAM, () => {
      throw new RangeError('too long')
    })
    await rejects(call, RangeError)
  })

  it('is cancelled in the middle', async t => {
    const connection = await answering(t, socket =>
      socket.write(replyOf('storage', Buffer.alloc(100)).subarray(0, 50))
    )
    const signal = AbortSignal.timeout(50)
    await rejects(connection.callStreamed(FILESIZE, { ...STREAM, signal }, collecting().open), {
      code: 'CANCELLED'
    })
  })

  it('released after the end of its connection harms nobody', async t => {
    const connection = await answering(t, socket => {
      socket.write(encodeHeader(totalBytes, 102))
      socket.write(Buffer.alloc(totalBytes))
    })
    const held: (() => void)[] = []
    const call = connection.callStreamed(FILESIZE, STREAM, () => (_, release) => void held.push(release))
    setTimeout(() => connection.destroy(), 100)
    await rejects(call, { code: 'CONNECTION_LOST' })
    for (const release of held) release()
    await sleep(10)
  })
})

describe('sending a request body', { timeout: 20_000 }, () => {
  it('waits while the server does not read, and leaves no listeners', async t => {
    const { port, sockets } = await startScripted(t, socket => socket.pause())
    const connection = await openTo(t, port)
    const reply = connection.call(uploadHead(64 * 1024 * 1024), CALL)
    const piece = Buffer.alloc(1024 * 1024)
    let sentBytes = 0
    const sending = (async () => {
      for (; sentBytes < 64 * piece.byteLength; sentBytes += piece.byteLength) await connection.send(piece)
    })()
    await sleep(150)
    ok(sentBytes < 32 * piece.byteLength)
    sockets[0]!.resume()
    await sending
    sockets[0]!.write(replyOf('storage'))
    equal((await reply).byteLength, 0)
    equal(connection.settled, true)
  })

  it('fails with the connection', async t => {
    const { port, sockets } = await startScripted(t, socket => socket.pause())
    const connection = await openTo(t, port)
    const reply = connection.call(uploadHead(64 * 1024 * 1024), CALL)
    const sending = (async () => {
      for (;;) await connection.send(Buffer.alloc(1024 * 1024))
    })()
    setTimeout(() => sockets[0]!.resetAndDestroy(), 50)
    await Promise.all([
      rejects(sending, { code: 'CONNECTION_LOST' }),
      rejects(reply, { code: 'CONNECTION_LOST' })
    ])
    throws(() => connection.send(Buffer.alloc(1)), { code: 'CONNECTION_LOST' })
  })

  it('that was refused half-way leaves a connection that is not settled', async t => {
    const connection = await answering(t, socket =>
      socket.write(encodeErrorReply(102, 4, 'the film is there'))
    )
    connection.hello = {} as never
    await rejects(connection.call(uploadHead(100), CALL), { code: 'FILE_EXISTS' })
    equal(connection.alive, true)
    equal(connection.settled, false)
    await rejects(connection.call(FILESIZE, CALL), { name: 'InvariantError' })
  })
})

describe('greeting', { timeout: 20_000 }, () => {
  it('tells a program of ours by its answer', async t => {
    const { port } = await startServer(t, {})
    const connection = await openTo(t, port)
    equal(await connection.greet({ role: 'client', cluster: '', version: '9' }, CALL), true)
    equal(connection.hello!.role, 'storage')
  })

  it('tells a legacy server by its error', async t => {
    const connection = await answering(t, socket =>
      socket.end(encodeErrorReply(102, -1, '[vm] unknown command: 74'))
    )
    equal(await connection.greet(GREETING, CALL), false)
    equal(connection.alive, false)
  })

  it('refuses another cluster', async t => {
    const { port } = await startServer(t, {})
    const connection = await openTo(t, port)
    await rejects(connection.greet({ ...GREETING, cluster: 'c2' }, CALL), { code: 'WRONG_CLUSTER' })
  })

  it('does not take a close, silence or nonsense for a legacy server', async t => {
    const closing = await answering(t, socket => void socket.end())
    await rejects(closing.greet(GREETING, CALL), { code: 'CONNECTION_LOST' })
    const silent = await answering(t)
    await rejects(silent.greet(GREETING, { timeoutMs: 40 }), { code: 'TIMED_OUT' })
    const talking = await answering(t, socket => socket.write(replyOf('storage', Buffer.from('nonsense'))))
    await rejects(talking.greet(GREETING, CALL), { code: 'BAD_REPLY' })
  })
})
