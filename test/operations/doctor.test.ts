/** `tributary doctor` on clusters that are well, and on those that are not. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { cleanUps } from '../testkit/clean-ups.ts'
import { noMariadb, startMariadb } from '../testkit/mariadb.ts'
import { freePort } from '../testkit/ports.ts'
import { noRedis, startRedis } from '../testkit/redis.ts'
import { startRole, type RoleServer } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'

const MENDED_WITHIN_MS = 40_000
const UNWELL = 8

interface Finding {
  level: string
  area: string
  subject: string
  found: string
  advice: string
}
interface Report {
  exitCode: number | null
  problems: number
  findings: Finding[]
  /** The findings of one level in an area, as `subject: found`. */
  of(level: string, area: string): string[]
}

async function command(args: readonly string[], folder: string): Promise<TributaryProcess> {
  const run = new TributaryProcess(args, { folder })
  await run.ended
  return run
}

async function examine(folder: string, config: string, ...flags: string[]): Promise<Report> {
  const run = new TributaryProcess(['doctor', '--config', config, '--json', ...flags], { folder })
  const { exitCode } = await run.ended
  ok(run.out.startsWith('{'), run.err)
  const report = JSON.parse(run.out) as Report
  for (const { level, advice, subject } of report.findings) equal(advice === '', level === 'ok', subject)
  return {
    ...report,
    exitCode,
    of: (level, area) =>
      report.findings
        .filter(finding => finding.level === level && finding.area === area)
        .map(({ subject, found }) => `${subject}: ${found}`)
  }
}

