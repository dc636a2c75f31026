import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, it, type TestContext } from 'node:test'
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { COMMANDS, encodeErrorReply, encodeFrame, extension, splitFieldBlock } from '@tributary/protocol'
import { Client, makeFileId, type ClientOptions } from '../src/index.ts'
import {
  failure,
  scriptedServer,
  trackerFor,
  type Answer,
  type Request,
  type ScriptedServer
} from './scripted-server.ts'

const KEY = { application: 'media', user: 'public', file: 'film' }
const QUICK = {
  callTimeoutMs: 400,
  commitTimeoutMs: 600,
  connectTimeoutMs: 400,
  silenceMs: 800,
  retryForMs: 2_000
}

/** What all scripted members of a group share: the uploads by key. */
interface Stored {
  generation: string
  nonce: string
  bytes: Buffer
  name: string
}
type Hold = { announced: { nonce: string; name: string }; sized: boolean; parts: Buffer[] }

/** Answers as a storage server of ours does. */
function storing(stored: Map<string, Stored>) {
  const holds = new WeakMap<object, Hold>()
  const final = ({ generation, bytes, name }: Stored): Buffer =>
    encodeFrame(
      102,
      extension.storeReply.encode({
        generation,
        sizeBytes: bytes.byteLength,
        crc32: crc32(bytes),
        storedAtMs: 1,
        mediaType: 'video/mp4',
        name
      })
    )
  let count = 0
  const put = (upload: Omit<Stored, 'generation'>): Buffer => {
    const there = stored.get('film')
    if (there && there.nonce !== upload.nonce) return failure('storage', 'FILE_EXISTS')
    const kept = there ?? { ...upload, generation: `aa0${++count}` }
    stored.set('film', kept)
    return final(kept)
  }
  return ({ code, body, socket }: Request): Buffer => {
    if (code === COMMANDS.STORE.code) {
      const { fields, content } = splitFieldBlock(body)
      const { nonce, name = '', inline, sizeBytes } = extension.store.decode(fields)
      if (inline) return put({ nonce, name, bytes: Buffer.from(content) })
      const there = stored.get('film')
      if (there) return there.nonce === nonce ? final(there) : failure('storage', 'FILE_EXISTS')
      holds.set(socket, { announced: { nonce, name }, sized: sizeBytes !== undefined, parts: [] })
      ok(sizeBytes === undefined || sizeBytes > 65_536)
      return encodeFrame(102, extension.storeReply.encode({ send: true }))
    }
    if (code === COMMANDS.STORE_BODY.code) {
      const hold = holds.get(socket)!
      hold.parts.push(body)
      if (!hold.sized && body.byteLength > 0) return encodeFrame(102)
      return put({ ...hold.announced, bytes: Buffer.concat(hold.parts) })
    }
    const there = stored.get('film')
    if (!there) return failure('storage', 'FILE_NOT_FOUND')
    if (code === COMMANDS.REMOVE.code && extension.remove.decode(body).generation !== there.generation)
      return failure('storage', 'FILE_NOT_FOUND')
    if (code === COMMANDS.DELETE.code || code === COMMANDS.REMOVE.code) {
      stored.delete('film')
      return encodeFrame(102)
    }
    const size = Buffer.alloc(8)
    size.writeBigInt64BE(BigInt(there.bytes.byteLength))
    if (code === COMMANDS.FILESIZE.code) return encodeFrame(102, size)
    return encodeFrame(
      102,
      extension.statReply.encode({
        generation: there.generation,
        sizeBytes: there.bytes.byteLength,
        crc32: crc32(there.bytes),
        storedAtMs: 1,
        mediaType: 'video/mp4',
        name: there.name,
        nonce: there.nonce,
        group: 'group001'
      })
    )
  }
}

type Special = (request: Request, well: () => Buffer) => Answer

async function cluster(
  t: TestContext,
  special: Special[] = [],
  { features, ...options }: Partial<ClientOptions> & { features?: number } = {}
) {
  const stored = new Map<string, Stored>()
  const answer = storing(stored)
  const storages: ScriptedServer[] = []
  for (let i = 0; i < Math.max(1, special.length); i++) {
    storages.push(
      await scriptedServer(
        t,
        'storage',
        request => {
          const well = (): Buffer => answer(request)
          return special[i] ? special[i]!(request, well) : well()
        },
        features === undefined ? {} : { features }
      )
    )
  }
  const tracker = await trackerFor(t, storages, { exists: false })
  const client = new Client({ trackers: [tracker.name], ...QUICK, ...options })
  t.after(() => client.close())
  return { client, stored, storages, tracker }
}

