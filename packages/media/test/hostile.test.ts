import { ok, rejects } from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import fc from 'fast-check'
import {
  bytesSource,
  cutSegment,
  makeIndex,
  openFilm,
  readIndex,
  UnpackageableError,
  type ByteSource
} from '../src/index.ts'
import { AAC, ffmpeg, H264, picture, sound } from './films.ts'

/** Less than the default, so that a test does not wait for it. */
const BUDGET_MS = 3_000
const TIME_MS = 6_000
/** What one film may have in memory while it is looked at: its table of samples, and some blocks. */
const MEMORY_BYTES_MAX = 400 * 1024 * 1024

async function through(source: ByteSource): Promise<void> {
  const index = await readIndex(await makeIndex(await openFilm(source, { budget: { timeMs: BUDGET_MS } })))
  for (const track of index.head.tracks) {
    for (const number of track.starts.keys()) {
      const plan = await index.segment(track, number)
      await cutSegment(plan!, source)
    }
  }
}

function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4)
  return bytes
}
function box(type: string, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([u32(body.byteLength + 8), Buffer.from(type, 'latin1'), body])
}
/** A box that says what size one likes. */
function liar(type: string, size: bigint, ...parts: Uint8Array[]): Buffer {
  const large = Buffer.alloc(8)
  large.writeBigUInt64BE(size)
  return Buffer.concat([u32(1), Buffer.from(type, 'latin1'), large, ...parts])
}
const FTYP = box('ftyp', Buffer.from('isom\0\0\0\0isom', 'latin1'))

function nested(depth: number): Buffer {
  let inner: Buffer = Buffer.alloc(0)
  for (let level = 0; level < depth; level++) inner = box(level % 2 === 0 ? 'trak' : 'moov', inner)
  return Buffer.concat([FTYP, box('moov', inner)])
}

/** A film of a terabyte that is made up as it is read. */
function endless(sizeBytes: number, front: Buffer, filler: number): ByteSource {
  return {
    sizeBytes,
    async read(start, end) {
      const bytes = Buffer.alloc(end - start, filler)
      if (start < front.byteLength) front.copy(bytes, 0, start)
      return bytes
    }
  }
}

