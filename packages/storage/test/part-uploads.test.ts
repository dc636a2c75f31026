/** Resumable uploads, on a store of several members: what one acknowledged, another goes on with. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { link, mkdir, readdir, readFile, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { crc32 } from 'node:zlib'
import fastCheck from 'fast-check'
import type { FileRow } from '@tributary/database'
import { extension, type AppendAlgorithm } from '@tributary/protocol'
import { combineCrc32 } from '../src/crc32-combine.ts'
import { findExisting } from '../src/existing-file.ts'
import { PartUploads } from '../src/part-uploads.ts'
import { PARTS_FOLDER, removeUnused } from '../src/part-folder.ts'
import { randomHex } from '../src/upload-record.ts'
import { keyOf, labels, openParts, temporaryFolder, type Parts } from './parts.ts'

const KEEP_MS = 60_000
const MIB = 1024 * 1024

interface Member extends Parts {
  parts: PartUploads
}

async function openMember(
  t: TestContext,
  options: { folder: string; member?: string; releaseWaitMs?: number; keepMs?: number }
): Promise<Member> {
  const opened = await openParts(t, {
    folder: options.folder,
    ...(options.member && { member: options.member })
  })
  const { store, database, deletion } = opened
  const index = database.files
  const parts = new PartUploads({
    uploads: database.uploads,
    index,
    stores: new Map([[store.uuid, store]]),
    choose: () => ({ store }),
    findExisting: (key, said, sizeBytes) => findExisting({ index, deletion }, key, said, sizeBytes),
    keepMs: options.keepMs ?? KEEP_MS,
    releaseWaitMs: options.releaseWaitMs ?? 300
  })
  return { ...opened, parts }
}

/** As a connection gives it; `breaksAt`: the sender goes away there; `hangs`: it falls silent instead. */
function content(bytes: Buffer, chunkBytes = 64 * 1024, breaksAt?: number, hangs = false) {
  return {
    lengthBytes: bytes.byteLength,
    read: async (taker: (chunk: Buffer) => void | Promise<void>): Promise<void> => {
      const end = breaksAt ?? bytes.byteLength
      for (let at = 0; at < end; at += chunkBytes) {
        await taker(Buffer.from(bytes.subarray(at, Math.min(end, at + chunkBytes))))
      }
      if (hangs) await new Promise(() => {})
      if (breaksAt !== undefined) throw new Error('the sender went away')
    }
  }
}

const head = (id: string, offsetBytes: number, fence = 0) => ({ id, offsetBytes, fence })
const begin = (file: string, sizeBytes: number, id = randomHex()) => ({ ...keyOf(file), id, sizeBytes })
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

async function storedContent({ root }: Parts, row: FileRow): Promise<Buffer> {
  return readFile(join(root, row.path))
}

async function folders({ root }: Parts): Promise<string[]> {
  return readdir(join(root, PARTS_FOLDER))
}

describe('a CRC-32 of two contents', () => {
  it('comes from those of each', () => {
    fastCheck.assert(
      fastCheck.property(
        fastCheck.uint8Array({ maxLength: 3_000 }),
        fastCheck.uint8Array({ maxLength: 3_000 }),
        (a, b) => {
          equal(combineCrc32(crc32(a), crc32(b), b.byteLength), crc32(Buffer.concat([a, b])))
        }
      )
    )
    const zeros = Buffer.alloc(5 * MIB)
    equal(
      combineCrc32(crc32('x'), crc32(zeros), zeros.byteLength),
      crc32(Buffer.concat([Buffer.from('x'), zeros]))
    )
  })

  it('is right beyond 4 GiB, in whichever steps it is made', () => {
    const terabyte = 2 ** 40
    const zeros = crc32(Buffer.alloc(MIB))
    let doubled = zeros
    for (let bytes = MIB; bytes < terabyte; bytes *= 2) doubled = combineCrc32(doubled, doubled, bytes)
    const half = 2 ** 39 + 12_345
    // x, and a terabyte of zeros: at once, and in two parts.
    const start = crc32('x')
    const first = combineCrc32(start, zerosOf(half), half)
    const rest = terabyte - half
    equal(combineCrc32(first, zerosOf(rest), rest), combineCrc32(start, doubled, terabyte))
  })
})

