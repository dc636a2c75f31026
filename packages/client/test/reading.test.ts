import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { describe, it, type TestContext } from 'node:test'
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { COMMANDS, encodeFrame, type FileFacts } from '@tributary/protocol'
import { Client, type ClientOptions, type Fetched } from '../src/index.ts'
import {
  factsFor,
  failure,
  fetchReplyOf,
  scriptedServer,
  trackerFor,
  type Answer,
  type Request
} from './scripted-server.ts'

const KEY = { application: 'media', user: 'public', file: 'film' }
const QUICK = { callTimeoutMs: 400, connectTimeoutMs: 400, silenceMs: 600, retryForMs: 1_500 }

function clientOf(
  t: TestContext,
  trackers: { name: string }[],
  options: Partial<ClientOptions> = {}
): Client {
  const client = new Client({ trackers: trackers.map(tracker => tracker.name), ...QUICK, ...options })
  t.after(() => client.close())
  return client
}

/** A cluster of one scripted tracker and scripted storage servers that hold `content`. */
async function clusterWith(
  t: TestContext,
  content: Buffer,
  special: ((request: Request, well: () => Buffer) => Answer)[] = [],
  options: Partial<ClientOptions> = {}
) {
  const facts = factsFor(content, crc32(content))
  const count = Math.max(1, special.length)
  const storages = await Promise.all(
    Array.from({ length: count }, (_, i) =>
      scriptedServer(t, 'storage', request => {
        const well = (): Buffer => fetchReplyOf(request.body, content, facts)
        return special[i] ? special[i](request, well) : well()
      })
    )
  )
  const tracker = await trackerFor(t, storages)
  return { client: clientOf(t, [tracker], options), tracker, storages, facts }
}

async function collect(fetched: Fetched): Promise<Buffer> {
  ok(fetched.outcome === 'content')
  if (fetched.bytes) return fetched.bytes
  const parts: Buffer[] = []
  await fetched.stream!((piece, release) => {
    parts.push(Buffer.from(piece))
    release()
  })
  return Buffer.concat(parts)
}

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'tributary-client-'))
  t.after(() => rm(path, { recursive: true }))
  return path
}

describe('keeping content of small files', { timeout: 20_000 }, () => {
  const keptContentBytesMax = 10_000

  /** Bytes of content that the server sent for each FETCH. */
  async function keeping(t: TestContext, content: () => Buffer, generation: () => string) {
    const sent: number[] = []
    const { client } = await clusterWith(
      t,
      Buffer.alloc(0),
      [
        request => {
          const now = content()
          const reply = fetchReplyOf(request.body, now, factsFor(now, crc32(now), generation()))
          sent.push(reply.includes(now) ? now.byteLength : 0)
          return reply
        }
      ],
      { keptContentBytesMax }
    )
    return { client, sent, read: async () => collect(await client.fetch(KEY, {})) }
  }

  it('asks whether one that was read twice is unchanged, and has it sent no more', async t => {
    const content = randomBytes(4096)
    const { read, sent, client } = await keeping(
      t,
      () => content,
      () => 'aa01'
    )
    for (let time = 0; time < 5; time++) deepEqual(await read(), content)
    deepEqual(sent, [4096, 4096, 0, 0, 0])
    const fetched = await client.fetch(KEY, {})
    deepEqual(fetched.facts, factsFor(content, crc32(content)))
    const part = await client.fetch(KEY, { start: 1, end: 2 })
    deepEqual(await collect(part), content.subarray(1, 3))
  })

  it('gives what took its place, and its facts, at once', async t => {
    let content = randomBytes(4096)
    let generation = 'aa01'
    const { read, client } = await keeping(
      t,
      () => content,
      () => generation
    )
    for (let time = 0; time < 4; time++) deepEqual(await read(), content)
    content = randomBytes(4096)
    generation = 'aa02'
    for (let time = 0; time < 4; time++) {
      const fetched = await client.fetch(KEY, {})
      deepEqual(await collect(fetched), content)
      equal(fetched.facts.generation, 'aa02')
    }
  })

  it('never gives one that is deleted', async t => {
    const content = randomBytes(100)
    let deleted = false
    const { client } = await clusterWith(
      t,
      content,
      [(_, well) => (deleted ? failure('storage', 'FILE_NOT_FOUND') : well())],
      { keptContentBytesMax }
    )
    for (let time = 0; time < 4; time++) deepEqual(await collect(await client.fetch(KEY, {})), content)
    deleted = true
    await rejects(client.fetch(KEY, {}), { code: 'FILE_NOT_FOUND' })
  })

  it('keeps no more bytes than it may, the latest ones', async t => {
    const content = randomBytes(4096)
    let sent = 0
    const { client } = await clusterWith(
      t,
      content,
      [
        (_, well) => {
          const reply = well()
          if (reply.includes(content)) sent++
          return reply
        }
      ],
      { keptContentBytesMax }
    )
    const read = async (file: string): Promise<number> => {
      const before = sent
      deepEqual(await collect(await client.fetch({ ...KEY, file }, {})), content)
      return sent - before
    }
    for (const file of ['a', 'b', 'c']) {
      equal(await read(file), 1)
      equal(await read(file), 1)
    }
    deepEqual([await read('c'), await read('b'), await read('a')], [0, 0, 1])
  })

  it('keeps none unless it is told to', async t => {
    const content = randomBytes(100)
    let sent = 0
    const { client } = await clusterWith(t, content, [
      (_, well) => {
        const reply = well()
        if (reply.includes(content)) sent++
        return reply
      }
    ])
    for (let time = 0; time < 4; time++) await client.fetch(KEY, {})
    equal(sent, 4)
  })
})