async function fileOf(t: TestContext, bytes: Buffer): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-client-'))
  t.after(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'a film.mp4'), bytes)
  return join(folder, 'a film.mp4')
}

async function* chunksOf(bytes: Buffer, chunkBytes: number): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < bytes.byteLength; offset += chunkBytes) {
    await new Promise(resolve => setImmediate(resolve))
    yield bytes.subarray(offset, offset + chunkBytes)
  }
}

describe('uploading for somebody else', { timeout: 30_000 }, () => {
  it('tells the tracker whose address it is', async t => {
    const { client, tracker } = await cluster(t)
    await client.upload(Buffer.from('x'), { key: KEY, clientIp: '10.1.2.3' })
    deepEqual(
      tracker.requests.map(({ body }) => extension.locate.decode(body)),
      [{ ...KEY, forUpload: true, clientIp: '10.1.2.3' }]
    )
  })
})

/** Does what is asked, and loses the reply of the `nth` STORE or STORE_BODY with the connection. */
const losesReply =
  (code: number, times: number): Special =>
  (request, well) => {
    const reply = well()
    if (request.code !== code || times-- <= 0) return reply
    request.socket.resetAndDestroy()
  }

describe('uploading', { timeout: 30_000 }, () => {
  for (const [what, bytes] of [
    ['nothing', 0],
    ['a little', 1_000],
    ['as much as rides along', 65_536],
    ['a byte more', 65_537],
    ['some megabytes', 5_000_001]
  ] as const) {
    it(`stores ${what} from bytes, a path, a sized and an unsized stream`, async t => {
      const content = randomBytes(bytes)
      const path = await fileOf(t, content)
      for (const [source, sizeBytes] of [
        [content, undefined],
        [path, undefined],
        [new URL(`file://${path.replaceAll(' ', '%20')}`), undefined],
        [chunksOf(content, 70_001), bytes],
        [chunksOf(content, 3_000_000), undefined],
        [Readable.from(chunksOf(content, 10_000)), undefined]
      ] as const) {
        const { client, stored } = await cluster(t)
        const progress: number[] = []
        const uploaded = await client.upload(source, {
          key: KEY,
          sizeBytes,
          onProgress: ({ doneBytes }) => progress.push(doneBytes)
        })
        equal(uploaded.sizeBytes, bytes)
        equal(uploaded.crc32, crc32(content))
        ok(stored.get('film')!.bytes.equals(content))
        equal(progress.at(-1), bytes)
        if (source === path) equal(stored.get('film')!.name, 'a film.mp4')
        client.close()
      }
    })
  }

  it('tells the tracker that an upload follows, and only then', async t => {
    const { client, tracker } = await cluster(t)
    await client.upload(randomBytes(10), { key: KEY })
    await client.size(KEY)
    const asked = tracker.requests.filter(({ code }) => code === COMMANDS.LOCATE.code)
    deepEqual(
      asked.map(({ body }) => extension.locate.decode(body).forUpload),
      [true, undefined]
    )
  })

  it('refuses a key that another upload has, and takes the same nonce for the same upload', async t => {
    for (const bytes of [10, 100_000]) {
      const { client } = await cluster(t)
      const content = randomBytes(bytes)
      const nonce = '0123456789abcdef0123456789abcdef'
      await client.upload(content, { key: KEY, nonce })
      await client.upload(content, { key: KEY, nonce })
      await rejects(client.upload(content, { key: KEY }), { code: 'FILE_EXISTS' })
      await rejects(client.upload(content, { key: KEY, nonce: 'no' }), { code: 'BAD_FIELD' })
    }
  })

  it('takes another server when one dies in mid-body, if it can read again', async t => {
    const content = randomBytes(8_000_000)
    const path = await fileOf(t, content)
    for (const source of [path, content]) {
      const { client, stored, storages } = await cluster(t, [
        (request, well) => {
          if (request.code !== COMMANDS.STORE.code) return well()
          const reply = well()
          request.socket.write(reply)
          setTimeout(() => storages[0]!.kill(), 3)
          request.socket.pause()
          return undefined
        },
        (_, well) => well()
      ])
      for (let i = 0; i < 2; i++) {
        await client.upload(source, { key: KEY })
        ok(stored.get('film')!.bytes.equals(content))
        stored.clear()
      }
    }
  })

  it('takes another server for a stream of which nothing was sent, and says so when something was', async t => {
    const content = randomBytes(3_000_000)
    const refusing = await cluster(t, [
      ({ code }, well) => (code === COMMANDS.STORE.code ? failure('storage', 'NO_SPACE') : well()),
      (_, well) => well()
    ])
    for (let i = 0; i < 2; i++) {
      await refusing.client.upload(chunksOf(content, 100_000), { key: KEY })
      ok(refusing.stored.get('film')!.bytes.equals(content))
      refusing.stored.clear()
    }
    const dying = await cluster(t, [
      (request, well) => {
        if (request.code !== COMMANDS.STORE_BODY.code) return well()
        request.socket.resetAndDestroy()
      }
    ])
    const began = performance.now()
    await rejects(dying.client.upload(chunksOf(content, 100_000), { key: KEY }), { code: 'CONNECTION_LOST' })
    ok(performance.now() - began < 1_500)
  })

  it('tells why a stream was refused after its last byte, and takes another server for bytes', async t => {
    const content = randomBytes(3_000_000)
    const full: Special = (request, well) =>
      request.code === COMMANDS.STORE_BODY.code ? failure('storage', 'NO_SPACE') : well()
    for (const sizeBytes of [content.byteLength, undefined]) {
      const { client, stored } = await cluster(t, [full, full])
      const upload = client.upload(chunksOf(content, 100_000), { key: KEY, sizeBytes })
      await rejects(upload, { code: 'NO_SPACE' })
      ok(!stored.has('film'))
    }
    for (let i = 0; i < 2; i++) {
      const { client, stored } = await cluster(t, [full, (_, well) => well()])
      await client.upload(content, { key: KEY })
      ok(stored.get('film')!.bytes.equals(content))
    }
  })

  it('settles a lost reply by asking for its nonce', async t => {
    for (const [source, code] of [
      [randomBytes(100), COMMANDS.STORE.code],
      [randomBytes(3_000_000), COMMANDS.STORE_BODY.code]
    ] as const) {
      const { client, stored } = await cluster(t, [losesReply(code, 9), losesReply(code, 9)])
      const { sizeBytes } = await client.upload(source, { key: KEY })
      equal(sizeBytes, source.byteLength)
      ok(stored.get('film')!.bytes.equals(source))
    }
  })

  it('does not call an upload refused whose last byte had left, though its source has not said that it ended', async t => {
    const content = randomBytes(3_000_000)
    async function* endsLate(): AsyncGenerator<Buffer> {
      yield* chunksOf(content, 100_000)
      await new Promise(resolve => setTimeout(resolve, 200))
    }
    const key = { key: KEY, sizeBytes: content.byteLength }
    const { client, stored } = await cluster(t, [losesReply(COMMANDS.STORE_BODY.code, 1)])
    equal((await client.upload(endsLate(), key)).generation, 'aa01')
    ok(stored.get('film')!.bytes.equals(content))
    const dead = await cluster(t, [
      (request, well) => {
        if (request.code !== COMMANDS.STORE_BODY.code) return well()
        well()
        dead.storages[0]!.kill()
      }
    ])
    await rejects(dead.client.upload(endsLate(), key), { code: 'OUTCOME_UNKNOWN' })
    ok(dead.stored.has('film'))
  })

  it('settles a reply that never comes', async t => {
    const content = randomBytes(100_000)
    const { client, stored } = await cluster(t, [
      ({ code }, well) => {
        const reply = well()
        return code === COMMANDS.STORE_BODY.code ? undefined : reply
      }
    ])
    await client.upload(content, { key: KEY })
    ok(stored.get('film')!.bytes.equals(content))
  })

  it('sends again what was lost before it was stored, and reports what it cannot know', async t => {
    const content = randomBytes(100_000)
    const eats = (times: number): Special => {
      return (request, well) => {
        if (request.code !== COMMANDS.STORE_BODY.code || times-- <= 0) return well()
        request.socket.resetAndDestroy() // the body came whole, and is forgotten
      }
    }
    const once = await cluster(t, [eats(1)])
    await once.client.upload(content, { key: KEY })
    ok(once.stored.get('film')!.bytes.equals(content))

    const always = await cluster(t, [eats(99)], { retryForMs: 300 })
    await rejects(always.client.upload(content, { key: KEY }), { code: 'OUTCOME_UNKNOWN' })
    const sized = { key: KEY, sizeBytes: content.byteLength }
    await rejects(always.client.upload(chunksOf(content, 9_000), sized), { code: 'OUTCOME_UNKNOWN' })
  })

  it('ends in FILE_EXISTS when somebody else was faster while a reply was lost', async t => {
    const { client, stored } = await cluster(t, [
      (request, well) => {
        if (request.code !== COMMANDS.STORE.code) return well()
        stored.set('film', { generation: 'bb01', nonce: 'ff', bytes: Buffer.from('other'), name: '' })
        request.socket.resetAndDestroy()
      }
    ])
    await rejects(client.upload(randomBytes(10), { key: KEY }), { code: 'FILE_EXISTS' })
  })

  it('stops sending when it is refused in mid-body', async t => {
    const { client } = await cluster(t, [
      (request, well) => {
        if (request.code === COMMANDS.STORE_BODY.code && request.count > 2)
          return failure('storage', 'NO_SPACE')
        return well()
      }
    ])
    let taken = 0
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) {
        taken++
        await new Promise(resolve => setImmediate(resolve))
        yield Buffer.alloc(500_000)
      }
    }
    await rejects(client.upload(endless(), { key: KEY }), { code: 'NO_SPACE' })
    ok(taken < 60, `${taken} chunks were taken`)
  })

  it('notices a source that lies about its size, or changes it', async t => {
    const { client, stored } = await cluster(t)
    const content = randomBytes(200_000)
    for (const sizeBytes of [199_999, 200_001, 10, 70_000, 90_000]) {
      const upload = client.upload(chunksOf(content, 9_000), { key: KEY, sizeBytes })
      await rejects(upload, { code: 'SIZE_MISMATCH' }, `${sizeBytes}`)
    }
    const path = await fileOf(t, randomBytes(30_000_000))
    const upload = client.upload(path, {
      key: KEY,
      onProgress: ({ doneBytes }) => {
        if (doneBytes > 1_000_000) void truncate(path, 20_000_000)
      }
    })
    await rejects(upload, { code: 'SIZE_MISMATCH' })
    equal(stored.size, 0)
    await rejects(client.upload(tmpdir(), { key: KEY }), { code: 'BAD_FIELD' })
    await rejects(client.upload('/no/such/file', { key: KEY }), { code: 'ENOENT' })
  })

  it('ends when its signal aborts, even while its source or the server is silent', async t => {
    const { client } = await cluster(t, [
      (request, well) => (request.code === COMMANDS.STORE.code ? well() : undefined)
    ])
    async function* stuck(): AsyncGenerator<Buffer> {
      yield randomBytes(100_000)
      await new Promise(() => {})
    }
    for (const source of [stuck(), randomBytes(100_000)]) {
      const ended = new AbortController()
      const upload = client.upload(source, { key: KEY, signal: ended.signal })
      setTimeout(() => ended.abort(), 100)
      await rejects(upload, { code: 'CANCELLED' })
    }
    await rejects(client.upload(randomBytes(1), { key: KEY, signal: AbortSignal.abort() }), {
      code: 'CANCELLED'
    })
  })

  it('does not call a change refused that was under way when the client was closed', async t => {
    for (const bytes of [10, 100_000]) {
      const { client, stored } = await cluster(t, [
        (request, well) => {
          const reply = well()
          if (!stored.has('film') && request.code !== COMMANDS.REMOVE.code) return reply
          client.close() // it is done, and the reply comes too late
        }
      ])
      await rejects(client.upload(randomBytes(bytes), { key: KEY }), { code: 'OUTCOME_UNKNOWN' })
      ok(stored.has('film'))
      await rejects(client.upload(randomBytes(bytes), { key: KEY }), { code: 'SHUTTING_DOWN' })
    }
    const { client, stored } = await cluster(t, [
      (request, well) => {
        const reply = well()
        if (request.code !== COMMANDS.REMOVE.code) return reply
        client.close()
      }
    ])
    await client.upload(randomBytes(10), { key: KEY })
    await rejects(client.delete(KEY), { code: 'OUTCOME_UNKNOWN' })
    ok(!stored.has('film'))
    await rejects(client.delete(KEY), { code: 'SHUTTING_DOWN' })
  })

  it('gives up a server that takes no more bytes', async t => {
    const { client } = await cluster(
      t,
      [
        (request, well) => {
          const reply = well()
          if (request.code === COMMANDS.STORE.code) {
            request.socket.write(reply)
            request.socket.pause()
            return undefined
          }
          return reply
        }
      ],
      { retryForMs: 0 }
    )
    await rejects(client.upload(randomBytes(30_000_000), { key: KEY }), { code: 'TIMED_OUT' })
  })
})