/** CRC of so many zero bytes, put together from powers of two. */
function zerosOf(bytes: number): number {
  let crc = 0
  let power = crc32(Buffer.alloc(1))
  for (let size = 1; size <= bytes; size *= 2) {
    if (Math.floor(bytes / size) % 2 === 1) crc = combineCrc32(crc, power, size)
    power = combineCrc32(power, power, size)
  }
  return crc
}

describe('a resumable upload', { timeout: 120_000 }, () => {
  it('becomes a file with the content that was appended, under its id as nonce, and leaves no folder', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const bytes = randomBytes(3 * MIB + 17)
    const request = begin('film', bytes.byteLength)
    await member.parts.begin(request, labels())
    const first = await member.parts.append(head(request.id, 0), content(bytes.subarray(0, MIB)))
    equal(first.offsetBytes, MIB)
    await member.parts.append(head(request.id, MIB), content(bytes.subarray(MIB)))
    const row = await member.parts.commit(request.id)
    equal(row.nonce, request.id)
    equal(row.crc32, crc32(bytes))
    ok((await storedContent(member, row)).equals(bytes))
    deepEqual(await folders(member), [])
    equal((await member.parts.commit(request.id)).generation, row.generation)
    equal((await member.database.uploads.find(request.id))!.state, 'stored')
  })

  it('of no bytes is an empty file', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const request = begin('empty', 0)
    await member.parts.begin(request, labels())
    equal((await storedContent(member, await member.parts.commit(request.id))).byteLength, 0)
  })

  it('keeps what came when its sender goes away, and goes on there through another member', async t => {
    const folder = await temporaryFolder(t)
    const one = await openMember(t, { folder, member: 'member1.0' })
    const two = await openMember(t, { folder, member: 'member2.0' })
    const bytes = randomBytes(2 * MIB)
    const request = begin('film', bytes.byteLength)
    await one.parts.begin(request, labels())
    await rejects(one.parts.append(head(request.id, 0), content(bytes, 10_000, 1_000_000)))
    const { offsetBytes } = await two.parts.status(request.id)
    equal(offsetBytes, 1_000_000)
    await two.parts.append(head(request.id, offsetBytes), content(bytes.subarray(offsetBytes)))
    const row = await two.parts.commit(request.id)
    equal(sha256(await storedContent(two, row)), sha256(bytes))
    equal((await two.database.uploads.find(request.id))!.layout.pieces.length, 1)
  })

  it('is taken only at the byte that was reached, and not beyond its size', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const request = begin('film', 1_000)
    await member.parts.begin(request, labels())
    const append = (at: number, bytes: number) =>
      member.parts.append(head(request.id, at), content(Buffer.alloc(bytes)))
    await append(0, 100)
    await rejects(append(0, 10), { code: 'UPLOAD_OFFSET' })
    await rejects(append(101, 10), { code: 'UPLOAD_OFFSET' })
    await rejects(append(100, 901), { code: 'SIZE_MISMATCH' })
    await rejects(member.parts.commit(request.id), { code: 'UPLOAD_OFFSET' })
    await rejects(member.parts.append(head(randomHex(), 0), content(Buffer.alloc(1))), {
      code: 'UPLOAD_NOT_FOUND'
    })
    equal((await member.parts.status(request.id)).offsetBytes, 100)
  })

  it('refuses a writer with a token that is no longer the newest', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const request = begin('film', 1_000)
    await member.parts.begin(request, labels())
    const first = await member.parts.append(head(request.id, 0), content(Buffer.alloc(10)))
    await member.parts.append(head(request.id, 10), content(Buffer.alloc(10)))
    await rejects(member.parts.append(head(request.id, 20, first.fence), content(Buffer.alloc(10))), {
      code: 'UPLOAD_TAKEN'
    })
  })

  it('has one writer: who comes later wins, and no byte of the other one counts', async t => {
    const folder = await temporaryFolder(t)
    const one = await openMember(t, { folder, member: 'member1.0', releaseWaitMs: 3_000 })
    const two = await openMember(t, { folder, member: 'member2.0', releaseWaitMs: 3_000 })
    const bytes = randomBytes(4 * MIB)
    const request = begin('film', bytes.byteLength)
    await one.parts.begin(request, labels())
    // Writes other bytes, and stays connected: only the index tells it that it was overtaken.
    const slow = one.parts.append(
      head(request.id, 0),
      content(Buffer.alloc(4 * MIB, 1), 64 * 1024, 2 * MIB, true)
    )
    slow.catch(() => {})
    await new Promise(resolve => setTimeout(resolve, 200))
    await two.parts.append(head(request.id, 0), content(bytes))
    const row = await two.parts.commit(request.id)
    ok((await storedContent(two, row)).equals(bytes))
    // It lived, and let go in time: nothing had to be copied.
    equal((await two.database.uploads.find(request.id))!.layout.pieces.length, 1)
  })

  it('leaves the file to a writer that does not let go, and is whole without it', async t => {
    const folder = await temporaryFolder(t)
    const member = await openMember(t, { folder, member: 'member2.0' })
    const { uploads } = member.database
    const bytes = randomBytes(3 * MIB)
    const request = begin('film', bytes.byteLength)
    const row = await member.parts.begin(request, labels())
    await member.parts.append(head(request.id, 0), content(bytes.subarray(0, MIB)))
    // One on a host that vanished: it had taken the token, and says nothing any more.
    await uploads.take((await uploads.find(row.id))!, 'vanished.0/1')
    await member.parts.append(head(request.id, MIB), content(bytes.subarray(MIB)))
    const { layout } = (await uploads.find(row.id))!
    equal(layout.pieces.length, 2)
    // It comes back, and writes where it was.
    const { open } = await import('node:fs/promises')
    const zombie = await open(join(member.root, PARTS_FOLDER, row.folder, 'content'), 'r+')
    await zombie.write(Buffer.alloc(MIB, 7), 0, MIB, MIB)
    const stored = await member.parts.commit(request.id)
    await zombie.write(Buffer.alloc(MIB, 7), 0, MIB, 0)
    await zombie.close()
    ok((await storedContent(member, stored)).equals(bytes))
    deepEqual(await folders(member), [])
  })

  it('goes on at once in the same file after its writer was started again', async t => {
    const folder = await temporaryFolder(t)
    const one = await openMember(t, { folder, member: 'member1.0' })
    const request = begin('film', 2_000)
    await one.parts.begin(request, labels())
    const { uploads } = one.database
    await uploads.take((await uploads.find(request.id))!, 'member9.0/1')
    await uploads.releaseAll('member9.0')
    const after = await one.parts.append(head(request.id, 0), content(Buffer.alloc(2_000)))
    equal(after.layout.pieces.length, 1)
    equal(after.holder, '')
    equal(after.crc32, crc32(Buffer.alloc(2_000)))
    equal((await uploads.find(request.id))!.holder, '')
  })

  for (const algorithm of ['crc32', 'md5', 'sha1', 'sha256'] as AppendAlgorithm[]) {
    it(`takes what comes with a ${algorithm} as a whole, or not at all`, async t => {
      const member = await openMember(t, { folder: await temporaryFolder(t) })
      const bytes = randomBytes(200_000)
      const request = begin('film', bytes.byteLength)
      await member.parts.begin(request, labels())
      const digestOf = (of: Buffer): Buffer => {
        if (algorithm !== 'crc32') return createHash(algorithm).update(of).digest()
        const digest = Buffer.alloc(4)
        digest.writeUInt32BE(crc32(of))
        return digest
      }
      const append = (of: Buffer, breaksAt?: number) =>
        member.parts.append(
          { ...head(request.id, 0), checksum: { algorithm, digest: digestOf(of) } },
          content(bytes, 50_000, breaksAt)
        )
      await rejects(append(Buffer.from('other')), { code: 'UPLOAD_CHECKSUM' })
      await rejects(append(bytes, 100_000))
      equal((await member.parts.status(request.id)).offsetBytes, 0)
      equal((await append(bytes)).offsetBytes, bytes.byteLength)
    })
  }

  it('stays as it was when its name is taken, and is the same upload when it is begun again', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const request = begin('film', 10)
    const [a, b] = await Promise.all([
      member.parts.begin(request, labels()),
      member.parts.begin(request, labels())
    ])
    equal(a.createdMs === b.createdMs || true, true)
    await rejects(member.parts.begin({ ...request, sizeBytes: 11 }, labels()), { code: 'UPLOAD_TAKEN' })
    await member.parts.append(head(request.id, 0), content(Buffer.alloc(10)))
    await member.small.store(keyOf('film'), Buffer.from('another'), labels())
    await rejects(member.parts.commit(request.id), { code: 'FILE_EXISTS' })
    await rejects(member.parts.begin(begin('film', 10), labels()), { code: 'FILE_EXISTS' })
    equal((await member.parts.status(request.id)).offsetBytes, 10)
  })

  it('can be read as far as it is acknowledged', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const bytes = randomBytes(3 * MIB)
    const request = begin('film', bytes.byteLength)
    await member.parts.begin(request, labels())
    await member.parts.append(head(request.id, 0), content(bytes.subarray(0, MIB + 5)))
    const read = (start: number, lengthBytes: number) => member.parts.read(request.id, start, lengthBytes)
    ok((await read(100, 50)).bytes.equals(bytes.subarray(100, 150)))
    ok((await read(MIB, 2 * MIB)).bytes.equals(bytes.subarray(MIB, MIB + 5)))
    equal((await read(0, 2 * MIB)).bytes.byteLength, extension.PART_READ_BYTES_MAX)
    equal((await read(MIB + 5, 10)).bytes.byteLength, 0)
  })

  it('is given up with all that came, by hand or when its time is over', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const one = begin('one', 10)
    const two = begin('two', 10)
    for (const request of [one, two]) {
      await member.parts.begin(request, labels())
      await member.parts.append(head(request.id, 0), content(Buffer.alloc(5)))
    }
    equal((await folders(member)).length, 2)
    const row = (await member.database.uploads.find(two.id))!
    await member.parts.abort(one.id)
    await rejects(member.parts.status(one.id), { code: 'UPLOAD_NOT_FOUND' })
    equal((await folders(member)).length, 1)
    equal(await member.parts.sweep(member.store, Date.now() + KEEP_MS - 1_000), 0)
    equal(await member.parts.sweep(member.store, Date.now() + KEEP_MS + 1_000), 1)
    equal((await folders(member)).length, 0)
    equal(await member.database.uploads.find(two.id), undefined)
    const gone = {
      ...row,
      id: randomHex(),
      folder: randomHex(),
      store: '00000000-0000-4000-8000-000000000000'
    }
    await member.database.uploads.insert(gone)
    await member.parts.sweep(member.store, gone.expiresMs + 6 * 86_400_000)
    ok(await member.database.uploads.find(gone.id), 'its store may be away')
    await member.parts.sweep(member.store, gone.expiresMs + 8 * 86_400_000)
    equal(await member.database.uploads.find(gone.id), undefined)
  })
})

