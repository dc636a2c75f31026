/** Where new files go when groups drain, fill up, and lie in regions. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Presence } from '@tributary/protocol'
import { loadConfig, ManualClock } from '@tributary/runtime'
import { openDatabase, type Database } from '@tributary/database'
import { Catalog } from '../src/catalog.ts'
import { GroupChoice } from '../src/group-choice.ts'
import { Locator, ROUTE_TTL_MS } from '../src/locator.ts'
import { MemberTable } from '../src/member-table.ts'
import { RegionMap } from '../src/region-map.ts'
import { trackerConfig } from '../src/tracker-config.ts'
import { fileRow, presence, sqliteUrl } from './running-tracker.ts'

const CLIENT = '192.0.2.7'
const HOST_OF: Record<string, number> = { group001: 1, group002: 2, group003: 3 }

/** What a tracker decides with, on a database that others share. */
class Decider {
  readonly clock = new ManualClock()
  readonly table = new MemberTable({ clock: this.clock, checkIntervalMs: 1e9 })
  readonly catalog: Catalog
  readonly locator: Locator

  constructor(database: Database, flags: Record<string, unknown> = {}) {
    const { clock, table } = this
    const config = loadConfig(trackerConfig, { flags: { database: 'sqlite:/nowhere.db', ...flags } })
    const regions = new RegionMap(config.networkRegions, config.applicationRegions)
    this.catalog = new Catalog(database.routes, clock)
    this.locator = new Locator({
      database,
      catalog: this.catalog,
      isUp: () => true,
      choice: new GroupChoice({ table, catalog: this.catalog, regions, clock, random: Math.random }),
      clock
    })
  }

  report(group: string, changes: Partial<Presence> = {}): void {
    const host = HOST_OF[group]!
    this.table.presence(`10.0.0.${host}`, presence({ group, hostName: `host${host}`, ...changes }))
  }

  async forUpload(file: string, user = 'user1', ip = CLIENT): Promise<string> {
    return (await this.locator.forOurs({ application: 'media', user, file }, true, ip, false)).group
  }
}

async function setUp(
  t: TestContext,
  { groups = ['group001', 'group002'], trackers = 1, flags = {} } = {}
): Promise<{ database: Database; deciders: Decider[] }> {
  const database = await openDatabase(await sqliteUrl(t))
  t.after(() => database.close())
  for (const group of groups) await database.routes.addGroup(group)
  const deciders = Array.from({ length: trackers }, () => new Decider(database, flags))
  for (const decider of deciders) {
    await decider.catalog.read()
    for (const group of groups) decider.report(group)
  }
  return { database, deciders }
}

describe('a group in drain', () => {
  it('gets no new files: the tie of a user that brings one is rewritten, and every tracker agrees', async t => {
    const { database, deciders } = await setUp(t, {
      groups: ['group001', 'group002', 'group003'],
      trackers: 2
    })
    const [first, second] = deciders as [Decider, Decider]
    await database.routes.tie('media', 'user1', 'group001')
    for (const decider of deciders) equal(await decider.forUpload('a'), 'group001')
    await database.routes.setDraining('group001', true)
    for (const decider of deciders) await decider.catalog.read()
    // Both remember the user's group of before.
    const groups = await Promise.all([first.forUpload('b'), second.forUpload('c'), first.forUpload('d')])
    equal(new Set(groups).size, 1)
    ok(groups[0] !== 'group001')
    equal(await database.routes.groupOf('media', 'user1'), groups[0])
    await database.routes.setDraining('group001', false)
    for (const decider of deciders) {
      await decider.catalog.read()
      equal(await decider.forUpload('e'), groups[0], 'who was tied elsewhere stays there')
    }
  })

  it('keeps what it has: files are found there, and looking for one changes nothing', async t => {
    const { database, deciders } = await setUp(t)
    const [decider] = deciders as [Decider]
    const key = { application: 'media', user: 'user1', file: 'old' }
    await database.routes.tie('media', 'user1', 'group001')
    await database.files.insert([fileRow(key, { group: 'group001' })])
    await database.routes.setDraining('group001', true)
    await decider.catalog.read()
    deepEqual(
      { ...(await decider.locator.forLegacy(key, CLIENT)), untilMs: 0 },
      { group: 'group001', exists: true, untilMs: 0 }
    )
    const look = await decider.locator.forOurs({ ...key, file: 'none' }, false, CLIENT, false)
    equal(look.group, 'group001')
    equal(await database.routes.groupOf('media', 'user1'), 'group001')
    // A legacy client asks in the same words before it uploads.
    equal((await decider.locator.forLegacy({ ...key, file: 'new' }, CLIENT)).group, 'group002')
  })

  it('gets nothing even where no other group takes it', async t => {
    const { database, deciders } = await setUp(t)
    const [decider] = deciders as [Decider]
    await database.routes.tie('media', 'user1', 'group001')
    await database.routes.setDraining('group001', true)
    await decider.catalog.read()
    decider.report('group002', { taking: false })
    await rejects(async () => decider.forUpload('a'), { code: 'NO_SPACE' })
    equal(await database.routes.groupOf('media', 'user1'), 'group001')
  })
})

