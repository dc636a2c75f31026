/** Ids from ID servers of ours, of others, and of none. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import {
  COMMANDS,
  encodeErrorReply,
  encodeFrame,
  encodeInt64,
  HEADER_BYTES,
  readBodyBytes,
  REPLY_CODES,
  type Address
} from '@tributary/protocol'
import { PeerPool } from '@tributary/transport'
import { IdSource } from '../src/id-source.ts'
import { GREETING, startIds } from './parts.ts'

const KEY = '7a6f4a8e-0000-4000-8000-000000000001'
/** Nobody listens there. */
const DEAD = { host: '127.0.0.1', port: 9 }

function sourceOf(t: TestContext, servers: Address[]): IdSource {
  const pool = new PeerPool({ role: 'id', greeting: GREETING })
  const source = new IdSource(pool, servers, KEY)
  t.after(() => {
    source.close()
    pool.close()
  })
  return source
}

describe('ids', () => {
  it('come in blocks from a server of ours, ever larger ones, each id once', async t => {
    const { address, asked } = await startIds(t)
    const source = sourceOf(t, [address])
    const ids: number[] = []
    for (let index = 0; index < 3_000; index++) ids.push(await source.next())
    equal(new Set(ids).size, 3_000)
    ok(asked.length < 30, `${asked.length} requests`)
    ok(asked.at(-1) !== asked[0])
  })

  it('are at hand in the turn that ensured them, as many as were asked for', async t => {
    const { address } = await startIds(t)
    const source = sourceOf(t, [address])
    await source.ensure(500)
    const ids = Array.from({ length: 500 }, () => source.take())
    equal(new Set(ids).size, 500)
    ok(!ids.includes(undefined))
  })

  it('come one by one from a legacy server', async t => {
    const { address, commands } = await startLegacy(t)
    const source = sourceOf(t, [address])
    deepEqual([await source.next(), await source.next(), await source.next()], [0, 1, 2])
    await rejects(source.raise(100), { code: 'ID_SERVER_UNAVAILABLE' }) // it cannot be told
    ok(commands.filter(command => command === COMMANDS.ID_GET.code).length >= 3)
    ok(!commands.includes(COMMANDS.ID_RAISE.code))
  })

  it('come from the next server where one is dead, and from none in a few seconds', async t => {
    const ids = await startIds(t)
    const source = sourceOf(t, [DEAD, ids.address])
    equal(await source.next(), 0)
    const none = sourceOf(t, [DEAD])
    const startMs = performance.now()
    equal(none.take(), undefined)
    await rejects(none.next(), { code: 'ID_SERVER_UNAVAILABLE' })
    ok(performance.now() - startMs < 6_000)
  })

  it('are above what is on disk once the server was told', async t => {
    const { address, asked } = await startIds(t)
    const source = sourceOf(t, [address])
    await source.raise(5_000)
    equal(await source.next(), 5_000)
    equal(asked[0], 'ID_RAISE 5000')
  })
})

/** Knows ID_GET only, and closes the connection after an error. */
async function startLegacy(t: TestContext): Promise<{ address: Address; commands: number[] }> {
  let next = 0
  const commands: number[] = []
  const server = createServer(socket => {
    socket.on('error', () => {})
    let bytes = Buffer.alloc(0)
    socket.on('data', chunk => {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.byteLength >= HEADER_BYTES) {
        const end = HEADER_BYTES + readBodyBytes(bytes, 0)
        if (bytes.byteLength < end) return
        const command = bytes[8]!
        commands.push(command)
        bytes = bytes.subarray(end)
        if (command === COMMANDS.ID_GET.code) socket.write(encodeFrame(REPLY_CODES.id, encodeInt64(next++)))
        else socket.end(encodeErrorReply(REPLY_CODES.id, -1, '[old] unknown command'))
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return { address: { host: '127.0.0.1', port: (server.address() as AddressInfo).port }, commands }
}
