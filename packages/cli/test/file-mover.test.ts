/** What is moved, where to, how fast, and by whom; the storage servers are scripted. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrateDatabase, openDatabase, type Database, type FileRow } from '@tributary/database'
import {
  COMMANDS,
  extension,
  RejectedError,
  UnavailableError,
  type AdoptRequest,
  type ClusterReply
} from '@tributary/protocol'
import { FrameServer, PeerPool, replyOf, type Handlers } from '@tributary/transport'
import { FileMover, type FileMoverOptions, type MoveReport } from '../src/file-mover.ts'
import { temporaryFolder } from './command-run.ts'

const FREE_BYTES = 1e12

interface Group {
  name: string
  asked: AdoptRequest[]
  /** Refuses, or waits, before the row is switched. */
  before: (row: FileRow) => Promise<void> | void
  port: number
  store: string
}

class Stage {
  readonly database: Database
  readonly groups: Group[] = []
  readonly #t: TestContext
  readonly #pool = new PeerPool({
    role: 'storage',
    greeting: { role: 'client', cluster: '', version: '0.0.0' }
  })

  constructor(t: TestContext, database: Database) {
    this.#t = t
    this.database = database
    t.after(() => this.#pool.close())
  }

  async addGroup(name: string): Promise<Group> {
    const group: Group = { name, asked: [], before: () => {}, port: 0, store: randomUUID() }
    const refuse = (): never => {
      throw new RejectedError('FILE_NOT_FOUND', 'not asked for in this test')
    }
    const names = Object.entries(COMMANDS).filter(([, { role }]) => role === 'storage')
    const server = new FrameServer({
      role: 'storage',
      hostName: name,
      greeting: { role: 'storage', cluster: '', version: '0.0.0' },
      handlers: {
        ...Object.fromEntries(names.map(([command]) => [command, refuse])),
        ADOPT: async (body: Buffer) => {
          const request = extension.adopt.decode(body)
          group.asked.push(request)
          await this.#adopt(group, request)
          return replyOf('storage', extension.storeReply.encode({}))
        }
      } as unknown as Handlers<'storage'>,
      onFault: () => {}
    })
    group.port = (await server.start({ host: '127.0.0.1', port: 0 })).port
    this.#t.after(() => server.stop(AbortSignal.abort()))
    await this.database.routes.addGroup(name)
    this.groups.push(group)
    return group
  }

  /** As a storage server does it, but for the bytes. */
  async #adopt(group: Group, request: AdoptRequest): Promise<void> {
    const { files, moves } = this.database
    const row = await files.find(request)
    if (!row) throw new RejectedError('FILE_NOT_FOUND', 'no such file')
    await group.before(row)
    const { application, user, file, generation, store, path } = row
    const move = {
      application,
      user,
      file,
      generation,
      store,
      path,
      group: row.group,
      toGroup: group.name,
      toStore: group.store,
      toPath: path
    }
    await moves.note(move)
    if (!(await files.move(move))) throw new RejectedError('FILE_NOT_FOUND', 'no such file')
  }

  async addFiles(count: number, over: Partial<FileRow> = {}): Promise<FileRow[]> {
    const rows = Array.from({ length: count }, (_, at): FileRow => ({
      application: 'media',
      user: `user${at % 7}`,
      file: `file${at}`,
      generation: randomBytes(16).toString('hex'),
      nonce: randomBytes(16).toString('hex'),
      state: 'stored',
      trashedUntilMs: 0,
      sizeBytes: 1_000,
      crc32: 0,
      group: 'old',
      store: '00000000-0000-4000-8000-000000000001',
      path: `000/000/${String(at).padStart(3, '0')}/5F9E3FA7_000`,
      name: '',
      mediaType: '',
      storedAtMs: 1,
      ...over
    }))
    await this.database.files.insert(rows)
    return rows
  }

  mover(over: Partial<FileMoverOptions> = {}): FileMover {
    return new FileMover({
      database: this.database,
      pool: this.#pool,
      cluster: async () => this.#cluster(),
      from: 'old',
      to: [],
      bytesPerS: undefined,
      dryRun: false,
      holder: randomUUID(),
      signal: new AbortController().signal,
      onProgress: () => {},
      ...over
    })
  }

  #cluster(): ClusterReply {
    return {
      cluster: '',
      groups: this.groups.map(({ name, port }) => ({
        name,
        region: '',
        known: true,
        members: [
          {
            version: '',
            hostName: name,
            startedAtS: 0,
            joinedAtS: 0,
            beatAtS: 0,
            status: 'ACTIVE',
            addresses: [{ host: '127.0.0.1', port, family: 4 }],
            serving: true,
            taking: true,
            freeBytes: FREE_BYTES,
            totalBytes: FREE_BYTES,
            connections: 0,
            requestsPerS: 0,
            bytesPerS: 0,
            legacy: false
          }
        ]
      }))
    }
  }
}

