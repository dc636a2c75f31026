import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  COMMANDS,
  encodeFileKey,
  encodeFrame,
  encodeJoin,
  extension,
  FILE_KEY_BYTES
} from '@tributary/protocol'
import { ConfigError, loadConfig, ManualClock } from '@tributary/runtime'
import type { Connection } from '@tributary/transport'
import { CATALOG_INTERVAL_MS } from '../src/catalog.ts'
import { trackerConfig } from '../src/index.ts'
import {
  addresses,
  beat,
  CALL,
  cluster,
  fileRow,
  joinRecord,
  joins,
  KEY,
  leave,
  legacyTo,
  locate,
  oursTo,
  presence,
  report,
  runTracker,
  runTrackerOnItsOwn,
  sqliteUrl
} from './running-tracker.ts'

const NEW_FILE = { ...KEY, file: '' }

const list = async (
  connection: Connection,
  request: { application?: string; user?: string; after?: string; limit?: number }
): Promise<{ files: { file: string }[]; more: boolean }> => {
  const body = extension.list.encode({ application: 'media', user: 'user1', after: '', limit: 0, ...request })
  return extension.listReply.decode(await connection.call(encodeFrame(COMMANDS.LIST.code, body), CALL))
}

describe('a tracker', { timeout: 60_000 }, () => {
  it('gives a user without a group one that has an active member, and keeps to it', async t => {
    const { address, database } = await runTrackerOnItsOwn(t)
    const storage = await oursTo(t, address)
    await report(storage, { group: 'group002' })
    const client = await legacyTo(t, address)
    deepEqual(await addresses(client, NEW_FILE), { group: 'group002', addresses: ['127.0.0.1:23000'] })
    equal(await database.routes.groupOf('media', 'user1'), 'group002')
    await report(storage, { group: 'group001', port: 23_001, freeBytes: 1e15 })
    equal((await addresses(client, NEW_FILE)).group, 'group002')
  })

  it('never gives new users to a group that is not in the database, but lists it', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    const storage = await oursTo(t, address)
    await report(storage, { group: 'group009' })
    await rejects(locate(storage, NEW_FILE), { code: 'NO_STORAGE_READY' })
    const { groups } = await cluster(storage)
    deepEqual(
      groups.map(({ name, known, members }) => [name, known, members.length]),
      [
        ['group001', true, 0],
        ['group002', true, 0],
        ['group009', false, 1]
      ]
    )
  })

  it('finds a file in the group that has it, whatever the group of its user', async t => {
    const { address, database } = await runTrackerOnItsOwn(t)
    await database.routes.tie('media', 'user1', 'group001')
    await database.files.insert([fileRow(KEY, { group: 'group009' })])
    const storage = await oursTo(t, address)
    await report(storage, { group: 'group001' })
    await report(storage, { group: 'group009', port: 23_009 })
    const client = await legacyTo(t, address)
    for (let again = 0; again < 2; again++) {
      deepEqual(await addresses(client, KEY), { group: 'group009', addresses: ['127.0.0.1:23009'] })
      const located = await locate(storage, KEY)
      equal(located.group, 'group009')
      equal(located.exists, true)
    }
    equal((await addresses(client, { ...KEY, file: 'other' })).group, 'group001')
    equal((await locate(storage, { ...KEY, file: 'other' })).exists, false)
    equal((await addresses(client, NEW_FILE)).group, 'group001')
  })

  it('ties a user who asks before an upload, also by the name of the file to come', async t => {
    const { address, database } = await runTrackerOnItsOwn(t)
    const storage = await oursTo(t, address)
    for (const group of ['group001', 'group002']) await report(storage, { group })
    const { group, exists } = await locate(storage, { ...KEY, forUpload: true })
    equal(exists, false)
    equal(await database.routes.groupOf('media', 'user1'), group)
    for (let file = 0; file < 10; file++) {
      equal((await locate(storage, { ...KEY, file: `file${file}` })).group, group)
    }
  })

  it('gives a user a group in the region of its network, also where a gateway asks for it', async t => {
    const { address, database } = await runTrackerOnItsOwn(t, {
      '--network-regions': '127.0.0.0/8=here,10.1.0.0/16=eu'
    })
    await database.routes.setRegion('group001', 'here')
    await database.routes.setRegion('group002', 'eu')
    await sleep(CATALOG_INTERVAL_MS + 500)
    const storage = await oursTo(t, address)
    for (const group of ['group001', 'group002']) await report(storage, { group })
    const groupFor = async (user: string, clientIp?: string): Promise<string> => {
      const asked = { ...KEY, user, forUpload: true, ...(clientIp !== undefined && { clientIp }) }
      return (await locate(storage, asked)).group
    }
    for (let user = 0; user < 5; user++) {
      equal(await groupFor(`own ${user}`), 'group001')
      equal(await groupFor(`other ${user}`, '10.1.2.3'), 'group002')
    }
    const legacy = await legacyTo(t, address)
    equal((await addresses(legacy, { ...KEY, user: 'legacy' })).group, 'group001')
  })

  it('does not write down a user for whose files somebody only looks', async t => {
    const { address, database } = await runTrackerOnItsOwn(t)
    const storage = await oursTo(t, address)
    await report(storage)
    const users = Array.from({ length: 200 }, (_, at) => `user${at}`)
    const located = await Promise.all(users.map(user => locate(storage, { ...KEY, user })))
    ok(located.every(({ group, exists }) => group === 'group001' && !exists))
    const tied = users.filter(user => database.routes.groupOf('media', user) !== undefined)
    deepEqual(tied, [])
  })

  it('says of a file being deleted that it does not exist', async t => {
    const { address, database } = await runTrackerOnItsOwn(t)
    const row = fileRow(KEY)
    await database.files.insert([row])
    await database.files.markDeleting(KEY, row.generation)
    const storage = await oursTo(t, address)
    await report(storage)
    equal((await locate(storage, KEY)).exists, false)
  })

  it('refuses an application that it does not know, and learns of a new one', async t => {
    const clock = new ManualClock()
    const { address, database } = await runTrackerOnItsOwn(t, {}, { clock })
    const storage = await oursTo(t, address)
    await report(storage)
    const other = { ...NEW_FILE, application: 'other' }
    await rejects(locate(storage, other), { code: 'UNKNOWN_APPLICATION' })
    await rejects(list(storage, { application: 'other' }), { code: 'UNKNOWN_APPLICATION' })
    await rejects(addresses(await legacyTo(t, address), other), {
      code: 'PEER_ERROR',
      message: /unknown appid: other/
    })
    await database.routes.addApplication('other')
    await clock.advance(1_100)
    equal((await locate(storage, other)).group, 'group001')
  })

  it('agrees with a second tracker on the same database', async t => {
    const { address, database, url } = await runTrackerOnItsOwn(t)
    const second = await runTracker(t, { '--database': url })
    const clients: Connection[] = []
    for (const tracker of [address, second.address]) {
      const storage = await oursTo(t, tracker)
      for (const group of ['group001', 'group002']) await report(storage, { group })
      clients.push(storage)
    }
    for (let user = 0; user < 10; user++) {
      const key = { ...NEW_FILE, user: `user${user}` }
      const [one, two] = await Promise.all(clients.map(client => locate(client, key)))
      equal(one!.group, two!.group)
      equal(await database.routes.groupOf('media', key.user), one!.group)
    }
  })

  it('has the whole table again soon after a restart', async t => {
    const url = await sqliteUrl(t)
    const first = await runTracker(t, { '--database': url })
    const { port } = first.address
    await report(await oursTo(t, first.address), { joinedAtS: 111 })
    await joins(await legacyTo(t, first.address), joinRecord({ port: 1, joinedAtS: 222 }))
    await first.stop()
    const second = await runTracker(t, { '--database': url, '--port': String(port) })
    const legacy = await legacyTo(t, second.address)
    await rejects(beat(legacy, { group: 'group001', hostName: 'host1' }), { code: 'PEER_ERROR' })
    const again = await legacyTo(t, second.address)
    await joins(again, joinRecord({ port: 1, joinedAtS: 222 }))
    await beat(again, { group: 'group001', hostName: 'host1' })
    const ours = await oursTo(t, second.address)
    await report(ours, { joinedAtS: 111 })
    const [group] = (await cluster(ours)).groups
    const members = group!.members.toSorted((a, b) => a.joinedAtS - b.joinedAtS)
    deepEqual(
      members.map(({ joinedAtS, status }) => [joinedAtS, status]),
      [
        [111, 'ACTIVE'],
        [222, 'ACTIVE']
      ]
    )
  })

  it('hands out legacy servers and ours side by side, and none that left', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    const legacy = await legacyTo(t, address)
    await joins(legacy, joinRecord({ port: 1 }))
    await rejects(addresses(await legacyTo(t, address), NEW_FILE), { message: /no group has an active/ })
    await beat(legacy, { group: 'group001', hostName: 'host1' })
    const ours = await oursTo(t, address)
    await report(ours, { hostName: 'host2', port: 2 })
    const client = await legacyTo(t, address)
    deepEqual((await addresses(client, NEW_FILE)).addresses.sort(), ['127.0.0.1:1', '127.0.0.1:2'])
    await leave(ours, { group: 'group001', hostName: 'host2', port: 2 })
    deepEqual((await addresses(client, NEW_FILE)).addresses, ['127.0.0.1:1'])
    const [group] = (await cluster(ours)).groups
    deepEqual(
      group!.members.map(({ legacy, status }) => [legacy, status]),
      [
        [true, 'ACTIVE'],
        [false, 'OFFLINE']
      ]
    )
  })

  it('gives a heartbeat to the server that joined on the same connection', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    const one = await legacyTo(t, address)
    const two = await legacyTo(t, address)
    await joins(one, joinRecord({ port: 1 }))
    await joins(two, joinRecord({ port: 2 }))
    await beat(two, { group: 'group001', hostName: 'host1' })
    deepEqual((await addresses(await legacyTo(t, address), NEW_FILE)).addresses, ['127.0.0.1:2'])
  })

  it('puts a server last as soon as its connection is lost, and first again when it reports', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    const [one, two] = [await oursTo(t, address), await oursTo(t, address)]
    await report(one, { port: 1 })
    await report(two, { port: 2 })
    const client = await legacyTo(t, address)
    one.destroy()
    const firsts = async (): Promise<Set<string>> => {
      const seen = new Set<string>()
      for (let at = 0; at < 40; at++) seen.add((await addresses(client, NEW_FILE)).addresses[0]!)
      return seen
    }
    for (let tries = 0; tries < 50 && (await firsts()).size > 1; tries++) await sleep(20)
    deepEqual(await firsts(), new Set(['127.0.0.1:2']))
    await report(await oursTo(t, address), { port: 1 })
    equal((await firsts()).size, 2)
  })

  it('does not mind the end of a connection over which a server no longer reports', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    const [old, fresh] = [await oursTo(t, address), await oursTo(t, address)]
    for (const [port, connection] of [
      [1, old],
      [2, fresh],
      [1, fresh]
    ] as const)
      await report(connection, { port })
    old.destroy()
    await sleep(100)
    const client = await legacyTo(t, address)
    const seen = new Set<string>()
    for (let at = 0; at < 40; at++) seen.add((await addresses(client, NEW_FILE)).addresses[0]!)
    equal(seen.size, 2)
  })

  it('marks a server OFFLINE by itself when heartbeats stop', async t => {
    const clock = new ManualClock()
    const { address } = await runTrackerOnItsOwn(t, { '--check-interval-s': '30' }, { clock })
    const storage = await oursTo(t, address)
    await report(storage)
    await clock.advance(29_000)
    equal((await cluster(storage)).groups[0]!.members[0]!.status, 'ACTIVE')
    await clock.advance(2_000)
    const [group] = (await cluster(storage)).groups
    equal(group!.members[0]!.status, 'OFFLINE')
    await rejects(locate(storage, NEW_FILE), { code: 'NO_STORAGE_READY' })
  })

  it('tells its check interval to those who report', async t => {
    const { address } = await runTrackerOnItsOwn(t, { '--check-interval-s': '12.5' })
    const storage = await oursTo(t, address)
    const request = encodeFrame(COMMANDS.PRESENCE.code, extension.presence.encode(presence()))
    deepEqual(extension.presenceReply.decode(await storage.call(request, CALL)), { checkIntervalMs: 12_500 })
  })

  it('lists a user page by page in byte order', async t => {
    const { address, database } = await runTrackerOnItsOwn(t)
    const files = ['b', 'B', 'a ', 'a', 'é', 'z', '10', '9']
    await database.files.insert([
      ...files.map(file => fileRow({ ...KEY, file })),
      fileRow({ ...KEY, user: 'user2' })
    ])
    const expected = [...files].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const connection = await oursTo(t, address)
    const seen: string[] = []
    let more = true
    while (more) {
      const page = await list(connection, { after: seen.at(-1) ?? '', limit: 3 })
      ok(page.files.length <= 3)
      seen.push(...page.files.map(({ file }) => file))
      more = page.more
    }
    deepEqual(seen, expected)
    deepEqual(await list(connection, { after: 'é' }), { files: [], more: false })
    deepEqual(await list(connection, { user: 'nobody' }), { files: [], more: false })
    await rejects(list(connection, { user: '' }), { code: 'BAD_FIELD' })
    await rejects(list(connection, { after: 'x'.repeat(128) }), { code: 'BAD_FIELD' })
  })

  it('cuts a page that would become too long a reply, and goes on after it', async t => {
    const { address, database } = await runTrackerOnItsOwn(t)
    const rows = Array.from({ length: 400 }, (_, at) =>
      fileRow({ ...KEY, file: `file${String(at).padStart(4, '0')}` }, { name: 'n'.repeat(1_000) })
    )
    await database.files.insert(rows)
    const connection = await oursTo(t, address)
    const seen: string[] = []
    for (let pages = 0, more = true; more; pages++) {
      const page = await list(connection, { after: seen.at(-1) ?? '', limit: 1_000 })
      ok(page.files.length < 400 && pages < 4)
      seen.push(...page.files.map(({ file }) => file))
      more = page.more
    }
    deepEqual(
      seen,
      rows.map(({ file }) => file)
    )
  })

  it('does not let a host name make lines of its own in the listing', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    const storage = await legacyTo(t, address)
    await joins(storage, joinRecord({ hostName: 'evil\n                  STATUS: ACTIVE' }))
    const text = (await storage.call(encodeFrame(COMMANDS.GROUPS.code), CALL)).toString()
    equal(text.match(/^ *STATUS: /gm)?.length, 1)
    match(text, /BEAT TIME: -\n/)
    equal(text.at(-1), '\0')
  })

  it('knows the extensions for those only who said HELLO', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    await rejects(cluster(await legacyTo(t, address)), { code: 'PEER_ERROR' })
  })

  it('knows a peer by its IPv4 address, though it listens on IPv6 for both', async t => {
    if (!Object.values(networkInterfaces()).some(list => list?.some(({ address }) => address === '::1'))) {
      return t.skip('this machine has no IPv6')
    }
    const { address } = await runTrackerOnItsOwn(t, { '--host': '::', '--allow': 'loopback' })
    const mapped = await oursTo(t, { host: '127.0.0.1', port: address.port })
    await report(mapped, { port: 1 })
    const six = await oursTo(t, { host: '::1', port: address.port })
    await report(six, { port: 2 })
    const legacy = await legacyTo(t, { host: '::1', port: address.port })
    for (let at = 0; at < 10; at++) deepEqual((await addresses(legacy, NEW_FILE)).addresses, ['127.0.0.1:1'])
    deepEqual(
      (await locate(six, NEW_FILE)).addresses.sort((a, b) => a.port - b.port),
      [
        { host: '127.0.0.1', port: 1, family: 4 },
        { host: '::1', port: 2, family: 6 }
      ]
    )
  })

  it('refuses peers outside its networks', async t => {
    const { address } = await runTrackerOnItsOwn(t, { '--allow': '192.0.2.0/24' })
    const socket = connect(address)
    socket.on('error', () => {})
    await once(socket, 'close')
  })
})

