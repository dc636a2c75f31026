/** Certificates of the wire protocol that are renewed, authority and all, under a cluster that goes on serving. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { connect } from 'node:tls'
import { noOpenssl, TestAuthority, type TestCertificate } from '../testkit/certificates.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { prepareCluster, startRole, type RoleServer, type Settings } from '../testkit/role-processes.ts'
import { until } from '../testkit/tributary-process.ts'

const TAKEN_WITHIN_MS = 10_000
const WORKERS = 2
/** The kernel chooses a worker for each connection: so many meet all of them. */
const LOOKS = 12

describe('a renewed certificate of the wire', { timeout: 120_000, skip: noOpenssl() ?? false }, () => {
  const endings: (() => unknown)[] = []
  const afterwards = cleanUps({ after: callback => void endings.push(callback) })
  let authorities: { old: TestAuthority; new: TestAuthority }
  let certificates: { old: TestCertificate; new: TestCertificate }
  let tracker: RoleServer
  let ids: RoleServer
  let storage: RoleServer
  let gateway: RoleServer
  /** Whose path stays, as of an authority that renews in place. */
  let files: { authorities: string; certificate: string; key: string }

  before(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-wire-'))
    afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
    authorities = { old: await TestAuthority.open(), new: await TestAuthority.open() }
    afterwards(() => Promise.all([authorities.old.close(), authorities.new.close()]))
    certificates = { old: await authorities.old.issue(), new: await authorities.new.issue() }
    files = {
      authorities: join(folder, 'authorities.pem'),
      certificate: join(folder, 'own.pem'),
      key: join(folder, 'own.key')
    }
    await trust(authorities.old)
    await show(certificates.old)
    const { databaseUrl, store } = await prepareCluster(folder)
    const wire = {
      wire_authorities: files.authorities,
      wire_certificate: files.certificate,
      wire_private_key: files.key
    }
    const start = async (role: Parameters<typeof startRole>[0], settings: Settings): Promise<RoleServer> => {
      const server = await startRole(role, role, folder, { ...wire, ...settings })
      afterwards(() => server.stop())
      return server
    }
    const database = [databaseUrl]
    tracker = await start('tracker', { database, wire_mutual: true })
    ids = await start('id', { database, wire_mutual: true })
    storage = await start('storage', {
      database,
      stores: [store],
      trackers: [tracker.address],
      id_servers: [ids.address],
      reserve_bytes: '1MiB',
      workers: WORKERS,
      wire_mutual: true
    })
    gateway = await start('gateway', { trackers: [tracker.address] })
    await until('it takes films', TAKEN_WITHIN_MS, async () => (await put('first')) === 201)
  })
  after(async () => {
    for (const end of endings.toReversed()) await end()
  })

  const trust = (...trusted: TestAuthority[]): Promise<void> =>
    writeFile(files.authorities, trusted.map(({ text }) => text).join(''))
  const show = async ({ text, key }: TestCertificate): Promise<void> => {
    await writeFile(files.certificate, text)
    await writeFile(files.key, key)
  }
  const put = async (name: string): Promise<number> => {
    const { status } = await fetch(urlOf(name), { method: 'PUT', body: name })
    return status
  }
  const urlOf = (name: string): string => `http://${gateway.address}/files/media/a/${name}`
  const reload = async (says: RegExp): Promise<void> => {
    for (const { name, process } of [tracker, ids, storage, gateway]) {
      const from = process.err.length
      process.send('SIGHUP')
      await until(`${name} has read it again`, TAKEN_WITHIN_MS, () => says.test(process.err.slice(from)))
    }
  }
  /** Serial number of what a server shows to who shows this; undefined: it does not speak to them. */
  const shownTo = ({ text, key }: TestCertificate, { port }: RoleServer): Promise<string | undefined> => {
    const ca = [authorities.old.text, authorities.new.text]
    const socket = connect({ host: '127.0.0.1', port, ca, cert: text, key, maxVersion: 'TLSv1.2' })
    return new Promise(resolve => {
      socket.once('error', () => resolve(undefined))
      socket.once('secureConnect', () => {
        resolve(new X509Certificate(socket.getPeerCertificate().raw).serialNumber)
        socket.destroy()
      })
    })
  }
  const shownBy = async (server: RoleServer): Promise<Set<string | undefined>> => {
    const shown = new Set<string | undefined>()
    for (let look = 0; look < LOOKS; look++) shown.add(await shownTo(certificates.new, server))
    return shown
  }

  it('is taken over by every role without a restart, also as a client, while an upload goes on', async () => {
    equal(await shownTo(certificates.new, tracker), undefined, 'another authority is nobody’s yet')
    const upload = request(urlOf('slow'), { method: 'PUT', headers: { 'content-length': 2_000_000 } })
    const answered = new Promise<number>((resolve, reject) => {
      upload.once('response', response => resolve(response.resume().statusCode!))
      upload.once('error', reject)
    })
    upload.write(Buffer.alloc(1_000_000, 1))

    await trust(authorities.old, authorities.new)
    await reload(/"changed":\["wire_authorities"\]/)
    await show(certificates.new)
    await reload(/"changed":\["wire_certificate","wire_private_key"\]/)
    await trust(authorities.new)
    await reload(/"changed":\["wire_authorities"\]/)

    for (const server of [tracker, ids, storage]) {
      deepEqual(
        await until(`${server.name} shows it`, TAKEN_WITHIN_MS, async () => {
          const shown = await shownBy(server)
          return shown.size === 1 && shown.has(certificates.new.serial) ? shown : undefined
        }),
        new Set([certificates.new.serial])
      )
      equal(await shownTo(certificates.old, server), undefined, 'the old authority is nobody’s any more')
    }
    upload.end(Buffer.alloc(1_000_000, 2))
    equal(await answered, 201, 'what was under way ended well')

    // Whoever starts anew knows the new authority alone: the others reach it by what they read again.
    const { pid } = storage.process
    for (const server of [tracker, ids]) {
      await server.stop()
      await server.start()
    }
    await until(
      'films are taken again',
      2 * TAKEN_WITHIN_MS,
      async () => (await put(`f${Math.random()}`)) === 201
    )
    equal(storage.process.pid, pid)
    equal(await (await fetch(urlOf('first'))).text(), 'first')
    await storage.stop()
    await storage.start()
    await until(
      'the gateway reaches it',
      2 * TAKEN_WITHIN_MS,
      async () => (await put(`f${Math.random()}`)) === 201
    )
  })

  it('that is none changes nothing, and says why', async () => {
    await writeFile(files.certificate, certificates.old.text)
    await reload(/all stays as it was/)
    await show(certificates.new)
    for (const server of [tracker, ids, storage])
      equal(await shownTo(certificates.new, server), certificates.new.serial)
    ok((await put('last')) === 201)
    match(tracker.process.err, /wire_certificate/)
  })
})
