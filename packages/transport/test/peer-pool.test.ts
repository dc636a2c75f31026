import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, it, type TestContext } from 'node:test'
import { encodeErrorReply, encodeFrame, encodeInt64 } from '@tributary/protocol'
import { encodeGreeting, PeerPool, replyOf, type PeerPoolOptions, type Reply } from '../src/index.ts'
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
const plain = (): Buffer => FILESIZE

function openPool(t: TestContext, options: Partial<PeerPoolOptions> = {}): PeerPool {
  const pool = new PeerPool({
    role: 'storage',
    greeting: { role: 'client', cluster: '', version: '1' },
    ...options
  })
  t.after(() => pool.close())
  return pool
}
function at(port: number): { host: string; port: number } {
  return { host: '127.0.0.1', port }
}

describe('a pool of connections', { timeout: 20_000 }, () => {
  it('uses one connection for calls that follow each other', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const pool = openPool(t)
    for (let count = 0; count < 20; count++) await pool.call(at(port), plain, CALL)
    equal(server.counts.accepted, 1)
  })

  it('lets a burst of calls share few connections', async t => {
    let count = 0
    const { port, server } = await startServer(t, {
      FILESIZE: () => replyOf('storage', encodeInt64(count++))
    })
    const pool = openPool(t)
    const bodies = await Promise.all(Array.from({ length: 500 }, () => pool.call(at(port), plain, CALL)))
    equal(new Set(bodies.map(body => body.readBigInt64BE())).size, 500)
    ok(server.counts.accepted <= 20, `${server.counts.accepted} connections`)
  })

  it('does not queue a call behind one that hangs', async t => {
    const hold = gate<Reply>()
    let count = 0
    const { port } = await startServer(t, { FILESIZE: () => (count++ === 0 ? hold.promise : SIZE_REPLY) })
    const pool = openPool(t)
    const hanging = pool.call(at(port), plain, CALL)
    await sleep(60)
    const startedMs = performance.now()
    await pool.call(at(port), plain, CALL)
    ok(performance.now() - startedMs < 500)
    hold.open(SIZE_REPLY)
    await hanging
  })

  it('repeats a call once that died with a reused connection', async t => {
    const { port, sockets } = await startScripted(t, socket => {
      let requests = 0
      socket.on('data', () => {
        // HELLO is refused the legacy way; the first connection dies at its second request.
        requests++
        if (requests === 2 && sockets.length === 2) socket.destroy()
        else socket.write(sockets.length === 1 ? encodeErrorReply(102, -1, 'unknown') : SIZE_REPLY)
      })
    })
    const pool = openPool(t)
    await pool.call(at(port), plain, CALL)
    await pool.call(at(port), plain, CALL)
    equal(sockets.length, 3)
  })

  it('does not repeat a call that died with a fresh connection', async t => {
    const { port, sockets } = await startScripted(t, socket => {
      socket.on('data', () => {
        if (sockets.length === 1) socket.end(encodeErrorReply(102, -1, 'unknown'))
        else socket.destroy()
      })
    })
    const pool = openPool(t)
    await rejects(pool.call(at(port), plain, CALL), { code: 'CONNECTION_LOST' })
    equal(sockets.length, 2)
  })

  it('takes a server that does not know HELLO for a legacy one, and remembers that', async t => {
    const asked: number[][] = []
    const { port, sockets } = await startScripted(t, socket => {
      const commands: number[] = []
      asked.push(commands)
      socket.on('data', chunk => {
        commands.push(chunk[8]!)
        if (chunk[8] === 74) socket.end(encodeErrorReply(102, -1, '[vm] unknown command: 74'))
        else socket.write(SIZE_REPLY)
      })
    })
    const pool = openPool(t, { connectionsPerPeerMax: 3 })
    const told: boolean[] = []
    const frameFor = (ours: boolean): Buffer => {
      told.push(ours)
      return FILESIZE
    }
    await pool.call(at(port), frameFor, CALL)
    const leases = await Promise.all([pool.lease(at(port), CALL), pool.lease(at(port), CALL)])
    deepEqual([...told, ...leases.map(({ ours }) => ours)], [false, false, false])
    for (const lease of leases) lease.release()
    await pool.call(at(port), frameFor, CALL)
    deepEqual(asked.flat(), [74, 71, 71])
    equal(sockets.length, 3)
  })

  it('does not use a connection again on which a legacy server reported an error', async t => {
    const { port, sockets } = await startScripted(t, socket => {
      socket.on('data', chunk => {
        if (chunk[8] === 74) socket.end(encodeErrorReply(102, -1, 'unknown'))
        else if (sockets.length === 2) {
          socket.write(encodeErrorReply(102, -1, 'no such film'))
          void sleep(30).then(() => socket.end())
        } else socket.write(SIZE_REPLY)
      })
    })
    const pool = openPool(t)
    await rejects(pool.call(at(port), plain, CALL), { code: 'PEER_ERROR' })
    const lease = await pool.lease(at(port), CALL)
    equal(lease.reused, false)
    deepEqual(await lease.connection.call(FILESIZE, CALL), SIZE_REPLY.subarray(10))
    lease.release()
  })

  it('notices that a server closed an idle connection', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const pool = openPool(t)
    await pool.call(at(port), plain, CALL)
    await server.stop(AbortSignal.timeout(100))
    await sleep(10)
    await rejects(pool.call(at(port), plain, CALL), { code: 'CONNECTION_LOST' })
  })

  it('leases a connection to one caller at a time, and reuses it', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const pool = openPool(t)
    const first = await pool.lease(at(port), CALL)
    const second = await pool.lease(at(port), CALL)
    ok(first.connection !== second.connection)
    equal(first.ours, true)
    first.release()
    first.release()
    const third = await pool.lease(at(port), CALL)
    ok(third.connection === first.connection)
    equal(third.reused, true)
    second.release()
    third.release()
    equal(server.counts.accepted, 2)
  })

  it('does not use a connection again on which a request is half sent or unanswered', async t => {
    const { port, server } = await startServer(t, {
      FILESIZE: () => SIZE_REPLY,
      UPLOAD: () => encodeErrorReply(102, 4, 'the film is there')
    })
    const pool = openPool(t)
    const refused = await pool.lease(at(port), CALL)
    await rejects(refused.connection.call(uploadHead(100), CALL), { code: 'FILE_EXISTS' })
    refused.release()
    const pending = await pool.lease(at(port), CALL)
    ok(pending.connection !== refused.connection)
    const call = pending.connection.call(FILESIZE, CALL)
    pending.release()
    await rejects(call, { code: 'CONNECTION_LOST' })
    await pool.call(at(port), plain, CALL)
    equal(server.counts.accepted, 3)
  })

  it('lets callers beyond its bound wait their turn, or their patience', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const pool = openPool(t, { connectionsPerPeerMax: 2 })
    const leases = [await pool.lease(at(port), CALL), await pool.lease(at(port), CALL)]
    await rejects(pool.lease(at(port), { timeoutMs: 50 }), { code: 'OVERLOADED' })
    await rejects(pool.lease(at(port), { timeoutMs: 5_000, signal: AbortSignal.timeout(20) }), {
      code: 'CANCELLED'
    })
    const order: number[] = []
    const waiting = [1, 2, 3].map(async number => {
      const lease = await pool.lease(at(port), CALL)
      order.push(number)
      await lease.connection.call(FILESIZE, CALL)
      lease.release()
    })
    await sleep(10)
    deepEqual(order, [])
    leases[0]!.release()
    await sleep(30)
    leases[1]!.connection.destroy()
    leases[1]!.release()
    await Promise.all(waiting)
    deepEqual(order, [1, 2, 3])
    ok(server.counts.open <= 2)
  })

  it('gives every waiting caller a connection in the end, whatever happens to the others', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => sleep(1).then(() => SIZE_REPLY) })
    const pool = openPool(t, { connectionsPerPeerMax: 3 })
    let highest = 0
    const outcomes = await Promise.allSettled(
      Array.from({ length: 120 }, async (_, number) => {
        const signal = number % 5 === 0 ? AbortSignal.timeout(number % 11) : undefined
        const lease = await pool.lease(at(port), { timeoutMs: 5_000, signal })
        highest = Math.max(highest, server.counts.open)
        if (number % 7 === 0) lease.connection.destroy()
        else await lease.connection.call(FILESIZE, CALL)
        lease.release()
      })
    )
    for (const outcome of outcomes) if (outcome.status === 'rejected') equal(outcome.reason.code, 'CANCELLED')
    ok(highest <= 4)
    await pool.call(at(port), plain, CALL)
  })

  it('does not let one caller that gives up take the connection from those who wait for it too', async t => {
    const { port } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const pool = openPool(t)
    const impatient = pool.call(at(port), plain, { ...CALL, signal: AbortSignal.abort() })
    const patient = pool.call(at(port), plain, CALL)
    await Promise.all([rejects(impatient, { code: 'CANCELLED' }), patient])
  })

  it('keeps to the time-out of a call while it connects', async t => {
    const { port } = await startScripted(t, () => {}) // accepts, and never answers HELLO
    const pool = openPool(t)
    const startedMs = performance.now()
    await rejects(pool.call(at(port), plain, { timeoutMs: 60 }), { code: 'TIMED_OUT' })
    await rejects(pool.lease(at(port), { timeoutMs: 60 }), { code: 'TIMED_OUT' })
    ok(performance.now() - startedMs < 1_000)
  })

  it('closes what was idle for long', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const pool = openPool(t, { idleMs: 40 })
    await pool.call(at(port), plain, CALL)
    await sleep(150)
    equal(server.counts.open, 0)
    await pool.call(at(port), plain, CALL)
  })

  it('ends every call when it is closed, and takes no more', async t => {
    const { port } = await startServer(t, { FILESIZE: () => new Promise<Reply>(() => {}) })
    const pool = openPool(t, { connectionsPerPeerMax: 1 })
    const lease = await pool.lease(at(port), CALL)
    const leased = lease.connection.call(FILESIZE, CALL)
    const waiting = pool.lease(at(port), CALL)
    await sleep(10)
    pool.close()
    await Promise.all([
      rejects(leased, { code: 'SHUTTING_DOWN' }),
      rejects(waiting, { code: 'SHUTTING_DOWN' })
    ])
    await rejects(pool.call(at(port), plain, CALL), { code: 'SHUTTING_DOWN' })
    lease.release()
  })

  it('asks whether somebody is there, on a connection of its own, for all who want to know at once', async t => {
    const { server, port } = await startServer(t, {})
    const pool = openPool(t)
    await Promise.all([pool.probe(at(port), 1_000), pool.probe(at(port), 1_000)])
    equal(server.counts.accepted, 1)
    const legacy = await startScripted(t, socket =>
      socket.on('data', () => socket.end(encodeErrorReply(102, -1, '[old] unknown command')))
    )
    await pool.probe(at(legacy.port), 1_000) // what it does not understand it answers
    await rejects(pool.probe(at(1), 1_000), { code: 'CONNECTION_LOST' })
  })

  it('cuts every connection to a server that is silent, where it is told to', async t => {
    for (const cutsSilent of [false, true]) {
      const asked = Promise.withResolvers<void>()
      const { port } = await startScripted(t, (socket, index) => {
        socket.on('data', chunk => {
          if (index > 0) return // as a frozen server, for which the kernel accepts
          if (chunk[8] === 74) socket.write(encodeFrame(102, encodeGreeting(GREETING)))
          else asked.resolve()
        })
      })
      const pool = openPool(t, { cutsSilent })
      const call = pool.call(at(port), plain, { timeoutMs: 1_000 })
      await asked.promise
      const sinceMs = performance.now()
      await rejects(pool.probe(at(port), 200), { code: 'TIMED_OUT' })
      await rejects(call, { code: 'TIMED_OUT' })
      equal(performance.now() - sinceMs < 600, cutsSilent)
    }
  })

  it('does not keep the process alive while it is idle', async t => {
    const { port } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    const source = new URL('../src/index.ts', import.meta.url).href
    const program = `
      const { PeerPool } = await import('${source}')
      const pool = new PeerPool({ role: 'storage', greeting: { role: 'client', cluster: '', version: '1' } })
      const frame = Buffer.from('${FILESIZE.toString('hex')}', 'hex')
      console.log((await pool.call({ host: '127.0.0.1', port: ${port} }, () => frame, { timeoutMs: 30000 })).toString('hex'))`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--conditions=tributary-source', '--input-type=module', '-e', program],
      { timeout: 10_000 }
    )
    equal(stdout.trim(), '0000000000000020')
  })

  it('fails at once where nobody listens, and works when somebody does again', async t => {
    const { port, server } = await startServer(t, { FILESIZE: () => SIZE_REPLY })
    await server.stop(AbortSignal.abort())
    const pool = openPool(t)
    const failing = Array.from({ length: 50 }, () =>
      rejects(pool.call(at(port), plain, CALL), { code: 'CONNECTION_LOST' })
    )
    await Promise.all(failing)
    const { port: other } = await startServer(t, { FILESIZE: () => SIZE_REPLY }, { greeting: GREETING })
    await pool.call(at(other), plain, CALL)
  })
})
