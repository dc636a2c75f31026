/** Two trackers, started like every other role by its own command and from a TOML file. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import { COMMANDS, decodeAddressesReply, encodeFileKey, encodeFrame, type FileKey } from '@tributary/protocol'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { machineSlowness } from '../testkit/machine-pace.ts'
import { startRole, type RoleServer } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'
import { ENGINES } from './engines.ts'

const GROUPS = ['north', 'south']
const NEW_USERS = 40
/** A storage server tries a tracker that was gone twice a second. */
const WHOLE_TABLE_WITHIN_MS = 3_000
const GIVEN_UP_MS = 40_000

for (const engine of ENGINES) {
  describe(`two trackers on ${engine.name}`, { skip: engine.skip, timeout: 180_000 }, () => {
    const endings: (() => unknown)[] = []
    const afterwards = cleanUps({ after: callback => void endings.push(callback) })
    let trackers: RoleServer[]
    let storages: RoleServer[]
    let gateway: RoleServer
    let client: Client

    before(async () => {
      const folder = await mkdtemp(join(tmpdir(), 'tributary-trackers-'))
      afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
      const backing = await engine.start()
      afterwards(() => backing.stop())
      const { databaseUrl = `sqlite:${join(folder, 'index.db')}`, redisUrl } = backing
      const database = ['--database', databaseUrl]
      await command(['db', 'migrate', ...database], folder)
      await command(['db', 'add-application', 'media', ...database], folder)
      for (const group of GROUPS) {
        await command(['storage', 'init', join(folder, group), '--group', group, ...database], folder)
      }
      const common = { database: [databaseUrl], ...(redisUrl !== undefined && { redis: redisUrl }) }
      const start = async (...args: Parameters<typeof startRole>): Promise<RoleServer> => {
        const server = await startRole(...args)
        afterwards(() => server.stop())
        return server
      }
      trackers = await Promise.all([
        start('tracker', 'tracker1', folder, common),
        start('tracker', 'tracker2', folder, common)
      ])
      const ids = await start('id', 'id', folder, { database: [databaseUrl] })
      const addresses = trackers.map(({ address }) => address)
      storages = await Promise.all(
        GROUPS.map(group =>
          start('storage', `storage-${group}`, folder, {
            ...common,
            group,
            stores: [join(folder, group)],
            trackers: addresses,
            id_servers: [ids.address],
            reserve_bytes: '1MiB'
          })
        )
      )
      gateway = await start('gateway', 'gateway', folder, { trackers: addresses })
      client = new Client({ trackers: addresses })
      afterwards(() => client.close())
      for (const tracker of trackers) await untilWhole(tracker)
    })
    after(async () => {
      for (const end of endings) await end()
    })

    /** Resolves when a tracker hands out both storage servers. */
    const untilWhole = (tracker: RoleServer): Promise<unknown> =>
      until(`${tracker.name} has the whole table`, GIVEN_UP_MS, async () => {
        const own = new Client({ trackers: [tracker.address], retryForMs: 0 })
        try {
          const { groups } = await own.groups()
          const active = groups.flatMap(({ members }) => members).filter(({ status }) => status === 'ACTIVE')
          return active.length === storages.length
        } catch {
          return false // not yet
        } finally {
          own.close()
        }
      })

    it('tie every new user to one group, whoever is asked first', async t => {
      const peers = await Promise.all(trackers.map(({ port }) => WirePeer.open({ host: '127.0.0.1', port })))
      t.after(() => peers.forEach(peer => peer.close()))
      const counts = new Map<string, number>()
      for (let index = 0; index < NEW_USERS; index++) {
        const key: FileKey = { application: 'media', user: `new user ${index}`, file: '' }
        const replies = await Promise.all(
          peers.map(peer => peer.ask(encodeFrame(COMMANDS.SADDRS.code, encodeFileKey(key))))
        )
        const [first, second] = replies.map(reply => decodeAddressesReply(reply))
        deepEqual(first, second)
        counts.set(first!.group, (counts.get(first!.group) ?? 0) + 1)
      }
      t.diagnostic([...counts].map(([group, count]) => `${group}: ${count}`).join(', '))
      equal(counts.size, GROUPS.length)
    })

    it('are not missed when one of them dies, and it has the whole table soon after its return', async t => {
      for (const tracker of trackers) {
        const stop = new AbortController()
        const work = Promise.all([
          useLibrary(client, tracker.name, stop.signal),
          useHttp(gateway, tracker.name, stop.signal)
        ])
        await sleep(400)
        await tracker.kill()
        await sleep(1_500)
        stop.abort()
        const [library, http] = await work
        const slowness = await machineSlowness()
        await tracker.start()
        const startMs = performance.now()
        await untilWhole(tracker)
        const wholeMs = performance.now() - startMs
        t.diagnostic(
          `${tracker.name} was killed under ${library.count} operations of the library, slowest ${Math.round(library.slowestMs)} ms, ` +
            `and ${http.count} by HTTP, slowest ${Math.round(http.slowestMs)} ms; whole table ${Math.round(wholeMs)} ms after it listened`
        )
        ok(library.count > 10 && http.count > 10)
        ok(wholeMs < WHOLE_TABLE_WITHIN_MS * Math.max(slowness, await machineSlowness()), `${wholeMs} ms`)
      }
    })

    it('both list every file, and every file can be read over either', async () => {
      for (const tracker of trackers) {
        const own = new Client({ trackers: [tracker.address] })
        try {
          for (const { name: user } of trackers) {
            const { files } = await own.list({ application: 'media', user })
            ok(files.length > 10)
            for (const { file, sizeBytes } of files.slice(0, 20)) {
              const fetched = await own.fetch({ application: 'media', user, file })
              ok(fetched.outcome === 'content' && fetched.bytes!.equals(contentOf(file, sizeBytes)))
            }
          }
        } finally {
          own.close()
        }
      }
    })

    it('let a storage server leave at once that says goodbye', async () => {
      await storages[1]!.stop()
      for (const tracker of trackers) {
        const own = new Client({ trackers: [tracker.address] })
        const { groups } = await own.groups()
        own.close()
        const active = groups.flatMap(({ members }) => members).filter(({ status }) => status === 'ACTIVE')
        equal(active.length, 1)
      }
    })
  })
}