describe('fetching a file', { timeout: 20_000 }, () => {
  it('gives a small one whole, with one question to the tracker for many fetches', async t => {
    const content = randomBytes(4096)
    const { client, tracker, facts } = await clusterWith(t, content)
    const all = await Promise.all(Array.from({ length: 20 }, () => client.fetch(KEY, {})))
    for (const fetched of all) {
      deepEqual(fetched.facts, facts)
      ok(fetched.outcome === 'content' && fetched.whole)
      deepEqual(fetched.bytes, content)
    }
    deepEqual(await collect(await client.fetch(KEY, {})), content)
    equal(tracker.requests.length, 1)
  })

  it('spreads fetches over the servers, one by one and many at once', async t => {
    const { client, storages } = await clusterWith(t, randomBytes(100), [
      (_, well) => well(),
      (_, well) => well()
    ])
    for (let i = 0; i < 40; i++) await client.fetch(KEY, {})
    for (const { requests } of storages) ok(requests.length >= 15, `${requests.length} of 40`)
    await Promise.all(Array.from({ length: 100 }, () => client.fetch(KEY, {})))
    for (const { requests } of storages) ok(requests.length >= 15 + 30, `${requests.length} of 140`)
  })

  it('streams a large one, the first time and when its size is known', async t => {
    const content = randomBytes(5_000_001)
    const { client } = await clusterWith(t, content)
    for (let time = 0; time < 2; time++) {
      const fetched = await client.fetch(KEY, {})
      ok(fetched.outcome === 'content' && fetched.whole && fetched.lengthBytes === content.byteLength)
      ok((await collect(fetched)).equals(content))
    }
  })

  it('gives ranges, suffixes, and says what lies outside', async t => {
    const content = randomBytes(300_000)
    const { client } = await clusterWith(t, content)
    for (const [range, from, to] of [
      [{ start: 0, end: 0 }, 0, 1],
      [{ start: 299_990 }, 299_990, 300_000],
      [{ suffix: 10 }, 299_990, 300_000],
      [{ end: 99 }, 0, 100],
      [{ start: 100, end: 299_999_999 }, 100, 300_000]
    ] as const) {
      const fetched = await client.fetch(KEY, range)
      ok(fetched.outcome === 'content' && !fetched.whole)
      equal(fetched.offset, from)
      ok((await collect(fetched)).equals(content.subarray(from, to)), JSON.stringify(range))
    }
    equal((await client.fetch(KEY, { start: 300_000 })).outcome, 'unsatisfiable')
    await rejects(client.download(KEY, { start: 300_000 }), { code: 'BAD_RANGE' })
    equal((await client.fetch(KEY, { unlessGeneration: 'aa01' })).outcome, 'not-modified')
    await rejects(client.fetch(KEY, { generation: 'bb' }), { code: 'GENERATION_MISMATCH' })
  })

  it('asks for facts only without any content, and can still get it', async t => {
    const content = randomBytes(2_000)
    const { client, storages } = await clusterWith(t, content)
    const fetched = await client.fetch(KEY, { factsOnly: true })
    ok(fetched.outcome === 'content' && fetched.bytes === undefined && fetched.lengthBytes === 2_000)
    equal(storages[0]!.requests.length, 1)
    ok((await collect(fetched)).equals(content))
  })

  it('asks the tracker again before it says that a file is not there', async t => {
    let there = false
    const { client, tracker } = await clusterWith(t, Buffer.from('x'), [
      (_, well) => (there ? well() : failure('storage', 'FILE_NOT_FOUND'))
    ])
    await rejects(client.fetch(KEY, {}), { code: 'FILE_NOT_FOUND' })
    there = true
    equal((await client.fetch(KEY, {})).outcome, 'content')
    const questions = tracker.requests.length
    there = false
    await rejects(client.fetch(KEY, {}), { code: 'FILE_NOT_FOUND' })
    equal(tracker.requests.length, questions + 1)
  })

  it('goes on with another server when one dies in mid-body, again and again, without a seam', async t => {
    const content = randomBytes(6_000_000)
    const dieAfter = (bytes: number) => (request: Request, well: () => Buffer) => {
      const reply = well()
      if (reply.byteLength < 100_000) return reply
      request.socket.write(reply.subarray(0, bytes), () =>
        setTimeout(() => request.socket.resetAndDestroy(), 20)
      )
    }
    const { client } = await clusterWith(t, content, [dieAfter(1_500_000), dieAfter(2_100_000)])
    ok((await collect(await client.fetch(KEY, {}))).equals(content))
    ok((await collect(await client.fetch(KEY, { start: 17 }))).equals(content.subarray(17)))
  })

  it('goes on with another server when one falls silent in mid-body', async t => {
    const content = randomBytes(3_000_000)
    const { client } = await clusterWith(t, content, [
      (request, well) => {
        const reply = well()
        if (reply.byteLength < 100_000) return reply
        request.socket.write(reply.subarray(0, 1_000_000))
      },
      (_, well) => well()
    ])
    for (let time = 0; time < 2; time++) ok((await collect(await client.fetch(KEY, {}))).equals(content))
  })

  it('fails instead of splicing when the file was replaced meanwhile', async t => {
    const content = randomBytes(3_000_000)
    const other = factsFor(content, 0, 'bb02')
    const { client } = await clusterWith(t, content, [
      (request, well) => {
        if (request.count > 2) return fetchReplyOf(request.body, content, other)
        const reply = well()
        if (reply.byteLength < 100_000) return reply
        request.socket.write(reply.subarray(0, 1_500_000), () =>
          setTimeout(() => request.socket.destroy(), 20)
        )
      }
    ])
    await rejects(client.fetch(KEY, {}).then(collect), { code: 'GENERATION_MISMATCH' })
  })

  it('does not believe lengths that do not fit', async t => {
    const content = randomBytes(100_000)
    for (const lie of [
      (reply: Buffer) => (reply.writeUInt32BE(0xffff_ffff, 10), reply), // of the fields
      (reply: Buffer) => (reply.writeUInt32BE(reply.readUInt32BE(4) - 1, 4), reply.subarray(0, -1)), // one byte less
      (reply: Buffer) => (reply.writeUInt32BE(0x7fff_ffff, 0), reply), // an absurd frame
      (reply: Buffer) => (reply.writeInt8(101, 8), reply) // another role
    ]) {
      const { client } = await clusterWith(t, content, [(_, well) => lie(Buffer.from(well()))], {
        retryForMs: 0
      })
      await rejects(client.fetch(KEY, {}).then(collect), { code: 'BAD_REPLY' }, String(lie))
      client.close()
    }
  })

  it('survives a dead and a silent server beside a good one, and remembers them', async t => {
    const content = randomBytes(1_000)
    const { client, storages } = await clusterWith(t, content, [
      () => undefined,
      (_, well) => well(),
      (_, well) => well()
    ])
    storages[1]!.kill()
    for (let time = 0; time < 3; time++) deepEqual(await collect(await client.fetch(KEY, {})), content)
    const beganMs = performance.now()
    for (let time = 0; time < 20; time++) await client.fetch(KEY, {})
    ok(performance.now() - beganMs < 300, 'no call waits for them any more')
  })

  it('asks another server when one is silent, long before its time is up, and the first answer counts', async t => {
    const patient = { callTimeoutMs: 8_000, silenceMs: 8_000 }
    for (const sizeBytes of [1_000, 3_000_000]) {
      const content = randomBytes(sizeBytes)
      const silent = new Set<number>()
      const server = (index: number) => (_: Request, well: () => Buffer) =>
        silent.has(index) ? undefined : well()
      const { client, storages } = await clusterWith(t, content, [server(0), server(1), server(2)], patient)
      await collect(await client.fetch(KEY, {})) // its size is known now
      silent.add(0).add(1)
      const beganMs = performance.now()
      for (let time = 0; time < 6; time++) ok((await collect(await client.fetch(KEY, {}))).equals(content))
      const tookMs = performance.now() - beganMs
      ok(tookMs < 3_500, `two silent servers cost a second each, not ${tookMs} ms`)
      equal(storages.filter(({ requests }) => requests.length > 0).length, 3)
    }
  })

  it('takes the answer of a slow server when that comes first after all', async t => {
    const content = randomBytes(1_000)
    let isSlow = false
    const { client } = await clusterWith(
      t,
      content,
      [0, 1].map(() => (_: Request, well: () => Buffer) => {
        if (!isSlow) return well()
        return new Promise<Buffer>(resolve => setTimeout(() => resolve(well()), 1_500))
      }),
      { callTimeoutMs: 8_000 }
    )
    await client.fetch(KEY, {})
    isSlow = true
    const beganMs = performance.now()
    deepEqual(await collect(await client.fetch(KEY, {})), content)
    ok(performance.now() - beganMs < 2_300, 'the second one, asked a second later, is not waited for')
  })

  it('goes on soon with another server where one falls silent in mid-body, however patient', async t => {
    const content = randomBytes(3_000_000)
    const half = (request: Request, well: () => Buffer): Answer => {
      const reply = well()
      if (reply.byteLength < 1_000_000) return reply
      request.socket.write(reply.subarray(0, 1_000_000))
    }
    const { client } = await clusterWith(t, content, [half, (_, well) => well()], {
      callTimeoutMs: 8_000,
      silenceMs: 8_000
    })
    const beganMs = performance.now()
    for (let time = 0; time < 2; time++) ok((await collect(await client.fetch(KEY, {}))).equals(content))
    ok(performance.now() - beganMs < 4_500)
  })

  it('waits for a group without a server, within its time', async t => {
    const content = randomBytes(10)
    const storage = await scriptedServer(t, 'storage', ({ body }) =>
      fetchReplyOf(body, content, factsFor(content, 0))
    )
    let ready = false
    const tracker = await trackerFor(t, () => (ready ? [storage] : []))
    const client = clientOf(t, [tracker])
    setTimeout(() => (ready = true), 300)
    deepEqual(await collect(await client.fetch(KEY, {})), content)
    const impatient = clientOf(t, [await trackerFor(t, [])], { retryForMs: 200 })
    await rejects(impatient.fetch(KEY, {}), { code: 'NO_STORAGE_READY' })
  })

  it('ends when its signal aborts, without harm to calls that share the connection', async t => {
    const content = randomBytes(100)
    const { client } = await clusterWith(t, content, [
      async (_, well) => {
        await new Promise(resolve => setTimeout(resolve, 150))
        return well()
      }
    ])
    const ended = new AbortController()
    const one = client.fetch(KEY, { signal: ended.signal })
    const other = client.fetch(KEY, {})
    setTimeout(() => ended.abort(), 50)
    await rejects(one, { code: 'CANCELLED' })
    deepEqual(await collect(await other), content)
    await rejects(client.fetch(KEY, { signal: AbortSignal.abort() }), { code: 'CANCELLED' })
  })

  it('ends a stream when its signal aborts or it is cancelled', async t => {
    const content = randomBytes(4_000_000)
    const { client } = await clusterWith(t, content)
    const fetched = await client.fetch(KEY, {})
    ok(fetched.outcome === 'content')
    const ended = new AbortController()
    await rejects(
      fetched.stream!(() => ended.abort(), { signal: ended.signal }),
      { code: 'CANCELLED' }
    )
    const second = await client.fetch(KEY, {})
    ok(second.outcome === 'content')
    second.cancel()
    await rejects(
      second.stream!(() => {}),
      { code: 'CANCELLED' }
    )
  })

  it('holds the sender back while pieces are not released', async t => {
    const content = randomBytes(64 * 1024 * 1024)
    const { client, storages } = await clusterWith(t, content)
    const fetched = await client.fetch(KEY, {})
    ok(fetched.outcome === 'content')
    let givenBytes = 0
    const releases: (() => void)[] = []
    const streaming = fetched.stream!((piece, release) => {
      givenBytes += piece.byteLength
      releases.push(release)
    })
    await new Promise(resolve => setTimeout(resolve, 300))
    ok(givenBytes <= 1024 * 1024, `${givenBytes} bytes given`)
    equal(storages.length, 1)
    const draining = setInterval(() => releases.splice(0).forEach(release => release()), 1)
    await streaming
    clearInterval(draining)
    equal(givenBytes, content.byteLength)
  })

  it('refuses keys that cannot be', async t => {
    const { client } = await clusterWith(t, Buffer.from('x'))
    for (const key of [
      { ...KEY, application: 'me dia' },
      { ...KEY, user: '' },
      { ...KEY, file: 'x'.repeat(128) }
    ]) {
      await rejects(client.fetch(key, {}), { code: 'BAD_FIELD' })
      await rejects(client.stat(key), { code: 'BAD_FIELD' })
    }
  })
})