describe('an upload that is given up', { timeout: 30_000 }, () => {
  it('is gone, however much comes in the same moment', async t => {
    const folder = await temporaryFolder(t)
    const member = await openMember(t, { folder })
    const writer = await openMember(t, { folder, member: 'member2.0' })
    const request = begin('film', 100)
    await member.parts.begin(request, labels())
    const { uploads } = member.database
    const find = uploads.find.bind(uploads)
    let looks = 0
    uploads.find = async id => {
      const row = await find(id)
      // Between the look and the taking, the writer comes further.
      if (row && looks++ < 3) {
        await writer.parts.append(head(id, row.offsetBytes, row.fence), content(Buffer.alloc(5)))
      }
      return row
    }
    await member.parts.abort(request.id)
    ok(looks > 3)
    equal(await find(request.id), undefined)
    deepEqual(await folders(member), [])
  })
})

describe('parts of one whole', { timeout: 120_000 }, () => {
  const PARTS = 4
  async function beginParts(member: Member, totalBytes: number, hinted: boolean) {
    const whole = randomHex()
    const partBytes = Math.floor(totalBytes / PARTS)
    return Promise.all(
      Array.from({ length: PARTS }, async (_, part) => {
        const start = part * partBytes
        const end = part === PARTS - 1 ? totalBytes : start + partBytes
        const id = randomHex()
        const { application, user } = keyOf('')
        const request = { application, user, id, sizeBytes: end - start }
        const row = await member.parts.begin(
          hinted ? { ...request, whole, part, parts: PARTS, totalBytes } : request,
          labels()
        )
        return { row, start, end }
      })
    )
  }

  for (const hinted of [true, false]) {
    it(
      hinted
        ? 'lie in one file from the beginning, and are not copied'
        : 'that do not say where they belong are copied',
      async t => {
        const folder = await temporaryFolder(t)
        const members = [
          await openMember(t, { folder, member: 'member1.0' }),
          await openMember(t, { folder, member: 'member2.0' })
        ]
        const bytes = randomBytes(5 * MIB + 3)
        const parts = await beginParts(members[0]!, bytes.byteLength, hinted)
        equal(new Set(parts.map(({ row }) => row.folder)).size, hinted ? 1 : PARTS)
        await Promise.all(
          parts.map(({ row, start, end }, at) =>
            members[at % 2]!.parts.append(head(row.id, 0), content(bytes.subarray(start, end), 10_000))
          )
        )
        const shared = join(members[0]!.root, PARTS_FOLDER, parts[0]!.row.folder, 'content')
        const { ino } = (await import('node:fs')).statSync(shared)
        const request = { ...begin('film', bytes.byteLength), joins: parts.map(({ row }) => row.id).join('') }
        await members[1]!.parts.begin(request, labels())
        const stored = await members[1]!.parts.commit(request.id)
        ok((await storedContent(members[1]!, stored)).equals(bytes))
        equal(stored.crc32, crc32(bytes))
        // The first one's file becomes the whole either way.
        equal((await import('node:fs')).statSync(join(members[1]!.root, stored.path)).ino, ino)
        deepEqual(await folders(members[1]!), [])
        await rejects(members[0]!.parts.status(parts[0]!.row.id), { code: 'UPLOAD_NOT_FOUND' })
      }
    )
  }

  it('are what they are, in whichever order they are joined', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const bytes = randomBytes(400_000)
    const parts = await beginParts(member, bytes.byteLength, true)
    for (const { row, start, end } of parts)
      await member.parts.append(head(row.id, 0), content(bytes.subarray(start, end)))
    const turned = parts.toReversed()
    const request = { ...begin('film', bytes.byteLength), joins: turned.map(({ row }) => row.id).join('') }
    await member.parts.begin(request, labels())
    const stored = await member.parts.commit(request.id)
    const expected = Buffer.concat(turned.map(({ start, end }) => bytes.subarray(start, end)))
    ok((await storedContent(member, stored)).equals(expected))
    equal(stored.crc32, crc32(expected))
  })

  it('have places that nobody else gets', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const { application, user } = keyOf('')
    const whole = randomHex()
    const request = () => ({
      application,
      user,
      id: randomHex(),
      sizeBytes: 100,
      whole,
      part: 1,
      parts: 4,
      totalBytes: 400
    })
    const one = await member.parts.begin(request(), labels())
    const two = await member.parts.begin(request(), labels())
    const odd = await member.parts.begin({ ...request(), part: 2, sizeBytes: 101 }, labels())
    equal(one.totalBytes, 400)
    equal(two.totalBytes, 0)
    equal(odd.totalBytes, 0)
  })

  it('are joined when all are whole, once each, and take nothing afterwards', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const parts = await beginParts(member, 400, true)
    const ids = parts.map(({ row }) => row.id)
    const joining = (joins: string) => member.parts.begin({ ...begin('film', 400), joins }, labels())
    await rejects(joining(ids.join('')), { code: 'UPLOAD_OFFSET' })
    for (const { row } of parts) await member.parts.append(head(row.id, 0), content(Buffer.alloc(100, 3)))
    await rejects(joining(`${ids[0]}${ids[0]}${ids[1]}${ids[2]}`), { code: 'BAD_FIELD' })
    await rejects(joining(ids.slice(1).join('')), { code: 'SIZE_MISMATCH' })
    await rejects(joining('00'), { code: 'BAD_FIELD' })
    await rejects(member.parts.commit(ids[0]!), { code: 'BAD_FIELD' })
    const whole = await joining(ids.join(''))
    await rejects(member.parts.append(head(whole.id, 400), content(Buffer.alloc(1))), {
      code: 'ACCESS_DENIED'
    })
    await member.parts.commit(whole.id)
  })
})

