import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { decodeFileKey, encodeFrame } from '@tributary/protocol'
import { replyHeader, replyOf, type Reply } from '../src/index.ts'
import { FILESIZE, noDeadline, RawPeer, SIZE_REPLY, sleep, startServer, textOf, uploadHead } from './peers.ts'

const ABSURD_LENGTHS = {
  'a negative length': -1n,
  'the least length': -(2n ** 63n),
  'a length of 2^53': 2n ** 53n,
  'a length of 2^62': 2n ** 62n,
  'the greatest length': 2n ** 63n - 1n
}

function headerOf(length: bigint, command: number): Buffer {
  const header = Buffer.alloc(10)
  header.writeBigInt64BE(length)
  header[8] = command
  return header
}

describe('a hostile peer', { timeout: 30_000 }, () => {
  for (const [what, length] of Object.entries(ABSURD_LENGTHS)) {
    for (const [name, command] of Object.entries({ FILESIZE: 71, UPLOAD: 70, 'an unknown command': 99 })) {
      it(`that sends ${what} for ${name} gets one error and is closed`, async t => {
        let served = 0
        const { port } = await startServer(t, { FILESIZE: () => (served++, SIZE_REPLY) })
        const peer = await RawPeer.open(t, port)
        // What follows looks like a request, and must not be served: nobody knows where the body ends.
        peer.send(Buffer.concat([headerOf(length, command), FILESIZE]))
        const reply = await peer.frame()
        equal(reply.status, -3)
        equal(reply.command, 102)
        await peer.until(() => peer.ended, 'the goodbye')
        equal(peer.received.byteLength, 0, 'exactly one reply')
        equal(served, 0)
      })
    }
  }

  it('that loses its framing still gets the replies before it', async t => {
    let served = 0
    const { port } = await startServer(t, {
      FILESIZE: () => {
        served++
        return sleep(30).then(() => SIZE_REPLY)
      }
    })
    const peer = await RawPeer.open(t, port)
    peer.send(Buffer.concat([FILESIZE, headerOf(-1n, 71), FILESIZE]))
    await sleep(5)
    peer.send(FILESIZE)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    match(textOf(await peer.frame()), /invalid body length/)
    await peer.until(() => peer.ended, 'the goodbye')
    equal(served, 1)
  })

  it('that sends a body of the wrong length gets an error and may go on', async t => {
    const { port } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const peer = await RawPeer.open(t, port)
    for (const bytes of [0, 399, 401, 100_000]) {
      peer.send(encodeFrame(71, Buffer.alloc(bytes, 'a')))
      match(textOf(await peer.frame()), new RegExp(`invalid body length: ${bytes}, expected 400`))
    }
    peer.send(FILESIZE)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('that sends an unknown command gets an error, and may go on after a short body', async t => {
    const { port } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const peer = await RawPeer.open(t, port)
    for (const command of [0, 10, 40, 99, 102, 255]) {
      peer.send(encodeFrame(command, Buffer.alloc(1_000)), FILESIZE)
      equal(textOf(await peer.frame()), `[here] unknown command: ${command}`)
      deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    }
    peer.send(headerOf(100_000n, 99))
    match(textOf(await peer.frame()), /unknown command/)
    await peer.until(() => peer.ended, 'the goodbye')
  })

  it('that sends a field without NUL gets an error', async t => {
    const { port } = await startServer(t, {
      FILESIZE: body => {
        decodeFileKey(body)
        return SIZE_REPLY
      }
    })
    const peer = await RawPeer.open(t, port)
    peer.send(encodeFrame(71, Buffer.alloc(400, 'a')), FILESIZE)
    match(textOf(await peer.frame()), /application id has no end within its 16 bytes/)
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('that falls silent inside a head, a body or a content is given up; one between requests is not', async t => {
    const { port } = await startServer(
      t,
      {
        FILESIZE: () => SIZE_REPLY,
        UPLOAD: async (_, { content }) => {
          await content.read(() => {})
          return SIZE_REPLY
        }
      },
      { silenceMs: 100 }
    )
    const idle = await RawPeer.open(t, port)
    for (const part of [
      FILESIZE.subarray(0, 5),
      FILESIZE.subarray(0, 400),
      uploadHead(100),
      encodeFrame(99, Buffer.alloc(9)).subarray(0, 15)
    ]) {
      const peer = await RawPeer.open(t, port)
      peer.send(part)
      const sentMs = performance.now()
      await peer.until(() => peer.ended || peer.closed, 'being given up', 1_000)
      ok(performance.now() - sentMs >= 90)
    }
    idle.send(FILESIZE)
    deepEqual((await idle.frame()).bytes, SIZE_REPLY)
  })

  it('that is slow but not silent is served', async t => {
    const { port } = await startServer(t, { FILESIZE: () => SIZE_REPLY }, { silenceMs: 100 })
    const peer = await RawPeer.open(t, port)
    for (let at = 0; at < 410; at += 41) {
      peer.send(FILESIZE.subarray(at, at + 41))
      await sleep(40)
    }
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('is not taken for silent while its handler holds it back', async t => {
    const { port } = await startServer(
      t,
      {
        UPLOAD: async (_, { content }) => {
          await content.read(() => sleep(300))
          return SIZE_REPLY
        }
      },
      { silenceMs: 100 }
    )
    const peer = await RawPeer.open(t, port)
    peer.send(uploadHead(4), Buffer.from('ab'))
    await sleep(200)
    peer.send(Buffer.from('cd'))
    deepEqual((await peer.frame()).bytes, SIZE_REPLY)
  })

  it('that never reads its film is given up, and holds bounded memory until then', async t => {
    let writtenBytes = 0
    const { port, server } = await startServer(
      t,
      {
        DOWNLOAD: () => ({
          head: replyHeader('storage', 1e9),
          contentBytes: 1e9,
          async pump(out) {
            const piece = Buffer.alloc(256 * 1024)
            for (;;) {
              await new Promise<void>((resolve, reject) => out.write(piece, e => (e ? reject(e) : resolve())))
              writtenBytes += piece.byteLength
            }
          },
          abandon() {}
        })
      },
      { stallMs: 200 }
    )
    const peer = await RawPeer.open(t, port)
    peer.socket.pause()
    peer.send(encodeFrame(72, Buffer.alloc(416)))
    await sleep(150)
    equal(server.counts.open, 1)
    const filledBytes = writtenBytes
    await sleep(1_000)
    equal(server.counts.open, 0)
    ok(writtenBytes <= filledBytes + 256 * 1024)
  })

  it('that reads its film slowly is not given up', async t => {
    const totalBytes = 12 * 1024 * 1024
    const { port } = await startServer(
      t,
      {
        DOWNLOAD: () => ({
          head: replyHeader('storage', totalBytes),
          contentBytes: totalBytes,
          pump: out =>
            new Promise<void>((resolve, reject) =>
              out.write(Buffer.alloc(totalBytes), e => (e ? reject(e) : resolve()))
            ),
          abandon() {}
        })
      },
      { stallMs: 700 } // the kernel's window opens in steps that take a while
    )
    const peer = await RawPeer.open(t, port)
    peer.send(encodeFrame(72, Buffer.alloc(416)))
    let receivedBytes = 0
    peer.socket.removeAllListeners('data')
    peer.socket.on('data', chunk => {
      receivedBytes += chunk.byteLength
      peer.socket.pause()
      setTimeout(() => peer.socket.resume(), 12)
    })
    const here = (): boolean => receivedBytes === totalBytes + 10
    while (!here() && !peer.closed && !peer.ended) await sleep(20)
    equal(receivedBytes, totalBytes + 10)
  })

  it('that asks without reading replies is held back', async t => {
    let served = 0
    const { port, server } = await startServer(
      t,
      { FILESIZE: () => (served++, replyOf('storage', Buffer.alloc(60_000))) },
      { stallMs: 400 }
    )
    const peer = await RawPeer.open(t, port)
    peer.socket.pause()
    for (let at = 0; at < 100; at++) peer.send(Buffer.concat(Array.from({ length: 20 }, () => FILESIZE)))
    await sleep(200)
    ok(served < 600, `${served} replies wait for one who does not read`)
    await sleep(1_500)
    equal(server.counts.open, 0)
  })

  it('that resets in any state harms nobody', async t => {
    const { port, server, faults } = await startServer(t, {
      FILESIZE: () => sleep(5).then(() => SIZE_REPLY),
      UPLOAD: async (_, { content }) => {
        await content.read(() => sleep(1))
        return SIZE_REPLY
      },
      DELETE: () => SIZE_REPLY
    })
    const good = await RawPeer.open(t, port)
    const stream = Buffer.concat([
      FILESIZE,
      uploadHead(2_000),
      Buffer.alloc(2_000),
      encodeFrame(73, Buffer.alloc(400)),
      FILESIZE
    ])
    for (let cut = 0; cut < stream.byteLength; cut += 97) {
      const peer = await RawPeer.open(t, port)
      peer.send(stream.subarray(0, cut))
      if (cut % 2) await sleep(1)
      peer.socket.resetAndDestroy()
    }
    good.send(FILESIZE)
    deepEqual((await good.frame()).bytes, SIZE_REPLY)
    await sleep(50)
    equal(server.counts.open, 1)
    deepEqual(faults, [])
  })

  it('that opens 500 idle connections does not slow the others', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    await Promise.all(Array.from({ length: 500 }, () => RawPeer.open(t, port)))
    const peer = await RawPeer.open(t, port)
    for (let at = 0; at < 200; at++) {
      peer.send(FILESIZE)
      deepEqual((await peer.frame()).bytes, SIZE_REPLY)
    }
    equal(server.counts.open, 501)
  })

  it('at the bound takes the place of the one that was idle for longest', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY }, { connectionsMax: 3 })
    const peers: RawPeer[] = []
    for (let at = 0; at < 3; at++) {
      const peer = await RawPeer.open(t, port)
      peer.send(FILESIZE)
      await peer.frame()
      peers.push(peer)
      await sleep(2)
    }
    peers[0]!.send(FILESIZE)
    await peers[0]!.frame()
    const newcomer = await RawPeer.open(t, port)
    newcomer.send(FILESIZE)
    deepEqual((await newcomer.frame()).bytes, SIZE_REPLY)
    await peers[1]!.until(() => peers[1]!.ended || peers[1]!.closed, 'its end')
    equal(peers[0]!.ended, false)
    equal(peers[2]!.ended, false)
    equal(server.counts.open, 3)
  })

  it('at the bound is refused where everybody is busy, also with a film', async t => {
    const { port, server } = await startServer(
      t,
      {
        FILESIZE: () => new Promise<Reply>(() => {}),
        DOWNLOAD: () => ({
          head: replyHeader('storage', 1_000),
          contentBytes: 1_000,
          pump: out => {
            out.write(Buffer.alloc(10), () => {})
            return new Promise(() => {})
          },
          abandon() {}
        })
      },
      { connectionsMax: 3 }
    )
    const peers = [await RawPeer.open(t, port), await RawPeer.open(t, port), await RawPeer.open(t, port)]
    peers[0]!.send(FILESIZE)
    peers[1]!.send(encodeFrame(72, Buffer.alloc(416)))
    peers[2]!.send(uploadHead(10).subarray(0, 50))
    await peers[1]!.until(() => peers[1]!.received.byteLength === 20, 'some of the film')
    const newcomer = await RawPeer.open(t, port)
    await newcomer.until(() => newcomer.ended || newcomer.closed, 'the refusal')
    equal(server.counts.refused, 1)
    equal(peers.filter(({ ended }) => ended).length, 0)
  })

  it('whose address is not allowed is closed at once', async t => {
    const { port, server } = await startServer(t, {}, { allows: ip => ip !== '127.0.0.1' })
    const peer = await RawPeer.open(t, port)
    await peer.until(() => peer.ended || peer.closed, 'the refusal')
    deepEqual(server.counts, { open: 0, accepted: 0, refused: 1 })
  })

  it('that sends endlessly after its refusal is cut in the end', async t => {
    const { port, server } = await startServer(t, {})
    const peer = await RawPeer.open(t, port)
    peer.send(headerOf(-1n, 71))
    await peer.frame()
    const piece = Buffer.alloc(1024 * 1024)
    const pour = (): void => {
      while (!peer.closed && peer.socket.write(piece));
    }
    peer.socket.on('drain', pour)
    pour()
    await peer.until(() => peer.closed, 'the cut', 10_000)
    equal(server.counts.open, 0)
  })

  it('does not keep a server from stopping', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => replyOf('storage', Buffer.alloc(30e6)) })
    const peer = await RawPeer.open(t, port)
    peer.socket.pause()
    peer.send(FILESIZE)
    const uploader = await RawPeer.open(t, port)
    uploader.send(uploadHead(100))
    await sleep(50)
    await server.stop(AbortSignal.timeout(200))
    equal(server.counts.open, 0)
    await server.stop(noDeadline)
  })
})
