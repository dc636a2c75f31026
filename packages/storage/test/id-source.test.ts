import { deepEqual, equal, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { encodeErrorReply, extension, REPLY_CODES, UnavailableError, type Address } from '@tributary/protocol'
import { FrameServer, PeerPool, replyOf } from '@tributary/transport'
import { IdSource } from '../src/id-source.ts'

const KEY = '00000000-0000-4000-8000-000000000001'

interface IdServer {
  address: Address
  /** Bounds it was told. */
  told: number[]
  stop(): Promise<void>
}

async function idServer(t: TestContext, refuses = false, port = 0): Promise<IdServer> {
  const told: number[] = []
  let next = 0
  const server = new FrameServer({
    role: 'id',
    hostName: 'here',
    greeting: { role: 'id', cluster: 'c1', version: '0.1.0' },
    handlers: {
      ID_GET: () => {
        throw new Error('programs of ours are asked for blocks')
      },
      ID_BLOCK: body => {
        const { count } = extension.idBlock.decode(body)
        const first = next
        next += count
        return replyOf('id', extension.idBlockReply.encode({ first, count }))
      },
      ID_RAISE: body => {
        if (refuses) throw new UnavailableError('DATABASE_UNAVAILABLE', 'the database does not answer')
        const { key, atLeast } = extension.idRaise.decode(body)
        equal(key, KEY)
        told.push(atLeast)
        return replyOf('id')
      }
    }
  })
  const bound = await server.start({ host: '127.0.0.1', port })
  const stop = (): Promise<void> => server.stop(AbortSignal.abort())
  t.after(stop)
  return { address: { host: '127.0.0.1', port: bound.port }, told, stop }
}

/** Knows no HELLO and closes after an error, as servers in the field do. */
async function legacyIdServer(t: TestContext): Promise<Address> {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.on('data', () => socket.end(encodeErrorReply(REPLY_CODES.id, -1, '[old] unknown command')))
  })
  server.listen({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  t.after(() => server.close())
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

async function unusedAddress(t: TestContext): Promise<Address> {
  const { address, stop } = await idServer(t)
  await stop()
  return address
}

function sourceOf(t: TestContext, ...servers: Address[]): IdSource {
  const greeting = { role: 'storage', cluster: 'c1', version: '0.1.0' } as const
  const pool = new PeerPool({ role: 'id', greeting })
  t.after(() => pool.close())
  return new IdSource(pool, servers, KEY)
}

describe('ids that are on disk already', { timeout: 20_000 }, () => {
  it('are told to every ID server, as each has ids of its own in memory', async t => {
    const servers = await Promise.all([idServer(t), idServer(t), idServer(t)])
    await sourceOf(t, ...servers.map(({ address }) => address)).raise(700)
    deepEqual(
      servers.map(({ told }) => told),
      [[700], [700], [700]]
    )
  })

  it('are told to those that are there; one that is down or knows only the plain commands is passed over', async t => {
    const { address, told } = await idServer(t)
    await sourceOf(t, await unusedAddress(t), await legacyIdServer(t), address).raise(700)
    deepEqual(told, [700])
  })

  it('are not taken for told while one that is there could not note them', async t => {
    const [able, unable] = await Promise.all([idServer(t), idServer(t, true)])
    const source = sourceOf(t, able.address, unable.address)
    await rejects(source.raise(700), { code: 'DATABASE_UNAVAILABLE' })
    deepEqual(able.told, [700])
  })

  it('are not taken for told when nobody was', async t => {
    await rejects(sourceOf(t, await unusedAddress(t)).raise(700), { code: 'CONNECTION_LOST' })
    await rejects(sourceOf(t, await legacyIdServer(t)).raise(700), { code: 'ID_SERVER_UNAVAILABLE' })
  })

  it('are told to one that was started again since it was last asked', async t => {
    const before = await idServer(t)
    const source = sourceOf(t, before.address)
    equal(await source.next(), 0)
    await before.stop()
    const { told } = await idServer(t, false, before.address.port)
    await source.raise(700)
    deepEqual(told, [700])
  })
})