describe('a tracker whose database is away', { timeout: 60_000 }, () => {
  it('goes on with known users and files, and fails for others within 2 s', async t => {
    const clock = new ManualClock()
    const { address, database } = await runTrackerOnItsOwn(t, {}, { clock })
    await database.files.insert([fileRow(KEY, { group: 'group002' })])
    const storage = await oursTo(t, address)
    const legacy = await legacyTo(t, address)
    await report(storage, { group: 'group001' })
    await report(storage, { group: 'group002', port: 23_002 })
    await locate(storage, KEY)
    const { group } = await locate(storage, NEW_FILE)
    await database.close()
    for (const waitMs of [0, 10_000, 100_000]) {
      await clock.advance(waitMs) // caches grow stale, and the tracker finds out
      await report(storage, { group: 'group001' })
      await report(storage, { group: 'group002', port: 23_002 })
      const startedMs = performance.now()
      deepEqual((await locate(storage, KEY)).group, 'group002')
      equal((await addresses(legacy, KEY)).group, 'group002')
      equal((await locate(storage, NEW_FILE)).group, group)
      equal((await addresses(legacy, { ...KEY, file: 'never asked for' })).group, group)
      for (const key of [
        { ...KEY, file: 'never asked for' },
        { ...KEY, user: 'somebody new' },
        // One that was not known a moment ago is unknown; later nobody can tell.
        ...(waitMs > 0 ? [{ ...KEY, application: 'unknown' }] : [])
      ]) {
        await rejects(locate(storage, key), { code: 'DATABASE_UNAVAILABLE' }, JSON.stringify(key))
      }
      await rejects(list(storage, {}), { code: 'DATABASE_UNAVAILABLE' })
      ok(performance.now() - startedMs < 2_000)
    }
    const { groups } = await cluster(storage)
    deepEqual(
      groups.map(({ name, known }) => [name, known]),
      [
        ['group001', true],
        ['group002', true]
      ]
    )
  })

  it('is not ready, and says why', async t => {
    const port = await freePort()
    const clock = new ManualClock()
    const { tracker, database } = await runTrackerOnItsOwn(t, { '--admin-port': String(port) }, { clock })
    const url = `http://${tracker.adminAddress!.host}:${tracker.adminAddress!.port}`
    equal((await fetch(`${url}/readyz`)).status, 200)
    await database.close()
    await clock.advance(1_000)
    const response = await fetch(`${url}/readyz`)
    equal(response.status, 503)
    match(await response.text(), /the database does not answer/)
    equal((await fetch(`${url}/healthz`)).status, 200)
    const metrics = await (await fetch(`${url}/metrics`)).text()
    match(metrics, /tributary_tracker_database_up 0/)
  })

  it('shows requests, storage servers and heartbeats to a scraper', async t => {
    const port = await freePort()
    const { tracker, address } = await runTrackerOnItsOwn(t, { '--admin-port': String(port) })
    await report(await oursTo(t, address), { freeBytes: 12_345 })
    await addresses(await legacyTo(t, address), NEW_FILE)
    const { host } = tracker.adminAddress!
    const metrics = await (await fetch(`http://${host}:${port}/metrics`)).text()
    match(metrics, /tributary_tracker_requests_total\{command="SADDRS",outcome="ok"\} 1/)
    match(metrics, /tributary_tracker_storages\{group="group001",status="ACTIVE"\} 1/)
    match(
      metrics,
      /tributary_tracker_heartbeat_age_seconds\{group="group001",host="host1",address="127.0.0.1:23000"\} 0/
    )
    match(metrics, /tributary_tracker_free_bytes\{[^}]*\} 12345/)
  })

  it('does not start, and says so', async t => {
    const port = await freePort()
    await rejects(runTracker(t, { '--database': `mysql://root@127.0.0.1:${port}/nothing` }), {
      code: 'DATABASE_UNAVAILABLE'
    })
  })
})