describe('the doctor of a cluster on SQLite', { timeout: 180_000 }, () => {
  const endings: (() => unknown)[] = []
  const afterwards = cleanUps({ after: callback => void endings.push(callback) })
  let folder: string
  let store: string
  let index: string
  let config: string
  let storages: RoleServer[]
  let tracker: RoleServer
  let settings: Record<'common' | 'tracker' | 'id' | 'storage' | 'gateway', Record<string, unknown>>

  const write = async (
    name: string,
    change: (copy: typeof settings) => unknown = () => {}
  ): Promise<string> => {
    const copy = structuredClone(settings)
    change(copy)
    const path = join(folder, name)
    const tables = Object.entries(copy).map(
      ([table, keys]) =>
        `[${table}]\n${Object.entries(keys)
          .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
          .join('')}`
    )
    await writeFile(path, tables.join('\n'), { mode: 0o640 })
    return path
  }
  const files = async (): Promise<string[]> =>
    (await readdir(folder, { recursive: true })).filter(name => !/\.toml$/.test(name)).toSorted()

  before(async () => {
    // Others may enter it, so that what is told of another user's rights is about the store itself.
    folder = await mkdtemp(join(tmpdir(), 'tributary-doctor-'))
    await chmod(folder, 0o755)
    afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
    store = join(folder, 'store')
    index = join(folder, 'index.db')
    const database = [`sqlite:${index}`]
    for (const args of [
      ['db', 'migrate'],
      ['db', 'add-application', 'media'],
      ['storage', 'init', store, '--group', 'group001']
    ]) {
      const { err, ended } = await command([...args, '--database', database[0]!], folder)
      equal((await ended).exitCode, 0, err)
    }
    const start = async (...args: Parameters<typeof startRole>): Promise<RoleServer> => {
      const server = await startRole(...args)
      afterwards(() => server.stop())
      return server
    }
    tracker = await start('tracker', 'tracker', folder, { database })
    const ids = await start('id', 'id', folder, { database })
    const shared = { database, trackers: [tracker.address], id_servers: [ids.address] }
    storages = await Promise.all(
      ['a', 'b'].map(member =>
        start('storage', member, folder, { ...shared, stores: [store], member, reserve_bytes: '1MiB' })
      )
    )
    const gateway = await start('gateway', 'gateway', folder, { trackers: [tracker.address] })
    settings = {
      common: shared,
      tracker: { port: tracker.port },
      id: { port: ids.port },
      storage: { port: storages[0]!.port, stores: [store], reserve_bytes: '1MiB' },
      gateway: { port: gateway.port }
    }
    config = await write('well.toml')
    await until('both storage servers serve', MENDED_WITHIN_MS, async () => {
      const { out } = await command(['groups', '-t', tracker.address], folder)
      return out.includes('2 of 2 active')
    })
  })
  after(async () => {
    for (const end of endings) await end()
  })

  it('finds nothing to mend where all is well, and changes nothing', async () => {
    const filesBefore = await files()
    const report = await examine(folder, config)
    deepEqual(
      report.findings.filter(({ level }) => level === 'problem'),
      []
    )
    equal(report.exitCode, 0)
    deepEqual(await files(), filesBefore)
    equal(report.of('ok', 'port').length, 4)
    ok(
      report.of('ok', 'port').every(text => text.endsWith('our own server listens there')),
      report.of('ok', 'port').join()
    )
    equal(report.of('ok', 'clock').length, 2)
    match(report.of('ok', 'group').join(), /group001: 2 of 2 storage servers serve/)
    match(report.of('ok', 'machine').join('\n'), /open files of the storage/)
  })

  it('says it in words as well', async () => {
    const { out } = await command(['doctor', '--config', config], folder)
    match(out, /^ok +database: .*index\.db: SQLite 3\.[\d.]+, schema \d+$/m)
    match(out, /^0 to be mended, \d+ to be looked at$/m)
  })

  it('knows a store that is missing, one that is another group’s, and one that its user may not write', async () => {
    const [empty, other, closed] = ['empty', 'other', 'closed'].map(name => join(folder, name))
    await mkdir(empty!)
    await mkdir(other!)
    const marker = await readFile(join(store, '.tributary-store'), 'utf8')
    await writeFile(join(other!, '.tributary-store'), marker.replace('group001', 'group002'))
    await mkdir(closed!)
    await cp(join(store, '.tributary-store'), join(closed!, '.tributary-store'))
    await chmod(closed!, 0o700)
    const gone = join(folder, 'gone')
    const broken = await write('stores.toml', copy => (copy.storage['stores'] = [empty, other, closed, gone]))
    const report = await examine(folder, broken, '--user', 'nobody')
    equal(report.exitCode, UNWELL)
    const problems = report.of('problem', 'store').join('\n')
    match(problems, /empty: no store: it has no marker/)
    match(problems, /other: a store of group002, and this server is of group001/)
    match(problems, /closed: nobody may not read and write in it/)
    match(problems, /gone: there is no such folder/)
    deepEqual(await readdir(empty!), [])
    match(report.of('problem', 'database').join(), /index\.db: nobody may not write/)
  })

  it('knows secrets that everybody can read, and a file that is wrong', async () => {
    const token = join(folder, 'token')
    await writeFile(token, 'secret\n', { mode: 0o644 })
    const open = await write('open.toml', copy => {
      copy.gateway['write_token_file'] = token
      copy.gateway['uploads_max'] = 0
      copy.common['redis'] = 'redis://user:password@127.0.0.1:1/0'
    })
    await chmod(open, 0o644)
    const report = await examine(folder, open)
    equal(report.exitCode, UNWELL)
    const problems = report.of('problem', 'configuration').join('\n')
    match(problems, /open\.toml: every user of this machine can read/)
    match(problems, /token: every user of this machine can read/)
    match(problems, /gateway\.uploads_max = 0/)
    const all = JSON.stringify(report.findings)
    ok(!all.includes('password') && !all.includes('"secret'), 'no secret is told')
  })

  it('knows servers that are not there, ports that others have, and addresses of other machines', async t => {
    const stranger = createServer(socket => socket.on('error', () => {}).end('220 mail\r\n')).listen(
      0,
      '127.0.0.1'
    )
    t.after(() => stranger.close())
    await once(stranger, 'listening')
    const taken = (stranger.address() as AddressInfo).port
    const dead = `127.0.0.1:${await freePort()}`
    const broken = await write('peers.toml', copy => {
      copy.common['trackers'] = [tracker.address, dead]
      copy.tracker['port'] = taken
      copy.id = { host: '192.0.2.1', insecure: true }
    })
    const report = await examine(folder, broken)
    equal(report.exitCode, UNWELL)
    match(report.of('problem', 'server').join(), new RegExp(`tracker ${dead}: no connection .*ECONNREFUSED`))
    const ports = report.of('problem', 'port').join('\n')
    match(ports, new RegExp(`127\\.0\\.0\\.1:${taken} \\(tracker\\): taken by another program`))
    match(ports, /192\.0\.2\.1:22000 \(id\): 192\.0\.2\.1 is not an address of this machine/)
  })

  it('tells what is degraded, and what is down', async () => {
    await storages[1]!.stop()
    const degraded = await until('the loss is seen', MENDED_WITHIN_MS, async () => {
      const report = await examine(folder, config)
      return report.of('warning', 'group').length > 0 ? report : undefined
    })
    match(degraded.of('warning', 'group').join(), /group001: .* is (?:OFFLINE|ONLINE|not serving)/)
    deepEqual(
      degraded.findings.filter(({ level }) => level === 'problem'),
      []
    )
    await storages[0]!.stop()
    await until('all are gone', MENDED_WITHIN_MS, async () => {
      const report = await examine(folder, config)
      return /group001: none of its 2 storage servers serves/.test(report.of('problem', 'group').join())
    })
  })

  it('opens an index that nobody uses without making files beside it', async () => {
    await tracker.stop()
    const copy = join(folder, 'still')
    await mkdir(copy)
    await cp(index, join(copy, 'index.db'))
    const still = await write(
      'still.toml',
      table => (table.common['database'] = [`sqlite:${join(copy, 'index.db')}`])
    )
    const report = await examine(folder, still)
    match(report.of('ok', 'database').join(), /SQLite/)
    deepEqual(await readdir(copy), ['index.db'])
    equal((await stat(join(copy, 'index.db'))).size > 0, true)
  })
})