describe('a hostile file', { timeout: 300_000 }, () => {
  const films: { name: string; bytes: Buffer }[] = []
  before(async () => {
    const kinds: Record<string, string[]> = {
      'film.mp4': [...H264, ...AAC],
      'front.mp4': [...H264, ...AAC, '-movflags', '+faststart'],
      'fragments.mp4': [...H264, ...AAC, '-movflags', '+frag_keyframe+empty_moov'],
      'film.mkv': [...H264, ...AAC],
      'film.webm': ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-c:a', 'libopus'],
      'sound.ogg': ['-vn', '-c:a', 'libopus'],
      'sound.flac': ['-vn', '-c:a', 'flac'],
      'sound.mp3': ['-vn', '-c:a', 'libmp3lame']
    }
    const folder = await mkdtemp(join(tmpdir(), 'tributary-hostile-'))
    for (const [name, options] of Object.entries(kinds)) {
      const path = join(folder, name)
      await ffmpeg(...picture(4, 25, '160x90'), ...sound(4), ...options, path)
      films.push({ name, bytes: await readFile(path) })
    }
    await rm(folder, { recursive: true, force: true })
  })

  const cases: [string, () => ByteSource][] = [
    ['that is empty', () => bytesSource(Buffer.alloc(0))],
    ['of one byte', () => bytesSource(Buffer.of(0))],
    ['of text', () => bytesSource(Buffer.from('#!/bin/sh\necho hello\n'.repeat(1000)))],
    [
      'that is a zip',
      () =>
        bytesSource(
          Buffer.concat([Buffer.from('PK\u0003\u0004\u0014\0', 'latin1'), Buffer.alloc(100_000, 7)])
        )
    ],
    [
      'that is an HLS playlist',
      () =>
        bytesSource(Buffer.from('#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nhttp://127.0.0.1:1/x.ts\n'))
    ],
    [
      'whose box has 2^63 bytes',
      () => bytesSource(Buffer.concat([FTYP, liar('moov', 1n << 63n, Buffer.alloc(100))]))
    ],
    [
      'whose box has 2^64 - 1 bytes',
      () => bytesSource(Buffer.concat([FTYP, liar('moov', (1n << 64n) - 1n, Buffer.alloc(100))]))
    ],
    ['whose box has no bytes', () => bytesSource(Buffer.concat([FTYP, u32(4), Buffer.from('moov')]))],
    ['of boxes in boxes', () => bytesSource(nested(20_000))],
    [
      'with a million boxes',
      () => bytesSource(Buffer.concat([FTYP, ...new Array<Buffer>(1_000_000).fill(box('free'))]))
    ],
    ['with an endless index', () => endless(1e12, Buffer.concat([FTYP, liar('moov', 999_999_999_000n)]), 0)],
    ['of a terabyte of nothing', () => endless(1e12, FTYP, 0)],
    ['of a terabyte of MP3 marks', () => endless(1e12, Buffer.from('ID3\u0004\0\0\0\0\0\0', 'latin1'), 0xff)],
    [
      'that says Matroska and goes on with nothing',
      () =>
        endless(
          1e12,
          Buffer.from(
            '1a45dfa39f4286810142f7810142f2810442f381084282886d6174726f736b614287810442858102185380670100ffffffffffff',
            'hex'
          ),
          0xec
        )
    ]
  ]
  for (const [name, make] of cases) {
    it(`${name} is refused in words, in bounded time and memory`, async () => {
      const started = performance.now()
      const memory = process.memoryUsage().rss
      await rejects(through(make()), (error: Error) => {
        ok(error instanceof UnpackageableError, error.stack)
        ok(error.message.length > 5 && error.message.length < 300)
        return true
      })
      const tookMs = performance.now() - started
      ok(tookMs < TIME_MS, `${tookMs} ms`)
      ok(process.memoryUsage().rss - memory < MEMORY_BYTES_MAX)
    })
  }

  it('that is cut off anywhere is refused, or what is left of it plays', async () => {
    for (const { name, bytes } of films) {
      for (let part = 1; part < 24; part++) {
        const source = bytesSource(bytes.subarray(0, Math.floor((bytes.byteLength * part) / 24)))
        await checked(name, source)
      }
    }
  })

  it('that was a film until its bits were turned is refused, or plays, and never hangs', async () => {
    const change = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
      front: fc.boolean(),
      value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.integer({ min: 0, max: 255 })),
      length: fc.constantFrom(1, 1, 2, 4, 8)
    })
    await fc.assert(
      fc.asyncProperty(
        fc.nat(7),
        fc.array(change, { minLength: 1, maxLength: 12 }),
        async (which, changes) => {
          const { name, bytes: original } = films[which]!
          const bytes = Buffer.from(original)
          for (const { at, front, value, length } of changes) {
            // Where films describe themselves a change does most.
            const tables = describing(name, bytes)
            const place = front
              ? tables.start + Math.floor(at * (tables.end - tables.start))
              : Math.floor(at * bytes.byteLength)
            bytes.fill(value, place, Math.min(place + length, bytes.byteLength))
          }
          await checked(name, bytesSource(bytes))
        }
      ),
      { numRuns: 3_000 }
    )
  })
})

function describing(name: string, bytes: Buffer): { start: number; end: number } {
  const moov = bytes.indexOf('moov')
  if (name.endsWith('.mp4'))
    return { start: Math.max(0, moov - 4), end: Math.min(bytes.byteLength, moov + 8_000) }
  return { start: 0, end: Math.min(bytes.byteLength, 2_000) }
}

async function checked(name: string, source: ByteSource): Promise<void> {
  const started = performance.now()
  try {
    await through(source)
  } catch (error) {
    ok(error instanceof UnpackageableError, `${name}: ${(error as Error).stack}`)
  }
  const tookMs = performance.now() - started
  ok(tookMs < TIME_MS, `${name} took ${tookMs} ms`)
}