describe('hostile peers of a tracker', { timeout: 60_000 }, () => {
  it('get an error for fields that cannot be', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    const good = encodeJoin(joinRecord())
    const changed = (offset: number, ...bytes: number[]): Buffer => {
      const body = Buffer.from(good)
      body.set(bytes, offset)
      return encodeFrame(COMMANDS.JOIN.code, body)
    }
    const unterminated = Buffer.alloc(FILE_KEY_BYTES, 0x61)
    const noUser = encodeFileKey(KEY)
    noUser.fill(0, 16, 272)
    const requests = [
      changed(153, 0, 0), // port 0
      changed(24, 0), // no host name
      changed(7, 0x2d), // group name -roup001
      changed(7, ...Buffer.alloc(17, 0x61)), // group name without NUL
      encodeFrame(COMMANDS.JOIN.code, good.subarray(1)),
      encodeFrame(COMMANDS.SADDRS.code, unterminated),
      encodeFrame(COMMANDS.SADDRS.code, noUser),
      encodeFrame(COMMANDS.GROUPS.code, Buffer.alloc(1)),
      Buffer.from('7fffffffffffffff0c00', 'hex')
    ]
    for (const request of requests) {
      const connection = await legacyTo(t, address)
      await rejects(connection.call(request, CALL), { code: 'PEER_ERROR' }, request.toString('hex', 0, 40))
    }
    const ours = await oursTo(t, address)
    for (const name of ['PRESENCE', 'LEAVE', 'LOCATE', 'LIST'] as const) {
      for (const body of [Buffer.alloc(0), Buffer.from('ffff', 'hex'), Buffer.alloc(60_000, 0xff)]) {
        await rejects(ours.call(encodeFrame(COMMANDS[name].code, body), CALL), { code: 'BAD_FIELD' })
      }
    }
    equal((await cluster(ours)).groups.flatMap(({ members }) => members).length, 0)
  })

  it('cannot disturb others by half frames, resets and many idle connections', async t => {
    const { address } = await runTrackerOnItsOwn(t)
    await report(await oursTo(t, address))
    const request = encodeFrame(COMMANDS.SADDRS.code, encodeFileKey(KEY))
    const sockets = Array.from({ length: 200 }, (_, at) => {
      const socket = connect(address)
      socket.on('error', () => {})
      if (at % 2 === 0) socket.write(request.subarray(0, at))
      return socket
    })
    await Promise.all(sockets.map(socket => once(socket, 'connect')))
    for (const socket of sockets.slice(0, 100)) socket.resetAndDestroy()
    const client = await legacyTo(t, address)
    equal((await addresses(client, KEY)).group, 'group001')
    for (const socket of sockets) socket.destroy()
  })
})

describe('the configuration of the tracker', () => {
  const problemsOf = (flags: Record<string, unknown>): string[] => {
    try {
      loadConfig(trackerConfig, { flags: { '--database': 'sqlite:/x', ...flags } })
    } catch (error) {
      if (error instanceof ConfigError) return error.problems.map(({ key }) => key)
      throw error
    }
    return []
  }

  it('listens beyond loopback only with an allow list or an explicit insecure', () => {
    deepEqual(problemsOf({ '--host': '0.0.0.0' }), ['tracker.allow'])
    deepEqual(problemsOf({ '--host': '0.0.0.0', '--allow': 'private' }), [])
    deepEqual(problemsOf({ '--host': '::', '--insecure': true }), [])
  })

  it('wants a database', () => {
    deepEqual(problemsOf({ '--database': '' }), ['tracker.database'])
  })
})

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
