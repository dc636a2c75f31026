import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { openDatabase } from '@tributary/database'
import {
  COMMANDS,
  decodeInt64,
  encodeFrame,
  encodeIdKey,
  extension,
  HEADER_BYTES,
  readBodyBytes
} from '@tributary/protocol'
import { ConfigError, loadConfig, ManualClock } from '@tributary/runtime'
import type { Connection } from '@tributary/transport'
import { idServerConfig } from '../src/index.ts'
import { CALL, connectTo, runIdServer, sqliteUrl } from './running-server.ts'

const idOf = async (connection: Connection, key: string): Promise<number> =>
  Number(decodeInt64(await connection.call(encodeFrame(COMMANDS.ID_GET.code, encodeIdKey(key)), CALL)))

const blockOf = async (
  connection: Connection,
  key: string,
  count: number
): Promise<{ first: number; count: number }> => {
  const request = encodeFrame(COMMANDS.ID_BLOCK.code, extension.idBlock.encode({ key, count }))
  return extension.idBlockReply.decode(await connection.call(request, CALL))
}

const raise = async (connection: Connection, key: string, atLeast: number): Promise<void> => {
  await connection.call(encodeFrame(COMMANDS.ID_RAISE.code, extension.idRaise.encode({ key, atLeast })), CALL)
}

interface Vector {
  name: string
  request: string
  reply: string
}
const { vectors } = JSON.parse(
  await readFile(new URL('../../protocol/vectors/recorded.json', import.meta.url), 'utf8')
) as { vectors: Vector[] }

/** Sends bytes on a connection of their own, in pieces, and answers the one frame that comes back. */
function exchange(
  address: { host: string; port: number },
  request: Buffer,
  pieceBytes = request.byteLength
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...address, noDelay: true })
    let received: Buffer = Buffer.alloc(0)
    socket.on('data', chunk => {
      received = Buffer.concat([received, chunk])
      if (received.byteLength < HEADER_BYTES) return
      if (received.byteLength >= HEADER_BYTES + readBodyBytes(received, 0)) socket.destroy()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(received))
    for (let at = 0; at < request.byteLength; at += pieceBytes) {
      socket.write(request.subarray(at, at + pieceBytes))
    }
  })
}

