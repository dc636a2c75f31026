/** Two groups and a third that comes: files are moved between them while they are read, and whatever dies meanwhile. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import { openDatabase, type Database } from '@tributary/database'
import {
  COMMANDS,
  encodeDownload,
  encodeFileKey,
  encodeFrame,
  decodeInt64,
  type FileKey
} from '@tributary/protocol'
import { contentOf } from '../faults/random.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { startRole, type RoleServer } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'
import { ENGINES } from '../cluster/engines.ts'

const GROUPS = ['north', 'south']
const ACTIVE_WITHIN_MS = 40_000
/** Trackers read the groups, clients forget places, within it. */
const KNOWN_WITHIN_MS = 12_000
const MOVED_KEEP_S = 1
const SMALL_FILES = 60
const SMALL_BYTES = 20_000
/** Slow enough to be interrupted some times. */
const MOVING_S = 9
const INTERRUPTED_EVERY_MS = 1_000
const LARGE_BYTES = 12 * 1024 * 1024

for (const engine of ENGINES) {
  describe(`groups on ${engine.name}`, { skip: engine.skip, timeout: 240_000 }, () => {
    const endings: (() => unknown)[] = []
    const afterwards = cleanUps({ after: callback => void endings.push(callback) })
    let folder: string
    let databaseUrl: string
    let database: Database
    let tracker: RoleServer
    const storages: Record<string, RoleServer> = {}
    let client: Client
    const files = new Map<string, Buffer>()

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'tributary-groups-'))
      afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
      const backing = await engine.start()
      afterwards(() => backing.stop())
      databaseUrl = backing.databaseUrl ?? `sqlite:${join(folder, 'index.db')}`
      const flag = ['--database', databaseUrl]
      await succeeds(['db', 'migrate', ...flag])
      await succeeds(['db', 'add-application', 'media', ...flag])
      for (const group of GROUPS) {
        await succeeds(['storage', 'init', join(folder, group), '--group', group, ...flag])
      }
      database = await openDatabase(databaseUrl)
      afterwards(() => database.close())
      const common = {
        database: [databaseUrl],
        ...(backing.redisUrl !== undefined && { redis: backing.redisUrl })
      }
      const start = async (...args: Parameters<typeof startRole>): Promise<RoleServer> => {
        const server = await startRole(...args)
        afterwards(() => server.stop())
        return server
      }
      tracker = await start('tracker', 'tracker', folder, common)
      const ids = await start('id', 'id', folder, { database: [databaseUrl] })
      for (const group of GROUPS) {
        storages[group] = await start('storage', `storage-${group}`, folder, {
          ...common,
          group,
          stores: [join(folder, group)],
          trackers: [tracker.address],
          id_servers: [ids.address],
          reserve_bytes: '1MiB',
          heartbeat_s: 0.5,
          moved_keep_s: MOVED_KEEP_S,
          member: group
        })
      }
      client = new Client({ trackers: [tracker.address] })
      afterwards(() => client.close())
      await untilActive(GROUPS.length)
    })
    after(async () => {
      for (const end of endings) await end()
    })

    const tributary = async (
      args: string[]
    ): Promise<{ exitCode: number | null; out: string; err: string }> => {
      const command = new TributaryProcess(args, { folder })
      const { exitCode } = await command.ended
      return { exitCode, out: command.out, err: command.err }
    }
    const succeeds = async (args: string[]): Promise<string> => {
      const { exitCode, out, err } = await tributary(args)
      equal(exitCode, 0, `${args.join(' ')}: ${err}`)
      return out
    }
    const group = (...args: string[]): string[] => [
      'group',
      ...args,
      '--database',
      databaseUrl,
      '--trackers',
      tracker.address
    ]
    const untilActive = (count: number): Promise<unknown> =>
      until(`${count} storage servers are active`, ACTIVE_WITHIN_MS, async () => {
        const { groups } = await client.groups().catch(() => ({ groups: [] }))
        const active = groups.flatMap(({ members }) => members).filter(({ status }) => status === 'ACTIVE')
        return active.length === count
      })
    const keyOf = (file: string, user = file.split(' ')[0]!): FileKey => ({
      application: 'media',
      user,
      file
    })
    const upload = async (file: string, bytes: number): Promise<void> => {
      const content = contentOf(file, bytes)
      await client.upload(content, { key: keyOf(file) })
      files.set(file, content)
    }
    const read = async (file: string, by = client): Promise<Buffer> => {
      const { stream } = await by.download(keyOf(file))
      return buffer(stream)
    }
    const allAreWhole = async (by = client): Promise<void> => {
      for (const [file, content] of files) ok((await read(file, by)).equals(content), file)
    }
    const groupOf = async (file: string): Promise<string | undefined> =>
      (await database.files.find(keyOf(file), { causal: true }))?.group
    const groupsOf = async (): Promise<Set<string | undefined>> =>
      new Set(await Promise.all([...files.keys()].map(groupOf)))
    const drained = async (name: string): Promise<void> => {
      await succeeds(group('drain', name))
      await until(`the tracker knows that ${name} is in drain`, KNOWN_WITHIN_MS, async () => {
        const { groups } = await client.groups()
        return groups.some(each => each.name === name && each.draining)
      })
    }
    /** Files in the store, and copies that are put aside. */
    const filesIn = async (name: string): Promise<string[]> => {
      const entries = await readdir(join(folder, name), { recursive: true, withFileTypes: true })
      return entries
        .filter(entry => entry.isFile())
        .map(entry => join(entry.parentPath, entry.name).slice(join(folder, name).length + 1))
        .filter(path => /^(?:[0-9A-F]{3}|\.moved)\//.test(path))
    }
    const untilEmpty = (name: string): Promise<unknown> =>
      until(`no copy is left in ${name}`, 30_000, async () => (await filesIn(name)).length === 0)

    it('a resumable upload goes on in the group where it began, whoever asks, and parts do not mix groups', async () => {
      const bytes = 300_000
      const asked = new Client({ trackers: [tracker.address] })
      const begun: { user: string; id: string; part: string; group: string }[] = []
      for (let index = 0; index < 8; index++) {
        const user = `r${index}`
        const upload = await client.uploads.create({ ...keyOf('resumed', user), sizeBytes: bytes })
        const part = await client.uploads.create({ application: 'media', user, sizeBytes: 0 })
        begun.push({ user, id: upload.id, part: part.id, group: upload.group })
      }
      equal(new Set(begun.map(each => each.group)).size, GROUPS.length, 'both groups have some')
      try {
        for (const { user, id, group: place } of begun) {
          const content = contentOf(user, bytes)
          let sent = false
          const reader = { read: async () => (sent ? undefined : ((sent = true), content)) }
          const status = await asked.uploads.append(id, reader, { offsetBytes: 0, sizeBytes: bytes })
          equal(status.group, place)
          await asked.uploads.commit(id)
          const { stream } = await client.download(keyOf('resumed', user))
          ok((await buffer(stream)).equals(content))
          await client.delete(keyOf('resumed', user))
        }
        const [one, other] = GROUPS.map(name => begun.find(each => each.group === name)!.part)
        const mixed = { ...keyOf('mixed', 'r0'), sizeBytes: 0, joins: [one!, other!] }
        await rejects(asked.uploads.create(mixed), { code: 'BAD_FIELD' })
        for (const { part } of begun) await asked.uploads.abort(part)
      } finally {
        asked.close()
      }
    })

    it('list what they have, and are not removed while they have it', async () => {
      for (let at = 0; at < SMALL_FILES; at++) await upload(`user${at % 12} file${at}`, SMALL_BYTES + at)
      await upload('anna film', LARGE_BYTES)
      await upload('bert film', LARGE_BYTES + 1)
      await succeeds(group('set-region', 'north', 'eu'))
      const list = await succeeds(group('list'))
      match(list, /^north: 1 of 1 members active, \d+ users?, \d+ files?, .* \(region eu\)$/m)
      const counts = (await succeeds(group('list', '--json')))
        .trim()
        .split('\n')
        .map(line => JSON.parse(line) as { name: string; files: number; bytes: number })
      equal(
        counts.reduce((sum, { files: count }) => sum + count, 0),
        files.size
      )
      deepEqual(await groupsOf(), new Set(GROUPS))
      const refused = await tributary(group('remove', 'north'))
      equal(refused.exitCode, 1)
      match(refused.err, /it has \d+ files?, \d+ users?, 1 active storage servers/)
      match((await tributary(group('move', 'north'))).err, /drain it first/)
      await succeeds(group('add', 'typo'))
      await succeeds(group('remove', 'typo'))
      match((await tributary(group('drain', 'typo'))).err, /no group typo/)
    })

    it('in drain get no new files, also of users they had, and are left by their files while these are read', async t => {
      await drained('north')
      for (let at = 0; at < 12; at++) {
        await upload(`user${at} late`, SMALL_BYTES)
        equal(await groupOf(`user${at} late`), 'south')
      }
      const dry = await succeeds(group('move', 'north', '--dry-run'))
      match(dry, /south: \d+ files/)
      deepEqual(await groupsOf(), new Set(GROUPS))
      // A program that remembers where files were, and one from before groups could change.
      const reader = new Client({ trackers: [tracker.address] })
      t.after(() => reader.close())
      await allAreWhole(reader)
      let reads = 0
      const stop = new AbortController()
      const reading = (async () => {
        while (!stop.signal.aborted) {
          for (const [file, content] of files) {
            if (stop.signal.aborted) return
            ok((await read(file, reader)).equals(content), file)
            reads++
          }
        }
      })()
      const legacy = await WirePeer.open({ host: '127.0.0.1', port: storages['north']!.port })
      t.after(() => legacy.close())
      const moved = [...files.keys()]
      const inNorth = (
        await Promise.all(moved.map(async file => ((await groupOf(file)) === 'north' ? file : undefined)))
      ).filter(file => file !== undefined)
      const result = JSON.parse(
        (await succeeds(group('move', 'north', '--json'))).trim().split('\n').at(-1)!
      ) as { done: boolean; files: number; failed: number; targets: object }
      stop.abort()
      await reading
      t.diagnostic(`${reads} reads while ${result.files} files moved`)
      equal(result.done, true)
      equal(result.failed, 0)
      equal(result.files, inNorth.length)
      deepEqual(await groupsOf(), new Set(['south']))
      await allAreWhole(reader)
      await allAreWhole()
      for (const file of inNorth) {
        const key = keyOf(file)
        const content = files.get(file)!
        const size = await legacy.ask(encodeFrame(COMMANDS.FILESIZE.code, encodeFileKey(key)))
        equal(decodeInt64(size), BigInt(content.byteLength), file)
        const request = encodeDownload({ key, offset: 7, sizeBytes: 0 })
        ok((await legacy.ask(encodeFrame(COMMANDS.DOWNLOAD.code, request))).equals(content.subarray(7)), file)
      }
      const deleted = inNorth[0]!
      await legacy.ask(encodeFrame(COMMANDS.DELETE.code, encodeFileKey(keyOf(deleted))))
      equal(await groupOf(deleted), undefined)
      files.delete(deleted)
      await untilEmpty('north')
      await until('nothing is noted of them', 5_000, async () => (await database.moves.count('north')) === 0)
      await allAreWhole(reader)
    })

    it('move back at a rate, and whatever is killed meanwhile, nothing is lost', async t => {
      await succeeds(group('undrain', 'north'))
      await drained('south')
      const total = [...files.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
      const rate = String(Math.round(total / MOVING_S))
      const move = group('move', 'south', '--to', 'north', '--rate', rate, '--json')
      /** Where the new copies go, where the old ones are, and who moves them. */
      const interruptions = ['north', 'south', 'SIGINT', 'mover']
      let runs = 0
      for (let exitCode: number | null = null; exitCode !== 0;) {
        const mover = new TributaryProcess(move, { folder })
        runs++
        while (mover.isRunning) {
          const isOver = await Promise.race([mover.ended.then(() => true), sleep(INTERRUPTED_EVERY_MS)])
          if (isOver === true || !mover.out.includes('"done":false')) continue
          const victim = interruptions.shift()
          if (victim === undefined) await mover.ended
          else if (victim === 'mover') mover.kill(mover.pid)
          else if (victim === 'SIGINT') {
            mover.send('SIGINT')
            equal((await mover.ended).exitCode, 130, mover.err)
            match(mover.err, /run it again to go on/)
          } else {
            await storages[victim]!.kill()
            await storages[victim]!.start()
          }
        }
        ;({ exitCode } = await mover.ended)
        await untilActive(GROUPS.length)
        await allAreWhole()
        ok(runs < 8, `moving goes on: ${mover.err}`)
      }
      t.diagnostic(`${runs} runs, interruptions that came too late: ${interruptions.join(', ') || 'none'}`)
      deepEqual(await groupsOf(), new Set(['north']))
      await untilEmpty('south')
      equal((await filesIn('north')).length, files.size)
      const report = await tributary([
        'fsck',
        join(folder, 'north'),
        join(folder, 'south'),
        '--database',
        databaseUrl,
        '--checksums'
      ])
      equal(report.exitCode, 0, report.out)
    })

    it('take what lies in the trash along, which stays in it, and is had back from the other group', async () => {
      const [small] = files.keys()
      const names = [small!, 'anna film']
      const untilMs = Date.now() + 3_600_000
      const generations = await Promise.all(
        names.map(async file => (await client.stat(keyOf(file))).generation)
      )
      for (const [at, file] of names.entries()) await client.trash(keyOf(file), generations[at]!, untilMs)
      await succeeds(group('undrain', 'south'))
      await drained('north')
      await succeeds(group('move', 'north', '--to', 'south'))
      for (const file of names) {
        const row = await database.files.find(keyOf(file), { causal: true })
        deepEqual([row?.group, row?.state, row?.trashedUntilMs], ['south', 'trashed', untilMs])
        await rejects(read(file), { code: 'FILE_NOT_FOUND' })
      }
      await untilEmpty('north')
      equal(await database.moves.count('north'), 0)
      for (const [at, file] of names.entries()) await client.trash(keyOf(file), generations[at]!, 0)
      await allAreWhole()
      await succeeds(group('undrain', 'north'))
      await drained('south')
      await succeeds(group('move', 'south', '--to', 'north'))
      await untilEmpty('south')
      const report = await tributary([
        'fsck',
        join(folder, 'north'),
        join(folder, 'south'),
        '--database',
        databaseUrl,
        '--checksums'
      ])
      equal(report.exitCode, 0, report.out)
    })

    it('are not removed while an upload may go on in them: it is told whose, and until when', async () => {
      await succeeds(group('undrain', 'south'))
      const begun: string[] = []
      for (let user = 0; begun.length === 0; user++) {
        const upload = await client.uploads.create({ ...keyOf('later', `u${user}`), sizeBytes: 5_000 })
        if (upload.group === 'south') begun.push(upload.id)
        else await client.uploads.abort(upload.id)
      }
      const [id] = begun as [string]
      const { expiresMs, user } = await client.uploads.status(id)
      const until = new Date(expiresMs).toISOString()
      await drained('south')
      const moved = await tributary(group('move', 'south', '--to', 'north'))
      equal(moved.exitCode, 1, moved.out)
      match(moved.err, /1 upload under way in the group/)
      ok(moved.err.includes(`media/${user}/later: 0 B of 4.9 KiB, kept until ${until}`), moved.err)
      match(await succeeds(group('list')), /south: .*1 upload under way, kept until/)
      match(
        (await tributary(group('remove', 'south'))).err,
        new RegExp(`1 upload under way, kept until ${until}`)
      )
      await client.uploads.abort(id)
      await succeeds(group('move', 'south', '--to', 'north'))
    })

    it('are removed once they have nothing left', async () => {
      await storages['south']!.stop()
      await until('south is not active', ACTIVE_WITHIN_MS, async () => {
        const { groups } = await client.groups()
        const south = groups.find(({ name }) => name === 'south')
        return !south?.members.some(({ status }) => status === 'ACTIVE')
      })
      await succeeds(group('remove', 'south'))
      equal(
        (await database.routes.groups()).some(({ name }) => name === 'south'),
        false
      )
      await allAreWhole()
    })
  })
}
