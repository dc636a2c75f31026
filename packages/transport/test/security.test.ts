/** TLS below the frames, and the proof of the cluster key. */
import { deepEqual, equal, notEqual, ok, rejects } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { once } from 'node:events'
import { after, before, describe, it, type TestContext } from 'node:test'
import fc from 'fast-check'
import { COMMANDS, encodeFrame, extension } from '@tributary/protocol'
import { TestAuthority, noOpenssl, type TestCertificate } from '../../../test/testkit/certificates.ts'
import { isProof, proofOf, type ProofOf } from '../src/authentication.ts'
import { Connection, PeerPool, replyOf, type Greeting, type Reply, type WireTls } from '../src/index.ts'
import { FILESIZE, GREETING, RawPeer, SIZE_REPLY, sleep, startScripted, startServer } from './peers.ts'

const KEY = 'a cluster key of many characters, 0123456789'
const CALL = { timeoutMs: 2_000 }
const STAT = encodeFrame(
  COMMANDS.STAT.code,
  extension.stat.encode({ application: 'media', user: 'anna', file: 'film' })
)
const CLIENT: Greeting = { role: 'client', cluster: '', version: '1' }
const keyed = (clusterKey: string | undefined = KEY): Greeting => ({ ...CLIENT, clusterKey })

function openPool(t: TestContext, greeting: Greeting): PeerPool {
  const pool = new PeerPool({ role: 'storage', greeting })
  t.after(() => pool.close())
  return pool
}
const at = (port: number, host = '127.0.0.1') => ({ host, port })

const serverOf = (t: TestContext, options: Parameters<typeof startServer>[2] = {}) =>
  startServer(
    t,
    { FILESIZE: () => SIZE_REPLY, STAT: () => SIZE_REPLY },
    { greeting: { ...GREETING, clusterKey: KEY }, ...options }
  )

describe('a server with a cluster key', { timeout: 20_000 }, () => {
  it('serves whoever proves that it has the key', async t => {
    const { port, faults } = await serverOf(t)
    const pool = openPool(t, keyed())
    deepEqual(await pool.call(at(port), () => STAT, CALL), SIZE_REPLY.subarray(10))
    await pool.call(at(port), () => FILESIZE, CALL)
    await pool.probe(at(port), 1_000)
    deepEqual(faults, [])
  })

  it('serves nobody else, in no command', async t => {
    const { port } = await serverOf(t)
    await rejects(
      openPool(t, keyed('another key, of just as many characters')).call(at(port), () => STAT, CALL),
      {
        code: 'NOT_AUTHENTICATED'
      }
    )
    await rejects(
      openPool(t, CLIENT).call(at(port), () => STAT, CALL),
      {
        code: 'NOT_AUTHENTICATED',
        message: /wants proof of a cluster key, and none is set here/
      }
    )
    // One that says HELLO and goes on without a proof, or says nothing at all.
    for (const hello of [true, false]) {
      const peer = await RawPeer.open(t, port)
      if (hello) {
        peer.send(encodeFrame(COMMANDS.STORAGE_HELLO.code, helloBody()))
        equal((await peer.frame()).status, 0)
      }
      for (const frame of [STAT, FILESIZE]) {
        peer.send(frame)
        const { status, body } = await peer.frame()
        notEqual(status, 0)
        equal(body.readInt16BE(), hello ? 73 : -1)
      }
    }
  })

  it('takes a proof once, and none that was seen before', async t => {
    const { port } = await serverOf(t)
    const hello = encodeFrame(COMMANDS.STORAGE_HELLO.code, helloBody())
    const proof = async (peer: RawPeer): Promise<Buffer> => {
      peer.send(hello)
      const { nonce } = extension.hello.decode((await peer.frame()).body)
      const of: ProofOf = {
        side: 'client',
        role: 'storage',
        clientNonce: NONCE,
        serverNonce: nonce,
        binding: ''
      }
      return encodeFrame(
        COMMANDS.STORAGE_AUTHENTICATE.code,
        extension.authenticate.encode({ proof: proofOf(KEY, of) })
      )
    }
    const first = await RawPeer.open(t, port)
    const seen = await proof(first)
    first.send(seen)
    equal((await first.frame()).status, 0)
    first.send(seen)
    notEqual((await first.frame()).status, 0, 'a second time on the same connection')
    const second = await RawPeer.open(t, port)
    await proof(second)
    second.send(seen)
    notEqual((await second.frame()).status, 0, 'on another connection')
    second.socket.destroy()
    const early = await RawPeer.open(t, port)
    early.send(seen)
    notEqual((await early.frame()).status, 0, 'before HELLO')
  })

  it('serves legacy peers published commands from where they are let in', async t => {
    const { port } = await serverOf(t, { allowsLegacy: ip => ip === '127.0.0.1' })
    const peer = await RawPeer.open(t, port)
    peer.send(FILESIZE)
    equal((await peer.frame()).status, 0)
    peer.send(STAT)
    notEqual((await peer.frame()).status, 0, 'an extension command stays closed')
  })

  it('is not believed by its peers when it has none, or another one', async t => {
    const { port: without } = await serverOf(t, { greeting: GREETING })
    await rejects(
      openPool(t, keyed()).call(at(without), () => STAT, CALL),
      {
        code: 'NOT_AUTHENTICATED',
        message: /has no cluster key/
      }
    )
    // One that says it has the key, and sends the proof of its peer back.
    const { port } = await startScripted(t, socket => {
      socket.on('data', (chunk: Buffer) => {
        if (chunk[8] === COMMANDS.STORAGE_HELLO.code) {
          const hello = { ...HELLO, role: 'storage', features: 31 }
          socket.write(replyOf('storage', extension.hello.encode(hello)))
        } else socket.write(replyOf('storage', chunk.subarray(10)))
      })
    })
    await rejects(
      openPool(t, keyed()).call(at(port), () => STAT, CALL),
      {
        code: 'NOT_AUTHENTICATED',
        message: /another cluster key/
      }
    )
  })
})

