/** A storage server over the wire, in raw frames. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { openDatabase, type Database, type FileRow } from '@tributary/database'
import {
  COMMANDS,
  decodeFileKey,
  encodeFileKey,
  encodeFrame,
  extension,
  HEADER_BYTES,
  type FileKey
} from '@tributary/protocol'
import { mountTmpfs, noMounts, unmount } from '../../../test/faults/mounts.ts'
import { contentOf } from '../../../test/faults/random.ts'
import { Lost, uploadHead, WirePeer, type Refused } from '../../../test/faults/wire-peer.ts'
import { startCluster, type TestCluster } from '../../../test/testkit/cluster.ts'

const VECTORS = new URL('../../protocol/vectors/recorded.json', import.meta.url)
/** More than a small upload. */
const LARGE_BYTES = 300_000
const PNG = Buffer.from(
  '89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154',
  'hex'
)
let number = 0
const newKey = (user = 'wire'): FileKey => ({ application: 'media', user, file: `file-${number++}` })
const nonceOf = (byte: string): string => byte.repeat(16)

describe('a storage server', { timeout: 120_000 }, () => {
  let cluster: TestCluster
  let database: Database
  let peer: WirePeer
  let other: WirePeer

  before(async () => {
    cluster = await startCluster({
      storages: 2,
      applications: ['media', 'tnvideo'],
      storage: { workers: '2' }
    })
    database = await openDatabase(cluster.databaseUrl)
  })
  after(async () => {
    await database?.close()
    await cluster?.stop()
  })
  const connectBoth = async (): Promise<void> => {
    peer?.close()
    other?.close()
    peer = await WirePeer.greeted(cluster.storages[0]!)
    other = await WirePeer.greeted(cluster.storages[1]!)
  }
  const again = async (): Promise<WirePeer> => {
    if (!peer || peer.lost || other.lost) await connectBoth()
    return peer
  }
  const root = (): string => cluster.storeRoots[0]!

  it('answers the recorded vectors as the servers that they were recorded from', async () => {
    const { vectors } = JSON.parse(readFileSync(VECTORS, 'utf8')) as {
      vectors: { name: string; request: string; reply: string }[]
    }
    const ours = vectors.filter(({ name }) => name.startsWith('storage.'))
    for (const { name, request, reply } of ours) {
      if (name === 'storage.filesize.padded_with_garbage') {
        const key = decodeFileKey(Buffer.from(request, 'hex'), HEADER_BYTES)
        await (await again()).upload(key, Buffer.alloc(32))
      }
      const legacy = await WirePeer.open(cluster.storages[0]!)
      const expected = Buffer.from(reply, 'hex')
      const got = await legacy.exchange(Buffer.from(request, 'hex'))
      legacy.close()
      equal(got.command, expected[8], name)
      equal(got.status, expected.readInt8(9), name)
      if (got.status === 0) deepEqual(got.body, expected.subarray(HEADER_BYTES), name)
      else {
        equal(got.errno, expected.readInt16BE(HEADER_BYTES), name) // a legacy peer knows one number
        match(got.text, /^\[.+\] /)
      }
    }
  })

  it('tells our own programs which error it is', async () => {
    await rejects((await again()).size(newKey()), { code: 'FILE_NOT_FOUND' })
  })

  it('stores files of every size, none included, and gives them back by every member', async () => {
    await again()
    for (const sizeBytes of [0, 1, 4_096, 65_535, 65_536, 65_537, 1_048_576, 1_048_577, 2_500_000]) {
      const key = newKey()
      const content = contentOf(key.file, sizeBytes)
      await peer.upload(key, content)
      equal(await other.size(key), sizeBytes)
      ok((await other.download(key)).equals(content))
      ok((await peer.download(key)).equals(content))
    }
  })

  it('keeps to the edges of DOWNLOAD', async () => {
    for (const sizeBytes of [32, LARGE_BYTES]) {
      const key = newKey()
      const content = contentOf(key.file, sizeBytes)
      await (await again()).upload(key, content)
      ok((await peer.download(key, 10, 5)).equals(content.subarray(10, 15)))
      ok((await peer.download(key, 7)).equals(content.subarray(7)))
      equal((await peer.download(key, sizeBytes)).byteLength, 0)
      ok((await peer.download(key, 0, sizeBytes)).equals(content))
      for (const [offset, bytes] of [
        [sizeBytes + 1, 0],
        [sizeBytes, 1],
        [1, sizeBytes]
      ] as const) {
        await rejects((await again()).download(key, offset, bytes), { code: 'BAD_RANGE' })
      }
      const negative = encodeFrame(
        COMMANDS.DOWNLOAD.code,
        encodeFileKey(key),
        Buffer.from('ffffffffffffffff0000000000000000', 'hex')
      )
      await rejects((await again()).ask(negative), { code: 'BAD_RANGE' })
    }
  })

  it('refuses a size that is not what the frame carries, and takes nothing of it', async () => {
    const key = newKey()
    for (const sizeField of [31, 33, -1, Number.MAX_SAFE_INTEGER]) {
      const fresh = await WirePeer.greeted(cluster.storages[0]!)
      const reply = await fresh.exchange(uploadHead(key, 32, sizeField), Buffer.alloc(32))
      equal(reply.status, -3)
      fresh.close()
    }
    await rejects((await again()).size(key), { code: 'FILE_NOT_FOUND' })
  })

  it('refuses an application that is not known, small or large', async () => {
    for (const sizeBytes of [10, LARGE_BYTES]) {
      const key = { ...newKey(), application: 'nosuch' }
      const fresh = await WirePeer.greeted(cluster.storages[0]!)
      await rejects(fresh.upload(key, Buffer.alloc(sizeBytes)), { code: 'UNKNOWN_APPLICATION' })
      fresh.close()
    }
  })

  it('takes an upload for an application that was added a moment ago', async () => {
    const key = { ...newKey(), application: 'added' }
    const fresh = await WirePeer.greeted(cluster.storages[0]!)
    await rejects(fresh.upload(key, Buffer.alloc(10)), { code: 'UNKNOWN_APPLICATION' })
    await database.routes.addApplication('added')
    const next = await WirePeer.greeted(cluster.storages[0]!)
    await next.upload(key, Buffer.alloc(10))
    next.close()
    fresh.close()
  })

  it('leaves nothing of an upload whose connection breaks in mid-body', async () => {
    const before = await disk(root())
    for (const sizeBytes of [5_000, LARGE_BYTES, 4_000_000]) {
      const key = newKey()
      const fresh = await WirePeer.open(cluster.storages[0]!)
      const lost = rejects(fresh.reply(), Lost)
      fresh.socket.write(uploadHead(key, sizeBytes))
      fresh.socket.write(Buffer.alloc(sizeBytes - 1_000))
      await sleep(50)
      fresh.socket.resetAndDestroy()
      await lost
      await until(async () => (await disk(root())).temporary.length === 0)
      await rejects((await again()).size(key), { code: 'FILE_NOT_FOUND' })
      equal(await database.files.find(key), undefined)
    }
    deepEqual((await disk(root())).files, before.files)
  })

  it('refuses a file id that is taken, leaves the file as it is, and reads the refused body to its end', async () => {
    for (const [firstBytes, secondBytes] of [
      [100, 200],
      [100, LARGE_BYTES],
      [LARGE_BYTES, 100],
      [LARGE_BYTES, 20_000_000]
    ] as const) {
      const key = newKey()
      const content = contentOf(key.file, firstBytes)
      await (await again()).upload(key, content)
      const fresh = await WirePeer.greeted(cluster.storages[1]!)
      await rejects(fresh.upload(key, Buffer.alloc(secondBytes)), { code: 'FILE_EXISTS' })
      fresh.close()
      ok((await (await again()).download(key)).equals(content))
    }
    deepEqual((await disk(root())).temporary, [])
    equal((await rowsOf(database, root())).length, (await disk(root())).files.length)
  })

  it('lets exactly one of eight clients have a file id', async () => {
    for (const sizeBytes of [1_000, LARGE_BYTES]) {
      const key = newKey()
      const peers = await Promise.all(
        Array.from({ length: 8 }, (_, index) => WirePeer.greeted(cluster.storages[index % 2]!))
      )
      const contents = peers.map((_, index) => contentOf(`racer-${index}`, sizeBytes + index))
      const outcomes = await Promise.allSettled(
        peers.map((racer, index) => racer.upload(key, contents[index]!))
      )
      const winners = outcomes.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []))
      equal(winners.length, 1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') equal((outcome.reason as Refused).code, 'FILE_EXISTS')
      }
      ok((await (await again()).download(key)).equals(contents[winners[0]!]!))
      for (const racer of peers) racer.close()
    }
    deepEqual((await disk(root())).temporary, [])
    equal((await rowsOf(database, root())).length, (await disk(root())).files.length)
  })

  it('never serves old bytes for an id that was deleted and taken again', async () => {
    const key = newKey()
    const readers = await Promise.all(
      Array.from({ length: 6 }, (_, index) => WirePeer.greeted(cluster.storages[index % 2]!))
    )
    for (let round = 0; round < 12; round++) {
      const content = contentOf(`round-${round}`, round % 2 ? LARGE_BYTES : 2_000)
      await (await again()).upload(key, content)
      for (const reader of readers) ok((await reader.download(key)).equals(content), `round ${round}`)
      await other.delete(key)
      for (let index = 0; index < readers.length; index++) {
        await rejects(readers[index]!.download(key), { code: 'FILE_NOT_FOUND' })
        if (readers[index]!.lost) readers[index] = await WirePeer.greeted(cluster.storages[index % 2]!)
      }
    }
    for (const reader of readers) reader.close()
  })

  it('lets one of two deletes at once succeed, and the id be taken again at once', async () => {
    for (let round = 0; round < 10; round++) {
      const key = newKey()
      await (await again()).upload(key, contentOf(key.file, 3_000))
      const peers = await Promise.all(cluster.storages.map(address => WirePeer.greeted(address)))
      const outcomes = await Promise.allSettled(peers.map(racer => racer.delete(key)))
      ok(outcomes.some(({ status }) => status === 'fulfilled'))
      for (const racer of peers) racer.close()
      await until(async () => (await database.files.find(key)) === undefined)
      await (await again()).upload(key, contentOf(`${key.file}-again`, 3_000))
    }
  })

  it('takes what STORE brings inline, and the same nonce again as the same upload', async () => {
    const key = newKey()
    const content = contentOf(key.file, 9_000)
    const request = { ...key, nonce: nonceOf('a1'), sizeBytes: 9_000, name: 'holiday.mp4', inline: true }
    const first = await (await again()).store(request, content)
    equal(first.crc32, crc32(content))
    equal(first.mediaType, 'video/mp4')
    const repeated = await other.store(request, content)
    equal(repeated.generation, first.generation)
    await rejects(peer.store({ ...request, nonce: nonceOf('a2') }, content), { code: 'FILE_EXISTS' })
    const stat = await (await again()).stat(key)
    equal(stat.nonce, nonceOf('a1'))
    equal(stat.name, 'holiday.mp4')
    await rejects(peer.store({ ...request, ...newKey(), sizeBytes: 8_999 }, content), {
      code: 'SIZE_MISMATCH'
    })
  })

  it('asks for an announced body only where it takes it', async () => {
    const key = newKey()
    const content = contentOf(key.file, LARGE_BYTES)
    const request = { ...key, nonce: nonceOf('b1'), sizeBytes: LARGE_BYTES }
    ok((await (await again()).store(request)).send)
    const stored = extension.storeReply.decode(await peer.storeBody(content))
    equal(stored.sizeBytes, LARGE_BYTES)
    const repeated = await other.store(request)
    equal(repeated.send, undefined)
    equal(repeated.generation, stored.generation)
    await rejects(other.store({ ...request, nonce: nonceOf('b2') }), { code: 'FILE_EXISTS' })
    ok((await (await again()).download(key)).equals(content))
    ok((await peer.store({ ...newKey(), nonce: nonceOf('b3'), sizeBytes: 10 })).send)
    await rejects(peer.storeBody(Buffer.alloc(11)), { code: 'SIZE_MISMATCH' })
    await rejects((await again()).storeBody(Buffer.alloc(11)), { code: 'BAD_FIELD' })
    await again()
    deepEqual((await disk(root())).temporary, [])
  })

  it('takes a body of unknown size in pieces', async () => {
    const key = newKey()
    const content = contentOf(key.file, 2_000_000)
    ok((await (await again()).store({ ...key, nonce: nonceOf('c1') })).send)
    for (let at = 0; at < content.byteLength; at += 700_000) {
      equal((await peer.storeBody(content.subarray(at, at + 700_000))).byteLength, 0)
    }
    const stored = extension.storeReply.decode(await peer.storeBody(Buffer.alloc(0)))
    equal(stored.sizeBytes, content.byteLength)
    ok((await other.download(key)).equals(content))
    const empty = newKey()
    ok((await peer.store({ ...empty, nonce: nonceOf('c2') })).send)
    await peer.storeBody(Buffer.alloc(0))
    equal(await peer.size(empty), 0)
  })

  it('drops an announced upload with its connection', async () => {
    const fresh = await WirePeer.greeted(cluster.storages[0]!)
    ok((await fresh.store({ ...newKey(), nonce: nonceOf('d1') })).send)
    await fresh.storeBody(Buffer.alloc(100_000))
    equal((await disk(root())).temporary.length, 1)
    fresh.close()
    await until(async () => (await disk(root())).temporary.length === 0)
  })

  it('answers FETCH with facts, conditions and ranges in one round trip', async () => {
    for (const sizeBytes of [1_000, LARGE_BYTES]) {
      const key = newKey()
      const content = contentOf(key.file, sizeBytes)
      await (await again()).upload(key, content)
      const whole = await peer.fetch(key)
      ok(whole.content.equals(content))
      const { generation } = whole.facts
      equal(whole.facts.crc32, crc32(content))
      equal((await peer.fetch({ ...key, unlessGeneration: generation })).facts.notModified, true)
      const ranges: [object, Buffer][] = [
        [{ start: 10, end: 19 }, content.subarray(10, 20)],
        [{ start: sizeBytes - 5 }, content.subarray(-5)],
        [{ start: 0, end: sizeBytes * 2 }, content],
        [{ suffix: 7 }, content.subarray(-7)],
        [{ suffix: sizeBytes * 2 }, content],
        [{ start: 3, end: 4, rangeGeneration: generation }, content.subarray(3, 5)],
        [{ start: 3, end: 4, rangeGeneration: nonceOf('ee') }, content]
      ]
      for (const [range, expected] of ranges) {
        const got = await peer.fetch({ ...key, ...range })
        ok(got.content.equals(expected), JSON.stringify(range))
      }
      equal((await peer.fetch({ ...key, start: sizeBytes })).facts.unsatisfiable, true)
      equal((await peer.fetch({ ...key, suffix: 0 })).facts.unsatisfiable, true)
      const omitted = await peer.fetch({ ...key, contentBytesMax: 10 })
      equal(omitted.facts.omitted, true)
      equal(omitted.content.byteLength, 0)
      await rejects(peer.fetch({ ...key, generation: nonceOf('ee') }), { code: 'GENERATION_MISMATCH' })
    }
  })

  it('finds out what kind of file a plain upload was, and writes it into the index by itself', async () => {
    const key = newKey()
    await (await again()).upload(key, PNG)
    await until(async () => (await database.files.find(key))?.mediaType === 'image/png')
    const large = newKey()
    await peer.upload(large, Buffer.concat([PNG, Buffer.alloc(LARGE_BYTES)]))
    await until(async () => (await database.files.find(large))?.mediaType === 'image/png')
    equal((await other.stat(large)).mediaType, 'image/png')
  })

  it('finishes a transfer in hand when it is stopped in order', async () => {
    const key = newKey()
    const content = contentOf(key.file, 3_000_000)
    const fresh = await WirePeer.greeted(cluster.storages[1]!)
    const reply = fresh.exchange(uploadHead(key, content.byteLength), content.subarray(0, 1_000_000))
    await sleep(50)
    const restarted = cluster.restartStorage(1)
    await sleep(200)
    fresh.socket.write(content.subarray(1_000_000))
    equal((await reply).status, 0)
    fresh.close()
    await restarted
    await connectBoth()
    ok((await other.download(key)).equals(content))
  })
})