describe('a storage server that owes an answer', { timeout: 60_000 }, () => {
  const PATIENT = {
    callTimeoutMs: 5_000,
    commitTimeoutMs: 30_000,
    connectTimeoutMs: 2_000,
    silenceMs: 10_000
  }
  /** Silence is noticed after 1 s, believed after another 1.5 s. */
  const GIVEN_UP_MS = 6_000

  for (const stores of ['before', 'after'] as const) {
    it(`is not waited for when it froze ${stores} it stored an upload: the nonce settles it elsewhere`, async t => {
      for (const [bytes, code] of [
        [10, COMMANDS.STORE.code],
        [3_000_000, COMMANDS.STORE_BODY.code]
      ] as const) {
        const content = randomBytes(bytes)
        const freezes: Special = (request, well) => {
          if (request.code !== code || frozen !== undefined) return well()
          if (stores === 'after') well()
          frozen = made.storages.findIndex(({ requests }) => requests.includes(request))
          made.storages[frozen]!.freeze()
        }
        let frozen: number | undefined
        const made = await cluster(t, [freezes, freezes], PATIENT)
        const sinceMs = performance.now()
        equal((await made.client.upload(content, { key: KEY })).sizeBytes, bytes)
        const tookMs = performance.now() - sinceMs
        ok(tookMs < GIVEN_UP_MS, `${Math.round(tookMs)} ms`)
        ok(made.stored.get('film')!.bytes.equals(content))
        const elsewhere = made.storages[1 - frozen!]!.requests.map(request => request.code)
        equal(elsewhere[0], COMMANDS.STAT.code, 'asked before anything is sent twice')
        equal(elsewhere.includes(code), stores === 'before')
      }
    })
  }

  it('is not waited for when it froze over a delete', async t => {
    const freezes: Special = (request, well) => {
      if (request.code !== COMMANDS.REMOVE.code || isFrozen) return well()
      well()
      isFrozen = true
      made.storages.find(({ requests }) => requests.includes(request))!.freeze()
    }
    let isFrozen = false
    const made = await cluster(t, [freezes, freezes], PATIENT)
    await made.client.upload(randomBytes(10), { key: KEY })
    const sinceMs = performance.now()
    await made.client.delete(KEY)
    ok(performance.now() - sinceMs < GIVEN_UP_MS)
    equal(made.stored.size, 0)
  })

  it('is waited for while it lives: what is slow is not sent twice', async t => {
    const slow: Special = async (request, well) => {
      if (request.code === COMMANDS.STORE.code) await new Promise(resolve => setTimeout(resolve, 4_000))
      return well()
    }
    const { client, storages } = await cluster(t, [slow, slow], PATIENT)
    await client.upload(randomBytes(10), { key: KEY })
    equal(storages.flatMap(({ requests }) => requests).length, 1)
  })

  it('ends with the client that is closed meanwhile', async t => {
    const { client } = await cluster(t, [() => undefined], PATIENT)
    const upload = client.upload(randomBytes(10), { key: KEY })
    setTimeout(() => client.close(), 1_200)
    await rejects(upload, { code: 'OUTCOME_UNKNOWN' })
  })
})