interface Work {
  count: number
  slowestMs: number
}

/** Uploads and reads back until told to stop. @throws whatever a client notices. */
async function useLibrary(client: Client, user: string, stop: AbortSignal): Promise<Work> {
  const work: Work = { count: 0, slowestMs: 0 }
  while (!stop.aborted) {
    const file = `library-${work.count}`
    const content = contentOf(file, 1_000 + work.count)
    const startMs = performance.now()
    await client.upload(content, { key: { application: 'media', user, file } })
    const fetched = await client.fetch({ application: 'media', user, file })
    ok(fetched.outcome === 'content' && fetched.bytes!.equals(content))
    work.slowestMs = Math.max(work.slowestMs, performance.now() - startMs)
    work.count++
    await sleep(5)
  }
  return work
}

async function useHttp(gateway: RoleServer, user: string, stop: AbortSignal): Promise<Work> {
  const work: Work = { count: 0, slowestMs: 0 }
  while (!stop.aborted) {
    const file = `http-${work.count}`
    const url = `http://${gateway.address}/files/media/${user}/${file}`
    const body = contentOf(file, 1_000 + work.count)
    const startMs = performance.now()
    const put = await fetch(url, { method: 'PUT', body })
    equal(put.status, 201, await put.text())
    const get = await fetch(url)
    equal(get.status, 200)
    ok(body.equals(Buffer.from(await get.arrayBuffer())))
    work.slowestMs = Math.max(work.slowestMs, performance.now() - startMs)
    work.count++
    await sleep(5)
  }
  return work
}

async function command(args: readonly string[], folder: string): Promise<void> {
  const run = new TributaryProcess(args, { folder })
  const { exitCode } = await run.ended
  equal(exitCode, 0, run.err)
}