describe('a group that was removed', () => {
  it('is left by users that a cache still has there', async t => {
    const { database, deciders } = await setUp(t)
    const [decider] = deciders as [Decider]
    await database.routes.addGroup('gone')
    await database.routes.tie('media', 'user1', 'gone')
    await decider.catalog.read()
    equal(await decider.forUpload('a'), 'gone')
    await database.routes.retie('media', 'user1', 'gone', 'group002')
    await database.routes.removeGroup('gone')
    await decider.catalog.read()
    equal(await decider.forUpload('b'), 'group002')
    await database.routes.tie('media', 'user2', 'gone')
    ok((await decider.forUpload('a', 'user2')).startsWith('group00'))
  })
})

describe('a group without room', () => {
  it('keeps its users, whose next files go where there is room, and come home when there is again', async t => {
    const { database, deciders } = await setUp(t, {
      groups: ['group001', 'group002', 'group003'],
      trackers: 2
    })
    const users = Array.from({ length: 40 }, (_, at) => `user${at}`)
    for (const user of users) await database.routes.tie('media', user, 'group001')
    for (const decider of deciders) decider.report('group001', { taking: false, freeBytes: 0 })
    const elsewhere = new Set<string>()
    for (const user of users) {
      const groups = await Promise.all(deciders.map(decider => decider.forUpload('a', user)))
      equal(groups[0], groups[1], 'trackers that see the same agree without a word')
      elsewhere.add(groups[0]!)
      equal(await database.routes.groupOf('media', user), 'group001')
    }
    deepEqual([...elsewhere].sort(), ['group002', 'group003'])
    for (const decider of deciders) {
      decider.report('group001')
      for (const user of users) equal(await decider.forUpload('b', user), 'group001')
    }
  })

  it('is full only when none of its members takes anything', async t => {
    const { database, deciders } = await setUp(t)
    const [decider] = deciders as [Decider]
    await database.routes.tie('media', 'user1', 'group001')
    decider.table.presence('10.0.0.9', presence({ hostName: 'other', taking: false }))
    equal(await decider.forUpload('a'), 'group001')
    decider.report('group001', { taking: false })
    equal(await decider.forUpload('a'), 'group002')
  })

  it('is named all the same where all are full, and where its members are away', async t => {
    const { database, deciders } = await setUp(t)
    const [decider] = deciders as [Decider]
    await database.routes.tie('media', 'user1', 'group001')
    for (const group of ['group001', 'group002']) decider.report(group, { taking: false })
    equal(await decider.forUpload('a'), 'group001')
    decider.report('group002')
    decider.report('group001', { serving: false })
    equal(await decider.forUpload('a'), 'group001', 'it is expected back')
  })
})

