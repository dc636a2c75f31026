/** A whole cluster whose programs prove a key to each other, over TLS. */
import { after, before, describe, it } from 'node:test'
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { Client } from '@tributary/client'
import { createGateway, gatewayConfig } from '@tributary/gateway'
import { COMMANDS, encodeFrame, formatAddress } from '@tributary/protocol'
import { loadConfig, silentLog, systemClock } from '@tributary/runtime'
import { runCommand } from '../../packages/cli/test/command-run.ts'
import { noOpenssl, TestAuthority } from '../testkit/certificates.ts'
import { startCluster, type TestCluster } from '../testkit/cluster.ts'

const CLUSTER_KEY = '5e'.repeat(32)
const FILM = { application: 'media', user: 'public', file: 'film' }

for (const { name, overTls } of [
  { name: 'a cluster with a key', overTls: false },
  { name: 'a cluster with a key and TLS, mutual', overTls: true }
]) {
  const skip = overTls ? noOpenssl() : undefined
  describe(name, { timeout: 60_000, skip: skip ?? false }, () => {
    let folder: string
    let authority: TestAuthority | undefined
    let cluster: TestCluster
    let client: Client
    let wire: Record<string, string>
    let security: {
      clusterKey: string
      tls?: { authorities: string; certificate: string; privateKey: string }
    }
    let env: Record<string, string>
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'tributary-secured-'))
      const keyFile = join(folder, 'cluster-key')
      await writeFile(keyFile, `${CLUSTER_KEY}\n`, { mode: 0o600 })
      wire = { 'cluster-key-file': keyFile }
      security = { clusterKey: CLUSTER_KEY }
      env = { TRIBUTARY_CLUSTER_KEY_FILE: keyFile }
      if (overTls) {
        authority = await TestAuthority.open()
        const own = await authority.issue()
        wire['wire-authorities'] = authority.path
        wire['wire-certificate'] = own.path
        wire['wire-private-key'] = own.keyPath
        security.tls = { authorities: authority.text, certificate: own.text, privateKey: own.key }
        env['TRIBUTARY_WIRE_AUTHORITIES'] = authority.path
        env['TRIBUTARY_WIRE_CERTIFICATE'] = own.path
        env['TRIBUTARY_WIRE_PRIVATE_KEY'] = own.keyPath
      }
      const servers = overTls ? { ...wire, 'wire-mutual': true } : wire
      cluster = await startCluster({ storages: 2, wire: servers, security })
      client = new Client({ trackers: [cluster.tracker], ...security })
    })
    after(async () => {
      client?.close()
      await cluster?.stop()
      await authority?.close()
      await rm(folder, { recursive: true, force: true })
    })

    it('stores and gives back films of every size', async () => {
      for (const [index, bytes] of [0, 100, 70_000, 3_000_000].entries()) {
        const content = Buffer.alloc(bytes, `content ${index} `)
        const key = { ...FILM, file: `film${index}` }
        await client.upload(content, { key })
        const { stream } = await client.download(key)
        ok((await buffer(stream)).equals(content))
      }
      const { files } = await client.list({ application: 'media', user: 'public' })
      equal(files.length, 4)
      await client.delete({ ...FILM, file: 'film0' })
      const { groups } = await client.groups()
      equal(groups[0]!.members.filter(({ status }) => status === 'ACTIVE').length, 2)
      deepEqual(
        groups[0]!.members.flatMap(({ addresses }) => addresses.map(({ tls }) => tls ?? false)),
        [overTls, overTls]
      )
    })

    it('serves gateways and commands that have the key', async () => {
      await client.upload(Buffer.from('a film'), { key: FILM })
      const gateway = createGateway({
        config: loadConfig(gatewayConfig, {
          flags: { port: '0', trackers: formatAddress(cluster.tracker), ...wire }
        }),
        log: silentLog(),
        clock: systemClock(),
        version: '0.0.0'
      })
      const { host, port } = await gateway.start()
      try {
        const response = await fetch(`http://${host}:${port}/files/media/public/film`)
        equal(await response.text(), 'a film')
      } finally {
        await gateway.stop(AbortSignal.timeout(2_000))
      }
      const trackers = ['--trackers', formatAddress(cluster.tracker)]
      const listed = await runCommand(['ls', ...trackers], folder, { env })
      equal(listed.code, 0, listed.err)
      match(listed.out, /film/)
      const without = await runCommand(['ls', ...trackers], folder)
      ok(without.code !== 0)
    })

    it('serves nobody without it', async () => {
      const strangers = [
        { ...security, clusterKey: 'a0'.repeat(32) },
        { ...security, clusterKey: undefined },
        overTls ? { clusterKey: CLUSTER_KEY } : { clusterKey: '' }
      ]
      for (const stranger of strangers) {
        const other = new Client({
          trackers: [cluster.tracker],
          ...stranger,
          retryForMs: 0,
          callTimeoutMs: 1_500
        })
        await rejects(other.list({ application: 'media', user: 'public' }))
        other.close()
      }
      if (overTls) return
      // Published commands, as a legacy peer sends them.
      for (const [address, code] of [
        [cluster.tracker, COMMANDS.GROUPS.code],
        [cluster.storages[0]!, COMMANDS.FILESIZE.code]
      ] as const) {
        const socket = connect(address.port, address.host)
        const body = code === COMMANDS.GROUPS.code ? Buffer.alloc(0) : Buffer.alloc(400)
        socket.write(encodeFrame(code, body))
        const [reply] = (await once(socket, 'data')) as [Buffer]
        equal(reply.readInt8(9), -3)
        socket.destroy()
      }
    })
  })
}