describe('trackers', { timeout: 20_000 }, () => {
  it('are tried in turn, and one that is silent costs its timeout once', async t => {
    const content = randomBytes(10)
    const silent = await scriptedServer(t, 'tracker', () => undefined)
    const storage = await scriptedServer(t, 'storage', ({ body }) =>
      fetchReplyOf(body, content, factsFor(content, 0))
    )
    const good = await trackerFor(t, [storage])
    const client = clientOf(t, [silent, good])
    await client.fetch(KEY, {})
    const beganMs = performance.now()
    for (let i = 0; i < 10; i++) await client.fetch({ ...KEY, file: `film${i}` }, {})
    ok(performance.now() - beganMs < 300)
    equal(silent.requests.length, 1)
  })

  it('have company when they are silent, long before their time is up', async t => {
    const content = randomBytes(10)
    const silent = await scriptedServer(t, 'tracker', () => undefined)
    const storage = await scriptedServer(t, 'storage', ({ body }) =>
      fetchReplyOf(body, content, factsFor(content, 0))
    )
    const client = clientOf(t, [silent, await trackerFor(t, [storage])], { callTimeoutMs: 8_000 })
    const beganMs = performance.now()
    for (let i = 0; i < 10; i++) await client.fetch({ ...KEY, file: `film${i}` }, {})
    ok(performance.now() - beganMs < 2_000, 'it costs a second, once')
  })

  it('come back after all of them failed', async t => {
    const content = randomBytes(10)
    const storage = await scriptedServer(t, 'storage', ({ body }) =>
      fetchReplyOf(body, content, factsFor(content, 0))
    )
    const first = await trackerFor(t, [storage])
    const { port, name } = first
    const client = clientOf(t, [{ name }], { retryForMs: 3_000 })
    await client.fetch(KEY, {})
    first.kill()
    setTimeout(() => {
      void scriptedServer(
        t,
        'tracker',
        () => {
          return failure('tracker', 'UNKNOWN_APPLICATION')
        },
        { port }
      )
    }, 500)
    await rejects(client.fetch({ ...KEY, file: 'other' }, {}), { code: 'UNKNOWN_APPLICATION' })
  })

  it('that cannot be named are refused at once', () => {
    for (const tracker of ['', 'host:99999', 'a b']) {
      let failed: unknown
      try {
        new Client({ trackers: [tracker] }).close()
      } catch (error) {
        failed = error
      }
      equal((failed as { code?: string })?.code, 'BAD_FIELD', tracker)
    }
  })
})