async function stageOf(t: TestContext, names: readonly string[] = ['next']): Promise<Stage> {
  const url = `sqlite:${join(await temporaryFolder(t), 'index.db')}`
  await migrateDatabase(url)
  const database = await openDatabase(url)
  t.after(() => database.close())
  const stage = new Stage(t, database)
  await database.routes.addGroup('old')
  for (const name of names) await stage.addGroup(name)
  return stage
}

async function groupsOf({ database }: Stage, rows: readonly FileRow[]): Promise<(string | undefined)[]> {
  return Promise.all(rows.map(async row => (await database.files.find(row))?.group))
}

describe('moving the files of a group', { timeout: 60_000 }, () => {
  it('brings users first, and every file to the group of its user', async t => {
    const stage = await stageOf(t, ['next', 'third'])
    const rows = await stage.addFiles(300)
    for (let user = 0; user < 7; user++) await stage.database.routes.tie('media', `user${user}`, 'old')
    const { totalFiles, ...report } = await stage.mover().run()
    equal(totalFiles, 300)
    equal(report.files, 300)
    equal(report.bytes, 300_000)
    equal(report.users, 7)
    equal(report.failed, 0)
    const groups = await groupsOf(stage, rows)
    for (const [at, row] of rows.entries()) {
      equal(groups[at], await stage.database.routes.groupOf('media', row.user))
    }
    equal(new Set(groups).has('old'), false)
    deepEqual(new Set(Object.keys(report.targets)), new Set(groups))
  })

  it('goes to the groups that are named, and to none in drain', async t => {
    const stage = await stageOf(t, ['next', 'third', 'drained'])
    await stage.database.routes.setDraining('drained', true)
    const rows = await stage.addFiles(40)
    await stage.mover({ to: ['third'] }).run()
    deepEqual(new Set(await groupsOf(stage, rows)), new Set(['third']))
    const more = await stage.addFiles(40, { user: 'other', store: randomUUID() })
    await stage.mover().run()
    equal((await groupsOf(stage, more)).includes('drained'), false)
  })

  it('changes nothing when it is only asked what it would do', async t => {
    const stage = await stageOf(t)
    const rows = await stage.addFiles(20)
    const report = await stage.mover({ dryRun: true }).run()
    deepEqual(report.targets, { next: { files: 20, bytes: 20_000 } })
    deepEqual(new Set(await groupsOf(stage, rows)), new Set(['old']))
    equal(stage.groups[0]!.asked.length, 0)
  })

  it('keeps to its rate, and tells the other side', async t => {
    const stage = await stageOf(t)
    await stage.addFiles(20)
    const startMs = performance.now()
    await stage.mover({ bytesPerS: 20_000 }).run()
    ok(performance.now() - startMs > 900, 'the last file starts when 19,000 bytes are over')
    ok(stage.groups[0]!.asked.every(({ bytesPerS }) => bytesPerS === 20_000))
  })

  it('takes another group for a file that does not fit the first one', async t => {
    const stage = await stageOf(t, ['next', 'third'])
    for (const group of stage.groups) {
      group.before = ({ sizeBytes }) => {
        if (group.name === 'next' && sizeBytes > 5_000) throw new UnavailableError('NO_SPACE', 'no room')
      }
    }
    const small = await stage.addFiles(30)
    const large = await stage.addFiles(30, { sizeBytes: 6_000, user: 'large', store: randomUUID() })
    for (let user = 0; user < 7; user++) await stage.database.routes.tie('media', `user${user}`, 'next')
    await stage.database.routes.tie('media', 'large', 'next')
    const report = await stage.mover().run()
    equal(report.failed, 0)
    deepEqual(new Set(await groupsOf(stage, small)), new Set(['next']))
    deepEqual(new Set(await groupsOf(stage, large)), new Set(['third']))
  })

  it('passes over what is deleted meanwhile, names what fails, and goes on with the rest', async t => {
    const stage = await stageOf(t)
    const rows = await stage.addFiles(10)
    stage.groups[0]!.before = async row => {
      if (row.file === 'file3') await stage.database.files.remove(row, row.generation)
      if (row.file === 'file5')
        throw new UnavailableError('CHECKSUM_MISMATCH', 'other bytes than were stored')
    }
    const report = await stage.mover().run()
    equal(report.files, 8)
    equal(report.gone, 1)
    equal(report.failed, 1)
    match(report.failures[0]!, /^media\/user5\/file5: .*other bytes/)
    equal((await groupsOf(stage, [rows[5]!]))[0], 'old')
  })

  it('takes films in the trash along, leaves alone what is being deleted, and says what is still there', async t => {
    const stage = await stageOf(t)
    const untilMs = Date.now() + 60_000
    const trashed = await stage.addFiles(5, { user: 'a', state: 'trashed', trashedUntilMs: untilMs })
    const other = randomUUID()
    const deleting = await stage.addFiles(3, { user: 'b', state: 'deleting', store: other })
    stage.groups[0]!.before = ({ file }) => {
      if (file === 'file2') throw new UnavailableError('NO_SPACE', 'no room')
    }
    const report = await stage.mover().run()
    deepEqual([report.files, report.failed, report.left], [4, 1, 1])
    const rows = await Promise.all(trashed.map(async row => stage.database.files.find(row)))
    deepEqual(
      rows.map(row => [row?.group, row?.state, row?.trashedUntilMs]),
      trashed.map(({ file }) => [file === 'file2' ? 'old' : 'next', 'trashed', untilMs])
    )
    deepEqual(new Set(await groupsOf(stage, deleting)), new Set(['old']))
  })

  it('is done by one at a time', async t => {
    const stage = await stageOf(t)
    await stage.addFiles(3)
    await stage.database.leases.take('move files', 'somebody else', 60_000)
    const ended = new AbortController()
    const waiting = stage.mover({ signal: ended.signal }).run()
    setTimeout(() => ended.abort(), 1_200)
    await rejects(waiting, { code: 'CANCELLED' })
    equal(stage.groups[0]!.asked.length, 0)
    await stage.database.leases.release('move files', 'somebody else')
    equal((await stage.mover().run()).files, 3)
  })

  it('stops when it is told to, in the middle of files, and goes on when it is run again', async t => {
    const stage = await stageOf(t)
    const rows = await stage.addFiles(60)
    const ended = new AbortController()
    const [next] = stage.groups as [Group]
    next.before = async () => {
      if (next.asked.length < 20) return
      setTimeout(() => ended.abort(), 50)
      await sleep(1_000)
    }
    const startMs = performance.now()
    const mover = stage.mover({ signal: ended.signal })
    await rejects(mover.run(), { code: 'CANCELLED', message: /run it again/ })
    ok(performance.now() - startMs < 900, 'it does not wait for what others are at')
    const first: MoveReport = mover.report
    ok(first.files >= 12 && first.files < 60, `${first.files} of 60`)
    next.before = () => {}
    const rest = await stage.mover().run()
    ok(first.files + rest.files <= 60)
    deepEqual(new Set(await groupsOf(stage, rows)), new Set(['next']))
  })

  it('says so where no group takes files', async t => {
    const stage = await stageOf(t, [])
    await stage.addFiles(1)
    await rejects(stage.mover().run(), { code: 'NO_STORAGE_READY' })
  })
})