describe('a proof', () => {
  it('is good for exactly what it was made of', () => {
    const parts = fc.record({
      side: fc.constantFrom('client' as const, 'server' as const),
      role: fc.constantFrom('tracker' as const, 'id' as const, 'storage' as const),
      clientNonce: fc.stringMatching(/^[0-9a-f]{32}$/),
      serverNonce: fc.stringMatching(/^[0-9a-f]{32}$/),
      binding: fc.constantFrom('', 'ab'.repeat(32))
    })
    fc.assert(
      fc.property(parts, parts, fc.nat(255), (of, other, bit) => {
        const proof = proofOf(KEY, of)
        ok(isProof(proof, KEY, of))
        equal(isProof(proof, KEY, other), JSON.stringify(of) === JSON.stringify(other))
        const flipped = Buffer.from(proof, 'hex')
        flipped[bit >> 3]! ^= 1 << (bit & 7)
        ok(!isProof(flipped.toString('hex'), KEY, of))
        ok(!isProof(proof, `${KEY}x`, of))
        ok(!isProof('', KEY, of))
      })
    )
  })
})

describe('frames over TLS', { timeout: 30_000, skip: noOpenssl() ?? false }, () => {
  let authority: TestAuthority
  let certificate: TestCertificate
  let client: TestCertificate
  let stranger: TestAuthority
  before(async () => {
    authority = await TestAuthority.open()
    certificate = await authority.issue()
    client = await authority.issue()
    stranger = await TestAuthority.open()
  })
  after(async () => {
    await authority?.close()
    await stranger?.close()
  })
  const serverTls = () => ({ certificate: certificate.text, privateKey: certificate.key })
  const clientTls = (): WireTls => ({ authorities: authority.text })

  it('carry short calls, streams and uploads whole', async t => {
    const content = randomBytes(5_000_000)
    const { port, faults } = await startServer(
      t,
      {
        FILESIZE: () => SIZE_REPLY,
        DOWNLOAD: (): Reply => ({
          head: Buffer.concat([replyHead(content.byteLength)]),
          contentBytes: content.byteLength,
          abandon: () => {},
          pump: async out => {
            for (let at = 0; at < content.byteLength; at += 262_144) {
              await new Promise<void>((resolve, reject) =>
                out.write(content.subarray(at, at + 262_144), error => (error ? reject(error) : resolve()))
              )
            }
          }
        })
      },
      { tls: serverTls() }
    )
    const pool = openPool(t, { ...CLIENT, tls: clientTls() })
    const sizes = await Promise.all(
      Array.from({ length: 50 }, () => pool.call(at(port), () => FILESIZE, CALL))
    )
    ok(sizes.every(size => size.equals(SIZE_REPLY.subarray(10))))
    await pool.call(at(port, 'localhost'), () => FILESIZE, CALL)
    const lease = await pool.lease(at(port), CALL)
    const got: Buffer[] = []
    const download = encodeFrame(
      COMMANDS.DOWNLOAD.code,
      Buffer.concat([FILESIZE.subarray(10), Buffer.alloc(16)])
    )
    await lease.connection.callStreamed(download, { ...CALL, silenceMs: 2_000 }, () => (bytes, release) => {
      got.push(Buffer.from(bytes))
      setImmediate(release)
    })
    lease.release()
    ok(Buffer.concat(got).equals(content))
    deepEqual(faults, [])
  })

  it('prove the key bound to the connection', async t => {
    const { port } = await serverOf(t, { tls: serverTls() })
    const pool = openPool(t, { ...keyed(), tls: clientTls() })
    await pool.call(at(port), () => STAT, CALL)
    await rejects(
      openPool(t, { ...CLIENT, tls: clientTls() }).call(at(port), () => STAT, CALL),
      {
        code: 'NOT_AUTHENTICATED'
      }
    )
  })

  it('are not spoken with a server of another authority, nor of another name', async t => {
    const { port } = await serverOf(t, { tls: serverTls() })
    await rejects(
      openPool(t, { ...keyed(), tls: { authorities: stranger.text } }).call(at(port), () => STAT, CALL),
      { code: 'CONNECTION_LOST', message: /certificate|CERT|SELF_SIGNED/i }
    )
    const { port: wide } = await serverOf(t, { tls: serverTls() })
    await rejects(
      openPool(t, { ...keyed(), tls: clientTls() }).call(at(wide, '127.0.0.2'), () => STAT, CALL),
      {
        code: 'CONNECTION_LOST'
      }
    )
  })

  it('are refused without a certificate where one is demanded', async t => {
    const { port } = await serverOf(t, { tls: { ...serverTls(), clientAuthorities: authority.text } })
    const own = { certificate: client.text, privateKey: client.key }
    await openPool(t, { ...keyed(), tls: { ...clientTls(), ...own } }).call(at(port), () => STAT, CALL)
    await rejects(openPool(t, { ...keyed(), tls: clientTls() }).call(at(port), () => STAT, CALL))
    const foreign = await stranger.issue()
    await rejects(
      openPool(t, {
        ...keyed(),
        tls: { ...clientTls(), certificate: foreign.text, privateKey: foreign.key }
      }).call(at(port), () => STAT, CALL)
    )
  })

  it('are not taken for plain ones, nor plain ones for them', async t => {
    const { port: secure, server } = await serverOf(t, { tls: serverTls() })
    await rejects(
      openPool(t, CLIENT).call(at(secure), () => FILESIZE, CALL),
      { code: 'CONNECTION_LOST' }
    )
    const { port: plain } = await serverOf(t)
    await rejects(
      openPool(t, { ...keyed(), tls: clientTls() }).call(at(plain), () => STAT, CALL),
      {
        code: 'CONNECTION_LOST'
      }
    )
    ok(server.counts.refused > 0)
  })

  it('end with the server, also those that are in their handshake', async t => {
    const { port, server } = await serverOf(t, { tls: serverTls() })
    const silent = connect(port, '127.0.0.1')
    silent.on('error', () => {})
    await once(silent, 'connect')
    const pool = openPool(t, { ...keyed(), tls: clientTls() })
    await pool.call(at(port), () => STAT, CALL)
    await sleep(20)
    const startedMs = performance.now()
    await server.stop(AbortSignal.timeout(300))
    ok(performance.now() - startedMs < 3_000)
    equal(server.counts.open, 0)
    silent.destroy()
  })

  it('take a renewed certificate over for new connections', async t => {
    const { port, server } = await serverOf(t, { tls: serverTls() })
    const renewed = await stranger.issue()
    server.useTls({ certificate: renewed.text, privateKey: renewed.key })
    const connection = await Connection.open('storage', at(port), {
      timeoutMs: 2_000,
      tls: { authorities: stranger.text }
    })
    connection.destroy()
  })
})

const NONCE = 'ab'.repeat(16)
const HELLO = {
  protocolMin: 1,
  protocolMax: 1,
  role: 'client',
  cluster: '',
  features: 7,
  timeMs: 1,
  nonce: NONCE,
  version: '1'
}
function helloBody(): Buffer {
  return extension.hello.encode(HELLO)
}

function replyHead(bodyBytes: number): Buffer {
  const head = Buffer.alloc(10)
  head.writeBigInt64BE(BigInt(bodyBytes))
  head[8] = 102
  return head
}