describe('downloading', { timeout: 20_000 }, () => {
  it('streams with back-pressure and checks the checksum', async t => {
    const content = randomBytes(9_000_000)
    const { client } = await clusterWith(t, content)
    const seen: number[] = []
    const download = await client.download(KEY, { onProgress: ({ doneBytes }) => seen.push(doneBytes) })
    equal(download.lengthBytes, content.byteLength)
    ok((await buffer(download.stream)).equals(content))
    equal(seen.at(-1), content.byteLength)

    const range = await client.download(KEY, { start: 5, end: 10 })
    deepEqual(await buffer(range.stream), content.subarray(5, 11))
  })

  it('fails when the bytes are not the ones that were stored', async t => {
    for (const bytes of [1_000, 1_000_000]) {
      const content = randomBytes(bytes)
      const wrong = factsFor(content, (crc32(content) ^ 1) >>> 0)
      const { client } = await clusterWith(t, content, [({ body }) => fetchReplyOf(body, content, wrong)])
      const { stream } = await client.download(KEY)
      await rejects(buffer(stream), { code: 'CHECKSUM_MISMATCH' })
    }
  })

  it('lets go of the server when its reader goes away', async t => {
    const content = randomBytes(32 * 1024 * 1024)
    const { client, storages } = await clusterWith(t, content)
    const { stream } = await client.download(KEY)
    stream.read(0)
    await new Promise(resolve => setTimeout(resolve, 50))
    stream.destroy()
    await new Promise(resolve => setTimeout(resolve, 50))
    ok(storages[0]!.requests.at(-1)!.socket.destroyed)
  })

  it('to a file goes on where it broke off, and leaves nothing beside it', async t => {
    const path = join(await folder(t), 'film.mp4')
    const content = randomBytes(3_000_000)
    let broken = true
    const starts: number[] = []
    const { client } = await clusterWith(
      t,
      content,
      [
        (request, well) => {
          const reply = well()
          if (reply.byteLength < 100_000 || !broken) {
            starts.push(content.byteLength - reply.byteLength)
            return reply
          }
          request.socket.write(reply.subarray(0, 1_000_000), () =>
            setTimeout(() => request.socket.destroy(), 20)
          )
          broken = request.count < 100
        }
      ],
      { retryForMs: 0 }
    )
    await rejects(client.downloadToFile(KEY, path), { code: 'CONNECTION_LOST' })
    const { size } = await stat(`${path}.part`)
    ok(size > 900_000 && size < content.byteLength)
    broken = false
    const { resumedBytes } = await client.downloadToFile(KEY, path)
    equal(resumedBytes, size - 1)
    ok((await readFile(path)).equals(content))
    deepEqual(await readdir(join(path, '..')), ['film.mp4'])
  })

  it('to a file starts anew when the part is of another generation, or damaged', async t => {
    const path = join(await folder(t), 'film.mp4')
    const content = randomBytes(500_000)
    const { client } = await clusterWith(t, content)
    for (const generation of ['0099', 'aa01']) {
      await writeFile(`${path}.part`, randomBytes(1_000))
      await writeFile(`${path}.part.json`, JSON.stringify({ generation }))
      const { resumedBytes } = await client.downloadToFile(KEY, path, { overwrite: true })
      equal(resumedBytes, 0)
      ok((await readFile(path)).equals(content))
    }
  })

  it('to a file never replaces one unless told', async t => {
    const path = join(await folder(t), 'film.mp4')
    const { client } = await clusterWith(t, Buffer.from('new'))
    await writeFile(path, 'old')
    await rejects(client.downloadToFile(KEY, path), { code: 'FILE_EXISTS' })
    equal(await readFile(path, 'utf8'), 'old')
    await client.downloadToFile(KEY, path, { overwrite: true })
    equal(await readFile(path, 'utf8'), 'new')
  })

  it('works for an empty file', async t => {
    const path = join(await folder(t), 'empty')
    const { client } = await clusterWith(t, Buffer.alloc(0))
    equal((await buffer((await client.download(KEY)).stream)).byteLength, 0)
    await client.downloadToFile(KEY, path)
    equal((await stat(path)).size, 0)
  })
})