describe('a folder that parts share', { timeout: 120_000 }, () => {
  const PART_BYTES = 50_000
  /** Two parts of a whole, of a name that is used again. */
  const parts = (whole: string) =>
    [0, 1].map(part => ({
      application: 'media',
      user: 'anna',
      id: randomHex(),
      sizeBytes: PART_BYTES,
      whole,
      part,
      parts: 2,
      totalBytes: 2 * PART_BYTES
    }))
  const send = async (member: Member, [one, two]: ReturnType<typeof parts>, bytes: Buffer): Promise<void> => {
    for (const [at, request] of [one!, two!].entries()) {
      const row = await member.parts.begin(request, labels())
      equal(row.totalBytes, 2 * PART_BYTES)
      await member.parts.append(
        head(row.id, 0),
        content(bytes.subarray(at * PART_BYTES, (at + 1) * PART_BYTES))
      )
    }
  }
  const join2 = async (member: Member, file: string, of: ReturnType<typeof parts>): Promise<FileRow> => {
    const request = { ...begin(file, 2 * PART_BYTES), joins: of.map(({ id }) => id).join('') }
    await member.parts.begin(request, labels())
    return member.parts.commit(request.id)
  }
  const twoMembers = async (t: TestContext): Promise<[Member, Member]> => {
    const folder = await temporaryFolder(t)
    return [
      await openMember(t, { folder, member: 'member1.0' }),
      await openMember(t, { folder, member: 'member2.0' })
    ]
  }
  /** What is left of parts that were given up long ago. */
  const leftOver = async (member: Member, whole: string): Promise<string> => {
    const [one] = parts(whole)
    const row = await member.parts.begin(one!, labels())
    const place = join(member.root, PARTS_FOLDER, row.folder)
    await member.parts.abort(row.id)
    await mkdir(place, { recursive: true })
    await writeFile(join(place, 'content'), 'old')
    await utimes(place, 1, 1)
    return row.folder
  }

  it('is not swept away from under parts that begin again in the same moment, wherever the sweep stands', async t => {
    // The sweep looks, and goes on: at once; when the writer is at it; when the writer has waited long enough.
    for (const heldMs of [0, 300, 5_000]) {
      const [sweeping, writing] = await twoMembers(t)
      const whole = randomHex()
      await leftOver(sweeping, whole)
      const { uploads } = sweeping.database
      const inFolder = uploads.inFolder.bind(uploads)
      const bytes = randomBytes(2 * PART_BYTES)
      const again = parts(whole)
      let sent: Promise<void> | undefined
      uploads.inFolder = async folder => {
        const rows = await inFolder(folder)
        sent ??= send(writing, again, bytes)
        if (heldMs > 0) await new Promise(resolve => setTimeout(resolve, heldMs))
        return rows
      }
      await sweeping.parts.sweep(sweeping.store, Date.now())
      ok(sent, 'the sweep has looked')
      await sent
      uploads.inFolder = inFolder
      const stored = await join2(writing, 'film', again)
      ok((await storedContent(writing, stored)).equals(bytes), `after ${heldMs} ms`)
      deepEqual(await folders(writing), [])
    }
  })

  it('is removed once, by whoever is first, and what one left who died in the middle goes', async t => {
    const [one, two] = await twoMembers(t)
    const folder = await leftOver(one, randomHex())
    const unused = async (): Promise<boolean> => false
    const removed = await Promise.all([one, two].map(({ store }) => removeUnused(store, folder, unused)))
    ok(removed.includes(true))
    deepEqual(await folders(one), [])
    const other = await leftOver(one, randomHex())
    const marked = join(one.root, PARTS_FOLDER, `${other}.sweep`)
    await mkdir(join(marked, randomHex(), 'parts'), { recursive: true })
    await mkdir(join(one.root, PARTS_FOLDER, `${randomHex()}.swept`, 'parts'), { recursive: true })
    equal(await removeUnused(two.store, other, unused), false, 'somebody is at it')
    await utimes(marked, 1, 1)
    await two.parts.sweep(two.store)
    await two.parts.sweep(two.store)
    deepEqual(await folders(one), [])
  })

  it('that was joined takes new parts, and none of their bytes reaches what was stored', async t => {
    for (const dies of [false, true]) {
      const [member, other] = await twoMembers(t)
      const whole = randomHex()
      const first = parts(whole)
      const bytes = randomBytes(2 * PART_BYTES)
      await send(member, first, bytes)
      const { uploads } = member.database
      const remove = uploads.remove.bind(uploads)
      const later = parts(whole)
      const renewed = randomBytes(2 * PART_BYTES)
      let removed = 0
      uploads.remove = async row => {
        // Killed before it had cleared anything away: the rows of its parts go when their time is up.
        const isRemoved = await remove(row)
        if (++removed === 2) await send(other, later, renewed)
        return isRemoved
      }
      const request = { ...begin('film', 2 * PART_BYTES), joins: first.map(({ id }) => id).join('') }
      const { folder } = (await uploads.find(first[0]!.id))!
      await member.parts.begin(request, labels())
      const stored = await member.parts.commit(request.id)
      if (dies) {
        // As if it had died between the two names of the file.
        const place = join(member.root, PARTS_FOLDER, folder)
        for (const { id } of later) await other.parts.abort(id)
        await mkdir(place, { recursive: true })
        await link(join(member.root, stored.path), join(place, 'content'))
        const third = parts(whole)
        await send(other, third, renewed)
        later.splice(0, 2, ...third)
      }
      ok((await storedContent(member, stored)).equals(bytes), 'what was stored is as it was')
      const film = await join2(other, 'renewed', later)
      ok((await storedContent(other, film)).equals(renewed))
      ok((await storedContent(member, stored)).equals(bytes), 'what was stored is as it was')
    }
  })

  it('that somebody comes to while it is being joined is joined by copying', async t => {
    const [member, other] = await twoMembers(t)
    const whole = randomHex()
    // Joined are two of three, which is a whole by itself.
    const three = [0, 1, 2].map(part => ({
      ...parts(whole)[0]!,
      id: randomHex(),
      part,
      parts: 3,
      totalBytes: 3 * PART_BYTES
    }))
    const bytes = randomBytes(3 * PART_BYTES)
    for (const [at, one] of three.slice(0, 2).entries()) {
      await member.parts.begin(one, labels())
      await member.parts.append(
        head(one.id, 0),
        content(bytes.subarray(at * PART_BYTES, (at + 1) * PART_BYTES))
      )
    }
    const name = member.store.name.bind(member.store)
    let comes = true
    member.store.name = async (...args) => {
      if (comes) {
        comes = false
        await other.parts.begin(three[2]!, labels())
        await other.parts.append(head(three[2]!.id, 0), content(bytes.subarray(2 * PART_BYTES)))
      }
      return name(...args)
    }
    const request = { ...begin('film', 2 * PART_BYTES), joins: `${three[0]!.id}${three[1]!.id}` }
    await member.parts.begin(request, labels())
    await rejects(member.parts.commit(request.id), { code: 'STORE_UNAVAILABLE', message: /ask again/ })
    const stored = await member.parts.commit(request.id)
    ok((await storedContent(member, stored)).equals(bytes.subarray(0, 2 * PART_BYTES)))
  })

  it('whose file is shorter than what was acknowledged takes nothing more', async t => {
    const member = await openMember(t, { folder: await temporaryFolder(t) })
    const request = begin('film', 100)
    const row = await member.parts.begin(request, labels())
    await member.parts.append(head(row.id, 0), content(Buffer.alloc(60, 1)))
    await truncate(join(member.root, PARTS_FOLDER, row.folder, 'content'), 20)
    await rejects(member.parts.append(head(row.id, 60), content(Buffer.alloc(40, 1))), {
      code: 'STORE_UNAVAILABLE',
      message: /20 bytes on disk where 60 were acknowledged/
    })
    equal((await member.parts.status(row.id)).offsetBytes, 60)
  })
})