describe('regions', () => {
  const flags = {
    'network-regions': '10.1.0.0/16=eu,10.0.0.0/8=us,2001:db8::/32=eu',
    'application-regions': 'media=asia'
  }
  const inRegions = async (t: TestContext): Promise<{ database: Database; decider: Decider }> => {
    const { database, deciders } = await setUp(t, {
      groups: ['group001', 'group002', 'group003'],
      flags
    })
    for (const [group, region] of [
      ['group001', 'eu'],
      ['group002', 'us'],
      ['group003', 'asia']
    ] as const) {
      await database.routes.setRegion(group, region)
    }
    await deciders[0]!.catalog.read()
    return { database, decider: deciders[0]! }
  }

  it('give a new user a group by its network, else by its application', async t => {
    const { decider } = await inRegions(t)
    equal(await decider.forUpload('a', 'first', '10.1.2.3'), 'group001')
    equal(await decider.forUpload('a', 'second', '10.2.2.3'), 'group002')
    equal(await decider.forUpload('a', 'third', '::ffff:10.1.2.3'), 'group001')
    equal(await decider.forUpload('a', 'fourth', '2001:db8::1'), 'group001')
    equal(await decider.forUpload('a', 'fifth', CLIENT), 'group003')
    equal(await decider.forUpload('a', 'sixth', 'no address at all'), 'group003')
  })

  it('count only while a group there takes files', async t => {
    const { database, decider } = await inRegions(t)
    decider.report('group001', { taking: false })
    equal(await decider.forUpload('a', 'first', '10.1.2.3'), 'group003', 'the next one that suits')
    decider.report('group003', { serving: false })
    equal(await decider.forUpload('a', 'second', '10.1.2.3'), 'group002', 'any other')
    decider.report('group001')
    equal(await decider.forUpload('b', 'second', '10.1.2.3'), 'group002', 'who has a group keeps it')
    equal(await database.routes.groupOf('media', 'second'), 'group002')
  })

  it('are kept by a user whose group is in drain, if there is another one', async t => {
    const { database, decider } = await inRegions(t)
    await database.routes.setRegion('group003', 'us')
    await database.routes.tie('photos', 'user1', 'group002')
    await database.routes.addApplication('photos')
    await database.routes.setDraining('group002', true)
    await decider.catalog.read()
    const key = { application: 'photos', user: 'user1', file: 'a' }
    equal((await decider.locator.forOurs(key, true, CLIENT, false)).group, 'group003')
  })

  it('are refused where they cannot be read', () => {
    for (const wrong of [
      { 'network-regions': '10.1.0.0/16' },
      { 'network-regions': '10.1.0.0/99=eu' },
      { 'application-regions': 'no media=eu' }
    ]) {
      const config = (): unknown =>
        loadConfig(trackerConfig, { flags: { database: 'sqlite:/nowhere.db', ...wrong } })
      let failure: unknown
      try {
        config()
      } catch (error) {
        failure = error
      }
      ok(failure instanceof Error && /regions/.test(failure.message), String(failure))
    }
  })
})

describe('a place that proved to be wrong', () => {
  it('is looked up anew when the asker says so, and remembered anew for the others', async t => {
    const { database, deciders } = await setUp(t)
    const [decider] = deciders as [Decider]
    const key = { application: 'media', user: 'user1', file: 'film' }
    const row = fileRow(key, { group: 'group001' })
    await database.files.insert([row])
    const locate = async (isFresh: boolean): Promise<string> =>
      (await decider.locator.forOurs(key, false, CLIENT, isFresh)).group
    equal(await locate(false), 'group001')
    const move = {
      ...key,
      generation: row.generation,
      group: row.group,
      store: row.store,
      path: row.path,
      toGroup: 'group002',
      toStore: '00000000-0000-4000-8000-000000000002',
      toPath: row.path
    }
    await database.moves.note(move)
    await database.files.move(move)
    equal(await locate(false), 'group001', 'remembered for a moment')
    equal(await locate(true), 'group002')
    equal(await locate(false), 'group002')
    await decider.clock.advance(ROUTE_TTL_MS)
    equal(await locate(false), 'group002')
  })
})