describe('the disk of a storage server', { skip: noMounts() ?? false, timeout: 60_000 }, () => {
  it('full: it says so, keeps nothing by halves, and goes on when there is room again', async t => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-full-'))
    t.after(async () => {
      await unmount(join(folder, 'store'))
      await rm(folder, { recursive: true, force: true })
    })
    const store = join(folder, 'store')
    await mountTmpfs(t, store, '48M')
    const cluster = await startCluster({
      folder,
      storeRoots: [store],
      storage: { 'reserve-bytes': '0', 'redo-bytes': '16MiB' }
    })
    t.after(() => cluster.stop())
    const at = cluster.storages[0]!
    const kept: FileKey[] = []
    const refusals = new Set<string>()
    for (const sizeBytes of [8_000_000, 8_000_000, 60_000]) {
      for (let index = 0; index < 400; index++) {
        const key = newKey('full')
        const peer = await WirePeer.greeted(at)
        const error = await peer.upload(key, contentOf(key.file, sizeBytes)).then(
          () => undefined,
          (refused: unknown) => refused as Refused
        )
        peer.close()
        if (error) {
          refusals.add(String(error.code ?? error))
          break
        }
        kept.push(key)
      }
    }
    deepEqual([...refusals], ['NO_SPACE'])
    ok(kept.length > 3)
    deepEqual((await disk(store)).temporary, [])
    equal((await disk(store)).files.length, kept.length)
    const peer = await WirePeer.greeted(at)
    for (const key of kept) ok((await peer.download(key)).equals(contentOf(key.file, await peer.size(key))))
    // Bodies of unknown size stop at the same mark.
    ok((await peer.store({ ...newKey('full'), nonce: nonceOf('f1') })).send)
    await rejects(peer.storeBody(Buffer.alloc(16_000_000)), { code: 'NO_SPACE' })
    const next = await WirePeer.greeted(at)
    for (const key of kept.splice(0, 3)) await next.delete(key)
    const key = newKey('full')
    await until(async () => {
      const writer = await WirePeer.greeted(at)
      const taken = await writer.upload(key, contentOf(key.file, 4_000_000)).then(
        () => true,
        () => false
      )
      writer.close()
      return taken
    })
    ok((await next.download(key)).equals(contentOf(key.file, 4_000_000)))
    next.close()
  })

  it('of several, the one with the most room is taken, the reserve never', async t => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-rooms-'))
    const [small, large] = [join(folder, 'small'), join(folder, 'large')]
    t.after(async () => {
      for (const path of [small, large]) await unmount(path)
      await rm(folder, { recursive: true, force: true })
    })
    await mountTmpfs(t, small, '50M')
    await mountTmpfs(t, large, '70M')
    const cluster = await startCluster({
      folder,
      storeRoots: [small, large],
      storage: { 'reserve-bytes': '30MiB', durability: 'page-cache' }
    })
    t.after(() => cluster.stop())
    const peer = await WirePeer.greeted(cluster.storages[0]!)
    const tooMuch = newKey('rooms')
    await rejects(peer.upload(tooMuch, Buffer.alloc(45_000_000)), { code: 'NO_SPACE' })
    const writer = await WirePeer.greeted(cluster.storages[0]!)
    for (let index = 0; index < 2; index++) {
      await writer.upload(newKey('rooms'), Buffer.alloc(9_000_000))
      await sleep(1_200) // free space is looked at once a second
    }
    equal((await disk(large)).files.length, 2)
    for (let index = 0; index < 4; index++) await writer.upload(newKey('rooms'), Buffer.alloc(4_000_000))
    await sleep(1_200)
    await writer.upload(newKey('rooms'), Buffer.alloc(1_000_000))
    ok((await disk(small)).files.length > 0)
    peer.close()
    writer.close()
  })
})

interface Disk {
  files: string[]
  temporary: string[]
}

async function disk(root: string): Promise<Disk> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(root.length + 1))
  return {
    files: paths.filter(path => !path.startsWith('.')).sort(),
    temporary: paths.filter(path => path.startsWith('.tmp/'))
  }
}

async function rowsOf(database: Database, root: string): Promise<FileRow[]> {
  const { store } = JSON.parse(readFileSync(join(root, '.tributary-store'), 'utf8')) as { store: string }
  return database.files.listStore({ store, limit: 10_000 })
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 10_000
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error('it did not happen in 10 s')
    await sleep(20)
  }
}