describe(
  'the doctor of a database and a cache',
  { skip: noMariadb() ?? noRedis() ?? false, timeout: 120_000 },
  () => {
    it('knows settings that lose rows in a power cut, a schema that is missing, and a cache without bounds', async t => {
      const afterwards = cleanUps(t)
      const folder = await mkdtemp(join(tmpdir(), 'tributary-doctor-'))
      afterwards(() => rm(folder, { recursive: true, force: true }))
      const mariadb = await startMariadb([
        '--innodb-flush-log-at-trx-commit=2',
        '--log-bin',
        '--server-id=1',
        '--sync-binlog=0'
      ])
      afterwards(() => mariadb.stop())
      const redis = await startRedis()
      afterwards(() => redis.stop())
      const config = join(folder, 'a.toml')
      const dead = `mysql://root:hidden@127.0.0.1:${await freePort()}/tributary`
      await writeFile(
        config,
        `[common]\ndatabase = ["${mariadb.url}", "${dead}"]\nredis = "${redis.url}"\n[id]\nport = 0\n`,
        { mode: 0o600 }
      )
      const sick = await examine(folder, config)
      equal(sick.exitCode, UNWELL)
      const problems = sick.of('problem', 'database').join('\n')
      match(problems, /innodb_flush_log_at_trx_commit = 2/)
      match(problems, /sync_binlog = 0, with a binary log/)
      match(problems, /schema 0: \d is needed/)
      match(problems, /does not answer: .*ECONNREFUSED/)
      ok(!JSON.stringify(sick.findings).includes('hidden'))
      match(sick.of('warning', 'redis').join(), /its memory has no bound/)
      match(sick.of('ok', 'clock').join(), /^database 127.*: \d+ ms from/)

      await mariadb.sql('SET GLOBAL innodb_flush_log_at_trx_commit = 1; SET GLOBAL sync_binlog = 1')
      const migrated = await command(['db', 'migrate', '--database', mariadb.url], folder)
      equal((await migrated.ended).exitCode, 0)
      await redis.command('CONFIG SET maxmemory 100000000')
      await mariadb.sql('SET GLOBAL read_only = 1')
      const better = await examine(folder, config)
      deepEqual(
        better
          .of('problem', 'database')
          .filter(text => !/does not answer/.test(text))
          .map(text => text.replace(/^\S+: /, '')),
        ['read_only is set']
      )
      match(better.of('warning', 'redis').join(), /refuses what does not fit/)

      await mariadb.sql('SET GLOBAL read_only = 0')
      await redis.command('CONFIG SET maxmemory-policy allkeys-lru')
      await redis.command('SHUTDOWN NOSAVE').catch(() => '')
      const well = await examine(folder, config)
      match(well.of('ok', 'database').join('\n'), /what it acknowledges survives a power cut/)
      match(well.of('warning', 'redis').join(), /does not answer/)
    })
  }
)