describe('legacy servers', { timeout: 20_000 }, () => {
  async function legacyWith(t: TestContext, content: Buffer, ownTracker: boolean) {
    const storage = await scriptedServer(
      t,
      'storage',
      ({ code, body }) => {
        const size = Buffer.alloc(8)
        size.writeBigInt64BE(BigInt(content.byteLength))
        if (body.toString('utf8', 272, body.indexOf(0, 272)) !== 'film') {
          return encodeFrame(102, Buffer.from('ffff5b766d5d2072656164206661696c00', 'hex')).fill(0xfd, 9, 10)
        }
        if (code === COMMANDS.FILESIZE.code) return encodeFrame(102, size)
        if (code !== COMMANDS.DOWNLOAD.code) throw new Error(`command ${code} reached a legacy server`)
        const offset = Number(body.readBigInt64BE(400))
        const bytes = Number(body.readBigInt64BE(408))
        return encodeFrame(102, content.subarray(offset, bytes === 0 ? undefined : offset + bytes))
      },
      { legacy: true }
    )
    const tracker = await trackerFor(t, [storage], { legacy: !ownTracker, exists: false })
    return { client: clientOf(t, [tracker]), facts: {} as FileFacts }
  }

  it('serve sizes, whole files and ranges by the plain commands', async t => {
    for (const bytes of [0, 1_000, 3_000_000]) {
      const content = randomBytes(bytes)
      const { client } = await legacyWith(t, content, false)
      equal(await client.size(KEY), bytes)
      const { generation, sizeBytes, group } = await client.stat(KEY)
      deepEqual([generation, sizeBytes, group], ['', bytes, 'group001'])
      ok((await buffer((await client.download(KEY)).stream)).equals(content))
      if (bytes === 0) continue
      ok((await buffer((await client.download(KEY, { start: 10 })).stream)).equals(content.subarray(10)))
      ok((await buffer((await client.download(KEY, { suffix: 7 })).stream)).equals(content.subarray(-7)))
      equal((await client.fetch(KEY, { start: bytes })).outcome, 'unsatisfiable')
      await rejects(client.fetch(KEY, { generation: 'aa' }), { code: 'GENERATION_MISMATCH' })
    }
  })

  it('have one errno for everything; what our tracker knows makes it plain', async t => {
    const content = randomBytes(10)
    const missing = { ...KEY, file: 'missing' }
    await rejects((await legacyWith(t, content, false)).client.size(missing), { code: 'PEER_ERROR' })
    await rejects((await legacyWith(t, content, true)).client.size(missing), { code: 'FILE_NOT_FOUND' })
  })

  it('that are trackers give their listing as text, and nothing for programs', async t => {
    const { client } = await legacyWith(t, Buffer.alloc(0), false)
    equal(await client.groupsText(), 'COUNT OF GROUPS: 1\n')
    await rejects(client.groups(), { code: 'VERSION_UNSUPPORTED' })
    await rejects(client.list({ application: 'media', user: 'public' }), { code: 'VERSION_UNSUPPORTED' })
  })
})