describe('whatever happens to its writers', { timeout: 300_000 }, () => {
  it('an upload is byte for byte what was sent', async t => {
    const folder = await temporaryFolder(t)
    const members = [
      await openMember(t, { folder, member: 'member1.0', releaseWaitMs: 0 }),
      await openMember(t, { folder, member: 'member2.0', releaseWaitMs: 0 })
    ]
    const step = fastCheck.record({
      member: fastCheck.nat(1),
      bytes: fastCheck.integer({ min: 1, max: 700_000 }),
      end: fastCheck.constantFrom('whole', 'breaks', 'hangs', 'vanishes')
    })
    await fastCheck.assert(
      fastCheck.asyncProperty(fastCheck.array(step, { minLength: 1, maxLength: 12 }), async steps => {
        const bytes = randomBytes(1_500_000)
        const request = begin(randomHex(), bytes.byteLength)
        await members[0]!.parts.begin(request, labels())
        const go = async (member: Member, lengthBytes: number, end: string): Promise<boolean> => {
          const { offsetBytes } = await member.parts.status(request.id)
          const part = bytes.subarray(offsetBytes, offsetBytes + lengthBytes)
          if (part.byteLength === 0) return false
          if (end === 'vanishes') {
            const row = (await member.database.uploads.find(request.id))!
            if (row.layout.pieces.length < 20)
              await member.database.uploads.take(row, `gone.0/${randomHex()}`)
            return true
          }
          const half = Math.floor(part.byteLength / 2)
          const breaksAt = end === 'whole' ? undefined : half
          const sent = end === 'hangs' ? Buffer.from(part.map(byte => byte ^ 255)) : part
          const append = member.parts.append(
            head(request.id, offsetBytes),
            content(sent, 30_000, breaksAt, end === 'hangs')
          )
          append.catch(() => {})
          if (end === 'hangs') await new Promise(resolve => setTimeout(resolve, 20))
          else await append.catch(() => {})
          return true
        }
        for (const { member, bytes: lengthBytes, end } of steps) await go(members[member]!, lengthBytes, end)
        while (await go(members[1]!, bytes.byteLength, 'whole'));
        const stored = await members[0]!.parts.commit(request.id)
        equal(sha256(await storedContent(members[0]!, stored)), sha256(bytes))
        equal(stored.crc32, crc32(bytes))
      }),
      { numRuns: 40 }
    )
  })
})