describe('deleting', { timeout: 20_000 }, () => {
  const ways = [
    ['by generation', {}, COMMANDS.REMOVE.code],
    ['at a server that knows none', { features: extension.FEATURES.WRONG_GROUP }, COMMANDS.DELETE.code]
  ] as const
  for (const [how, options, code] of ways) {
    it(`${how}: says what is not there, and settles a lost reply`, async t => {
      const { client, stored } = await cluster(t, [losesReply(code, 1)], options)
      await client.upload(randomBytes(10), { key: KEY })
      await client.delete(KEY)
      equal(stored.size, 0)
      await rejects(client.delete(KEY), { code: 'FILE_NOT_FOUND' })
    })

    it(`${how}: asks again when the request itself was lost`, async t => {
      let lost = 1
      const special: Special = (request, well) => {
        if (request.code === code && lost-- > 0) return void request.socket.resetAndDestroy()
        return well()
      }
      const { client, stored } = await cluster(t, [special], options)
      await client.upload(randomBytes(10), { key: KEY })
      await client.delete(KEY)
      equal(stored.size, 0)
    })
  }

  it('does not say that nothing was deleted when a try was lost and the next one is refused', async t => {
    let tries = 0
    const loses: Special = (request, well) => {
      if (request.code !== COMMANDS.REMOVE.code) return well()
      if (tries++ === 0) return void request.socket.resetAndDestroy()
      return failure('storage', 'DEGRADED')
    }
    const { client } = await cluster(t, [loses, loses], { retryForMs: 300 })
    await client.upload(randomBytes(10), { key: KEY })
    await rejects(client.delete(KEY), { code: 'OUTCOME_UNKNOWN' })
    await rejects(client.delete(KEY), { code: 'DEGRADED' })
  })

  it('does not touch a later file of the name, however late it is carried out', async t => {
    const late: (() => Buffer)[] = []
    const keepsFirst: Special = (request, well) => {
      if (request.code !== COMMANDS.REMOVE.code || late.length > 0) return well()
      late.push(well)
      request.socket.resetAndDestroy()
    }
    const { client, stored } = await cluster(t, [keepsFirst, keepsFirst])
    await client.upload(randomBytes(10), { key: KEY })
    await client.delete(KEY)
    const again = randomBytes(10)
    await client.upload(again, { key: KEY })
    deepEqual(late[0]!(), failure('storage', 'FILE_NOT_FOUND'))
    ok(stored.get('film')!.bytes.equals(again))
  })

  it('deletes the file that has the name now, where another one had it a moment ago', async t => {
    let isReplaced = false
    const replaces: Special = (request, well) => {
      if (request.code === COMMANDS.REMOVE.code && !isReplaced) {
        isReplaced = true
        stored.set('film', { ...stored.get('film')!, generation: 'bb02' })
      }
      return well()
    }
    const { client, stored } = await cluster(t, [replaces])
    await client.upload(randomBytes(10), { key: KEY })
    await client.delete(KEY)
    equal(stored.size, 0)
  })
})