describe('the ID server', { timeout: 60_000 }, () => {
  it('answers what existing servers were recorded to answer', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    for (const { name, request, reply } of vectors.filter(vector => vector.name.startsWith('id.'))) {
      const expected = Buffer.from(reply, 'hex')
      const got = await exchange(address, Buffer.from(request, 'hex'))
      if (expected[9] === 0) deepEqual(got, expected, name)
      else deepEqual(got.subarray(8, 12), expected.subarray(8, 12), name)
    }
  })

  it('answers a request that comes one byte at a time', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    const request = encodeFrame(COMMANDS.ID_GET.code, Buffer.from('key\0'))
    equal((await exchange(address, request, 1)).toString('hex'), '00000000000000086500'.padEnd(36, '0'))
  })

  it('counts a key with and without NUL, and with garbage behind it, as one', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    const connection = await connectTo(t, address)
    for (const [expected, body] of ['key', 'key\0', 'key\0garbage', 'key'.padEnd(65, '\0')].entries()) {
      const reply = await connection.call(encodeFrame(COMMANDS.ID_GET.code, Buffer.from(body)), CALL)
      equal(Number(decodeInt64(reply)), expected)
    }
  })

  it('takes a key of 64 bytes, and refuses one of 65 without NUL and an empty one', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    equal(await idOf(await connectTo(t, address), 'k'.repeat(64)), 0)
    for (const body of ['k'.repeat(65), '\0', '']) {
      const connection = await connectTo(t, address)
      await rejects(connection.call(encodeFrame(COMMANDS.ID_GET.code, Buffer.from(body)), CALL), {
        code: 'PEER_ERROR'
      })
    }
  })

  it('keeps keys apart that differ in one byte, whatever the bytes are', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    const connection = await connectTo(t, address)
    for (const key of ['key', 'KEY', 'key ', '\xe9', '\xc3\xa9', '\xff\xfe'])
      equal(await idOf(connection, key), 0)
  })

  it('has one counter for a key, whether bytes or text name it', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    const connection = await connectTo(t, address, true)
    const bytes = Buffer.from('clé', 'utf8').toString('latin1')
    equal(await idOf(connection, bytes), 0)
    equal((await blockOf(connection, 'clé', 5)).first, 1)
    equal(await idOf(connection, bytes), 6)
  })

  it('hands out blocks of consecutive ids, also larger than its step', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    const connection = await connectTo(t, address, true)
    const seen = new Set<number>()
    for (const count of [1, 99, 100, 1_000, 10_000]) {
      const block = await blockOf(connection, 'key', count)
      equal(block.count, count)
      for (let id = block.first; id < block.first + count; id++) {
        ok(!seen.has(id), `${id} twice`)
        seen.add(id)
      }
    }
    for (const count of [0, extension.ID_BLOCK_MAX + 1]) {
      await rejects(blockOf(connection, 'key', count), { code: 'BAD_FIELD' })
    }
    for (const key of ['', 'k'.repeat(65), 'a\0b']) {
      await rejects(blockOf(connection, key, 1), { code: 'BAD_FIELD' })
    }
  })

  it('knows the extensions for those only who said HELLO', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    await rejects(blockOf(await connectTo(t, address), 'key', 1), { code: 'PEER_ERROR' })
  })

  it('hands out nothing below what it was raised to, before and after a restart', async t => {
    const database = await sqliteUrl(t)
    const first = await runIdServer(t, { '--database': database })
    const connection = await connectTo(t, first.address, true)
    equal(await idOf(connection, 'key'), 0)
    await raise(connection, 'key', 5_000)
    equal(await idOf(connection, 'key'), 5_000)
    await raise(connection, 'key', 10)
    equal(await idOf(connection, 'key'), 5_001)
    await first.stop()
    const second = await runIdServer(t, { '--database': database })
    ok((await idOf(await connectTo(t, second.address), 'key')) > 5_001)
  })

  it('reserves its step at a time', async t => {
    const url = await sqliteUrl(t)
    const { address } = await runIdServer(t, { '--database': url, '--step': '7' })
    await idOf(await connectTo(t, address), 'key')
    const database = await openDatabase(url)
    equal(await database.counters.reserve('key', 1), 7n)
    await database.close()
  })

  it('never hands out an id twice while many callers want the same key', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t), '--step': '10' })
    const connections = await Promise.all(Array.from({ length: 8 }, () => connectTo(t, address)))
    const ids = await Promise.all(
      Array.from({ length: 4_000 }, (_, at) => idOf(connections[at % connections.length]!, 'key'))
    )
    equal(new Set(ids).size, 4_000)
  })

  it('serves what it holds while the database is away, and fails within 2 s when that is used up', async t => {
    const database = await openDatabase(await sqliteUrl(t))
    const { address } = await runIdServer(t, { '--database': 'unused', '--step': '100' }, { database })
    const connection = await connectTo(t, address, true)
    equal(await idOf(connection, 'key'), 0)
    await database.close()
    for (let id = 1; id < 100; id++) equal(await idOf(connection, 'key'), id)
    const startedMs = performance.now()
    await rejects(idOf(connection, 'key'), { code: 'DATABASE_UNAVAILABLE' })
    await rejects(blockOf(connection, 'other', 1), { code: 'DATABASE_UNAVAILABLE' })
    await rejects(raise(connection, 'key', 7), { code: 'DATABASE_UNAVAILABLE' })
    ok(performance.now() - startedMs < 2_000)
  })

  it('tells probes and scrapers how it does', async t => {
    const database = await openDatabase(await sqliteUrl(t))
    const flags = { '--database': 'unused', '--admin-port': String(await freePort()) }
    const clock = new ManualClock()
    const { server, address } = await runIdServer(t, flags, { database, clock })
    const { host, port } = server.adminAddress!
    await idOf(await connectTo(t, address), 'key')
    equal((await fetch(`http://${host}:${port}/readyz`)).status, 200)
    const text = await (await fetch(`http://${host}:${port}/metrics`)).text()
    ok(text.includes('tributary_id_requests_total{command="ID_GET",outcome="ok"} 1'), text)
    ok(text.includes('tributary_id_ids_total 1'), text)
    await database.close()
    await clock.advance(1_000)
    equal((await fetch(`http://${host}:${port}/readyz`)).status, 503)
  })

  it('refuses to start on a port that is taken, and leaves nothing open', async t => {
    const url = await sqliteUrl(t)
    const { address } = await runIdServer(t, { '--database': url })
    await rejects(runIdServer(t, { '--database': url, '--port': String(address.port) }), {
      code: 'EADDRINUSE'
    })
  })

  it('survives what hostile peers send', async t => {
    const { address } = await runIdServer(t, { '--database': await sqliteUrl(t) })
    const absurd = Buffer.from('7fffffffffffffff2800', 'hex')
    const negative = Buffer.from('ffffffffffffffff2800', 'hex')
    const half = encodeFrame(COMMANDS.ID_GET.code, Buffer.from('half')).subarray(0, 12)
    const replies = await Promise.all([
      exchange(address, absurd),
      exchange(address, negative),
      exchange(address, Buffer.from('00000000000000006300', 'hex'))
    ])
    for (const reply of replies) equal(reply.subarray(8, 12).toString('hex'), '65fdffff')
    const socket = connect(address)
    socket.write(half)
    const connection = await connectTo(t, address)
    equal(await idOf(connection, 'half'), 0)
    socket.destroy()
  })
})

describe('the configuration of the ID server', () => {
  const problemsOf = (flags: Record<string, unknown>): string[] => {
    try {
      loadConfig(idServerConfig, { flags: { '--database': 'sqlite:/x', ...flags } })
    } catch (error) {
      if (error instanceof ConfigError) return error.problems.map(({ key }) => key)
      throw error
    }
    return []
  }

  it('listens beyond loopback only with an allow list or an explicit insecure', () => {
    deepEqual(problemsOf({ '--host': '0.0.0.0' }), ['id.allow'])
    deepEqual(problemsOf({ '--host': '::' }), ['id.allow'])
    deepEqual(problemsOf({ '--admin-host': '0.0.0.0', '--admin-port': '9000' }), ['id.allow'])
    deepEqual(problemsOf({ '--host': '0.0.0.0', '--allow': '10.0.0.0/8' }), [])
    deepEqual(problemsOf({ '--host': '0.0.0.0', '--insecure': true }), [])
    deepEqual(problemsOf({ '--host': 'localhost' }), [])
    deepEqual(problemsOf({ '--host': '::1' }), [])
  })

  it('refuses a network nobody can read', () => {
    deepEqual(problemsOf({ '--allow': '10.0.0.0/33' }), ['id.allow'])
  })
})

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
