/**
 * Versions side by side, as during an upgrade: running servers of today, and a peer of a later version that says more than
 * they know, or of an earlier one that says less.
 */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { crc32 } from 'node:zlib'
import {
  COMMANDS,
  encodeFieldBlock,
  encodeFrame,
  extension,
  HELLO_OF,
  splitFieldBlock,
  type Role
} from '@tributary/protocol'
import { contentOf } from '../faults/random.ts'
import { Refused, WirePeer } from '../faults/wire-peer.ts'
import { cleanUps } from '../testkit/clean-ups.ts'
import { startSmallCluster, type RoleServer } from '../testkit/role-processes.ts'
import { TributaryProcess, until } from '../testkit/tributary-process.ts'

const SERVES_WITHIN_MS = 40_000
const UNKNOWN_TAG = 60_001
/** No version of today has a command of this number. */
const LATER_COMMAND = 120
const LATER_FEATURES = 2 ** 40 + 7
const NONCE = '00112233445566778899aabbccddeeff'

function laterField(): Buffer {
  const head = Buffer.alloc(6)
  head.writeUInt16BE(UNKNOWN_TAG)
  head.writeUInt32BE(3, 2)
  return Buffer.concat([head, Buffer.from('new')])
}

/** A body as a later version writes it. */
function later(fields: Buffer): Buffer {
  return Buffer.concat([laterField(), fields, laterField()])
}

function helloOf(range: [min: number, max: number], features = LATER_FEATURES): Buffer {
  return later(
    extension.hello.encode({
      protocolMin: range[0],
      protocolMax: range[1],
      role: 'client',
      features,
      timeMs: Date.now(),
      nonce: NONCE,
      version: '9.0.0'
    })
  )
}

describe('versions side by side', { timeout: 120_000 }, () => {
  const endings: (() => unknown)[] = []
  const afterwards = cleanUps({ after: callback => void endings.push(callback) })
  let servers: Record<Role, RoleServer>

  before(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-versions-'))
    afterwards(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
    const { tracker, ids, members } = await startSmallCluster(folder, afterwards, ['storage'])
    servers = { tracker, id: ids, storage: members[0]! }
    await until('the storage server is handed out', SERVES_WITHIN_MS, async () => {
      const groups = new TributaryProcess(['groups', '-t', tracker.address], { folder })
      await groups.ended
      return groups.out.includes('1 of 1 active')
    })
  })
  after(async () => {
    for (const end of endings) await end()
  })

  const meet = async (
    t: TestContext,
    role: Role,
    hello: Buffer
  ): Promise<{ peer: WirePeer; reply: Buffer }> => {
    const peer = await WirePeer.open({ host: '127.0.0.1', port: servers[role].port })
    t.after(() => peer.close())
    return { peer, reply: await peer.ask(encodeFrame(HELLO_OF[role].code, hello)) }
  }

  for (const role of ['tracker', 'id', 'storage'] as const) {
    it(`a ${role} server greets a later program by what both know, and passes over what it does not`, async t => {
      const { peer, reply } = await meet(t, role, helloOf([1, 9]))
      const hello = extension.hello.decode(reply)
      ok(hello.protocolMin <= 1 && hello.protocolMax >= 1)
      equal(hello.role, role)
      // A command of a later version is refused by its name, and the connection goes on.
      const refused = await peer.exchange(encodeFrame(LATER_COMMAND, Buffer.from('whatever')))
      equal(new Refused(refused).code, 'UNKNOWN_COMMAND')
      match(refused.text, /unknown command: 120/)
      const again = await peer.ask(encodeFrame(HELLO_OF[role].code, helloOf([1, 9])))
      equal(extension.hello.decode(again).role, role)
    })

    it(`a ${role} server says that it has no version in common with one that is too new`, async t => {
      await rejects(meet(t, role, helloOf([8, 9])), (error: unknown) => {
        ok(error instanceof Refused)
        equal(error.code, 'VERSION_UNSUPPORTED')
        match(error.message, /versions 8 to 9/)
        return true
      })
    })
  }

  it('a tracker takes the heartbeats of a later storage server, and hands it out', async t => {
    const { peer } = await meet(t, 'tracker', helloOf([1, 9]))
    const presence = extension.presence.encode({
      version: '9.0.0',
      group: 'group001',
      hostName: 'newer',
      port: 24_999,
      startedAtS: 1,
      joinedAtS: 1,
      serving: true,
      taking: true,
      freeBytes: 2 ** 40,
      totalBytes: 2 ** 41,
      connections: 0,
      requestsPerS: 0,
      bytesPerS: 0,
      busyPermille: 0
    })
    const reply = await peer.ask(encodeFrame(COMMANDS.PRESENCE.code, later(presence)))
    ok(extension.presenceReply.decode(reply).checkIntervalMs > 0)
    const cluster = extension.clusterReply.decode(await peer.ask(encodeFrame(COMMANDS.CLUSTER.code)))
    const newer = cluster.groups[0]!.members.find(({ hostName }) => hostName === 'newer')
    equal(newer?.version, '9.0.0')
    const leave = extension.leave.encode({ group: 'group001', hostName: 'newer', port: 24_999 })
    await peer.ask(encodeFrame(COMMANDS.LEAVE.code, later(leave)))
  })

  it('an ID server serves a later storage server', async t => {
    const { peer } = await meet(t, 'id', helloOf([1, 9]))
    const wanted = extension.idBlock.encode({ key: 'a-later-store', count: 5 })
    const reply = extension.idBlockReply.decode(
      await peer.ask(encodeFrame(COMMANDS.ID_BLOCK.code, later(wanted)))
    )
    equal(reply.count, 5)
  })

  it('a storage server stores, finds and gives files to later and to earlier clients alike', async t => {
    const key = { application: 'media', user: 'versions', file: 'film' }
    const content = contentOf('film', 20_000)
    for (const [name, range, wrap] of [
      ['later', [1, 9], later],
      ['earlier', [1, 1], (fields: Buffer) => fields]
    ] as const) {
      const { peer } = await meet(t, 'storage', helloOf([...range], name === 'later' ? LATER_FEATURES : 0))
      const own = { ...key, file: `film of a ${name} client` }
      // The least that the table demands: no name, no media type.
      const store = wrap(
        extension.store.encode({ ...own, nonce: NONCE, sizeBytes: content.byteLength, inline: true })
      )
      const stored = extension.storeReply.decode(
        await peer.ask(encodeFrame(COMMANDS.STORE.code, encodeFieldBlock(store), content))
      )
      equal(stored.crc32, crc32(content))
      const fetch = wrap(extension.fetch.encode({ ...own, start: 100, end: 199 }))
      const { fields, content: part } = splitFieldBlock(
        await peer.ask(encodeFrame(COMMANDS.FETCH.code, fetch))
      )
      equal(extension.fetchReply.decode(fields).generation, stored.generation)
      deepEqual(part, content.subarray(100, 200))
      const stat = extension.statReply.decode(
        await peer.ask(encodeFrame(COMMANDS.STAT.code, wrap(extension.stat.encode(own))))
      )
      equal(stat.sizeBytes, content.byteLength)
    }
    const { peer } = await meet(t, 'tracker', helloOf([1, 9]))
    const locate = later(extension.locate.encode({ ...key, file: 'film of a later client' }))
    const located = extension.locateReply.decode(await peer.ask(encodeFrame(COMMANDS.LOCATE.code, locate)))
    equal(located.exists, true)
  })
})