describe('uploading to a legacy server', { timeout: 20_000 }, () => {
  async function legacy(t: TestContext, loseReply = false) {
    let file: Buffer | undefined
    const error = encodeErrorReply(102, -1, '[old] no')
    const storage = await scriptedServer(
      t,
      'storage',
      ({ code, body, socket }) => {
        const size = Buffer.alloc(8)
        if (code === COMMANDS.UPLOAD.code) {
          equal(Number(body.readBigInt64BE(400)), body.byteLength - 408)
          if (file) return error
          file = body.subarray(408)
          return loseReply ? void socket.resetAndDestroy() : encodeFrame(102)
        }
        if (!file) return error
        if (code === COMMANDS.DELETE.code) file = undefined
        else if (code === COMMANDS.FILESIZE.code) size.writeBigInt64BE(BigInt(file.byteLength))
        else throw new Error(`command ${code} reached a legacy server`)
        return file ? encodeFrame(102, size) : encodeFrame(102)
      },
      { legacy: true }
    )
    const tracker = await trackerFor(t, [storage], { legacy: true })
    const client = new Client({ trackers: [tracker.name], ...QUICK })
    t.after(() => client.close())
    return { client, file: () => file }
  }

  it('uses the plain commands for small and large, and settles a lost reply by the size', async t => {
    for (const bytes of [0, 100, 2_000_000]) {
      for (const loseReply of [false, true]) {
        const content = randomBytes(bytes)
        const { client, file } = await legacy(t, loseReply)
        const { generation, sizeBytes } = await client.upload(content, { key: KEY })
        deepEqual([generation, sizeBytes], ['', bytes])
        ok(file()!.equals(content))
        if (bytes === 100) await rejects(client.upload(content, { key: KEY }), { code: 'FILE_EXISTS' })
        await client.delete(KEY)
        equal(file(), undefined)
      }
    }
  })

  it('says that it needs the size of a long stream', async t => {
    const { client } = await legacy(t)
    await rejects(client.upload(chunksOf(randomBytes(100_000), 1_000), { key: KEY }), { code: 'BAD_FIELD' })
  })
})

describe('file ids', () => {
  it('are unique, sort by time and need no escaping', () => {
    const ids = new Set(Array.from({ length: 10_000 }, () => makeFileId()))
    equal(ids.size, 10_000)
    for (const id of ids) ok(/^[0-9a-z]{30}$/.test(id), id)
    ok(makeFileId(1_000) < makeFileId(2_000))
  })
})
