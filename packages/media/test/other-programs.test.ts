import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import {
  bytesSource,
  dashManifest,
  makeIndex,
  masterPlaylist,
  mediaPlaylist,
  openFilm,
  readIndex
} from '../src/index.ts'
import { double, editBoxes, editElements, element } from './editors.ts'
import {
  AAC,
  decode,
  ffmpeg,
  H264,
  packageFilm,
  picture,
  segmentOf,
  sound,
  temporaryFolder,
  writeTrack,
  type Packaged
} from './films.ts'
import { checkMediaPlaylist } from './playlist-rules.ts'

const run = promisify(execFile)

/** Made by ffmpeg, and changed into what another program would have made. */
async function changed(
  t: TestContext,
  file: string,
  args: readonly string[],
  change: (bytes: Buffer) => Buffer
): Promise<{ path: string; folder: string }> {
  const folder = await temporaryFolder(t)
  const path = join(folder, file)
  await ffmpeg(...args, path)
  await writeFile(path, change(await readFile(path)))
  return { path, folder }
}

async function framesOf(packaged: Packaged, folder: string, at: number): Promise<string[]> {
  const path = join(folder, `${at}.mp4`)
  await writeTrack(packaged, packaged.index.head.tracks[at]!, path)
  return (await decode(path, '0:0')).map(({ hash }) => hash)
}

function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeInt32BE(value, index * 4)
  return bytes
}

describe('a film as other programs make it', { timeout: 120_000 }, () => {
  it('shows no picture before it is decoded, where a camera has shifted pictures back in time', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'camera.mov')
    await ffmpeg(...picture(4), ...sound(4), ...H264, '-bf', '3', '-movflags', '+negative_cts_offsets', path)
    const packaged = await packageFilm(t, path)
    const [track] = packaged.index.head.tracks
    ok(track!.mediaStart > 0)
    const segment = await segmentOf(packaged, track!, 0)
    const table = segment.indexOf('trun')
    // Flags: sizes and shifts; then count, place, flags of the first, and two numbers for each.
    const shifts = Array.from({ length: segment.readUInt32BE(table + 8) }, (_, sample) =>
      segment.readInt32BE(table + 20 + sample * 8 + 4)
    )
    equal(Math.min(...shifts), 0)
    const out = join(folder, 'out.mp4')
    await writeTrack(packaged, track!, out)
    const [expected, shown] = [await decode(path, '0:v:0'), await decode(out, '0:0')]
    deepEqual(shown, expected)
  })

  it('shows from its first moment what was cut between key frames without being coded anew', async t => {
    const folder = await temporaryFolder(t)
    const whole = join(folder, 'whole.mp4')
    const groups = ['-bf', '4', '-x264-params', 'b-adapt=0:b-pyramid=normal']
    await ffmpeg(...picture(12), ...sound(12), ...H264, ...groups, ...AAC, whole)
    const path = join(folder, 'cut.mp4')
    await ffmpeg('-ss', '3.41', '-i', whole, '-c', 'copy', path)
    const packaged = await packageFilm(t, path)
    const { index } = packaged
    const [track] = index.head.tracks
    equal(track!.frameRateMax, 25)
    const out = join(folder, 'out.mp4')
    await writeTrack(packaged, track!, out)
    const all = await decode(out, '0:0')
    const expected = await decode(path, '0:v:0')
    // A key frame before the beginning would be thrown away by browsers, with all that leans on it.
    ok(all[0]!.seconds >= 0, `${all[0]!.seconds} s`)
    const unseen = all.length - expected.length
    ok(unseen > 20 && all[unseen]!.seconds < 0.045, `the picture begins at ${all[unseen]!.seconds} s`)
    deepEqual(
      all.slice(unseen).map(({ hash }) => hash),
      expected.map(({ hash }) => hash)
    )
    const starts = index.head.tracks.map(({ starts: [, second], timescale }) => second! / timescale)
    ok(Math.abs(starts[0]! - starts[1]!) < 0.03, 'sound and picture go on together')
    const [heard] = await decode(path, '0:a:0')
    const offS = all[unseen]!.seconds - expected[0]!.seconds
    ok(Math.abs(offS - heard!.seconds) < 0.05, `they are ${offS} s apart`)
  })

  for (const [what, first, second, channels] of [
    ['sound', [], ['-itsoffset', '7'], 1],
    ['sound in stereo', [], ['-itsoffset', '7'], 2],
    ['picture', ['-itsoffset', '7'], [], 1]
  ] as const) {
    it(`has ${what} from its first moment on, where that begins late: browsers begin where both are there`, async t => {
      const folder = await temporaryFolder(t)
      const path = join(folder, 'late.mp4')
      await ffmpeg(
        ...first,
        ...picture(10),
        ...second,
        ...sound(10),
        ...H264,
        ...AAC,
        '-ac',
        `${channels}`,
        path
      )
      const packaged = await packageFilm(t, path)
      const at = what === 'picture' ? 0 : 1
      const track = packaged.index.head.tracks[at]!
      const list = checkMediaPlaylist(mediaPlaylist(packaged.index, track))
      ok(list.targetS <= 8, `${list.targetS} s`)
      const out = join(folder, 'out.mp4')
      await writeTrack(packaged, track, out)
      const expected = await decode(path, `0:${at === 0 ? 'v' : 'a'}:0`)
      const found = await decode(out, '0:0')
      ok(found[0]!.seconds < 0.03, `it begins at ${found[0]!.seconds} s`)
      const put = found.length - expected.length
      if (at === 0) equal(put, 0)
      else {
        equal(put, Math.floor((expected[0]!.seconds * 48_000) / 1024))
        equal(new Set(found.slice(0, put).map(({ hash }) => hash)).size, 1, 'all of it is silence')
      }
      for (const [index, { hash, seconds }] of expected.entries()) {
        equal(found[put + index]!.hash, hash)
        if (index > 0) ok(Math.abs(found[put + index]!.seconds - seconds) < 0.001)
      }
    })
  }

  it('goes on to be cut where its sound goes on behind its picture', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'outro.mp4')
    await ffmpeg(...picture(8), ...sound(33), ...H264, ...AAC, path)
    const packaged = await packageFilm(t, path)
    const { index } = packaged
    const lists = index.head.tracks.map(track => checkMediaPlaylist(mediaPlaylist(index, track)))
    ok(lists.every(({ targetS }) => targetS <= 9))
    equal(lists[1]!.segments.length, 6)
    ok(Math.abs(lists[1]!.segments.reduce((sum, { seconds }) => sum + seconds, 0) - 33) < 0.03)
    const expected = (await decode(path, '0:a:0')).map(({ hash }) => hash)
    deepEqual((await framesOf(packaged, folder, 1)).slice(-expected.length), expected)
  })

  it('is packaged without the track of a microphone that nobody had', async t => {
    const { path } = await changed(t, 'silent.mp4', [...picture(3), ...sound(3), ...H264, ...AAC], bytes => {
      let tracks = 0
      return editBoxes(bytes, (box, body) => {
        if (box === 'moov/trak') tracks++
        if (tracks < 2) return undefined
        if (/\/(?:stts|stsc|stco|sgpd|sbgp)$/.test(box)) return u32(0, 0)
        return box.endsWith('/stsz') ? u32(0, 0, 0) : box.endsWith('/elst') ? u32(0, 0) : body && undefined
      })
    })
    const { index } = await packageFilm(t, path)
    deepEqual(
      index.head.tracks.map(({ kind }) => kind),
      ['video']
    )
    equal(index.head.facts.tracks[1]!.refusal, 'it is empty')
    // Of a film that still arrives its first sound may be yet to come.
    const source = bytesSource(await readFile(path))
    await rejects(async () => makeIndex(await openFilm(source, { growing: true })), /it is empty/)
  })

  it('is packaged as sound where its only pictures are those of chapters', async t => {
    const stills = ['-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=1:duration=3', '-c:v', 'mjpeg']
    const { path } = await changed(t, 'podcast.mov', [...sound(3), ...stills, ...AAC], bytes => {
      let tracks = 0
      return editBoxes(bytes, (box, body) => {
        if (!box.endsWith('/tkhd')) return undefined
        tracks++
        // Flags: what is not enabled belongs to another track.
        return Buffer.concat([body.subarray(0, 3), Buffer.from([tracks === 1 ? 2 : 3]), body.subarray(4)])
      })
    })
    const { index } = await packageFilm(t, path)
    deepEqual(
      index.head.tracks.map(({ kind }) => kind),
      ['audio']
    )
    const whole = join(await temporaryFolder(t), 'camera.mov')
    await ffmpeg(...sound(3), ...stills, ...AAC, whole)
    await rejects(packageFilm(t, whole), /its picture cannot be packaged: the codec jpeg/)
  })

  it('has MP3 under the name that QuickTime gave it', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'film.mov')
    await ffmpeg(...picture(3), ...sound(3), ...H264, '-c:a', 'libmp3lame', path)
    ok((await readFile(path)).includes('.mp3'))
    const packaged = await packageFilm(t, path)
    match(dashManifest({ sources: [{ folder: 'original', index: packaged.index }] }), /codecs="mp4a\.6B"/)
    const expected = (await decode(path, '0:a:0')).map(({ hash }) => hash)
    deepEqual((await framesOf(packaged, folder, 1)).slice(0, expected.length).slice(2), expected.slice(2))
  })

  it('is refused where its edit list pauses a track, which no segment can say', async t => {
    const { path } = await changed(t, 'paused.mp4', [...picture(3), ...H264], bytes =>
      editBoxes(bytes, box =>
        box.endsWith('/elst')
          ? // Version and count; duration on the film's clock of 1 kHz, place in the track of 12.8 kHz, rate.
            Buffer.concat([
              u32(0, 3),
              u32(1000, 0, 0x1_0000),
              u32(500, -1, 0x1_0000),
              u32(2000, 12_800, 0x1_0000)
            ])
          : undefined
      )
    )
    await rejects(packageFilm(t, path), /cut together from several parts/)
  })

  it('lies behind the fourth gigabyte of a file', async t => {
    const GAP_BYTES = 5 * 1024 ** 3
    const folder = await temporaryFolder(t)
    const path = join(folder, 'front.mp4')
    await ffmpeg(...picture(3), ...sound(3), ...H264, ...AAC, path)
    const small = await readFile(path)
    const front = small.subarray(0, small.readUInt32BE(0))
    // A box of nothing between the first and the others, whose places all lie behind it.
    const gap = Buffer.alloc(16)
    gap.writeUInt32BE(1)
    gap.write('free', 4, 'latin1')
    gap.writeBigUInt64BE(BigInt(GAP_BYTES), 8)
    const rest = editBoxes(small.subarray(front.byteLength), (box, body) => {
      // stco cannot say where it is, co64 can.
      if (!box.endsWith('/stbl')) return undefined
      const table = body.indexOf('stco')
      const count = body.readUInt32BE(table + 8)
      const places = Buffer.alloc(count * 8)
      for (let index = 0; index < count; index++) {
        places.writeBigUInt64BE(BigInt(body.readUInt32BE(table + 12 + index * 4) + GAP_BYTES), index * 8)
      }
      const wide = Buffer.concat([u32(16 + places.byteLength), Buffer.from('co64'), u32(0, count), places])
      const end = table - 4 + body.readUInt32BE(table - 4)
      return Buffer.concat([body.subarray(0, table - 4), wide, body.subarray(end)])
    })
    const pieces = [
      { at: 0, bytes: Buffer.concat([front, gap]) },
      { at: front.byteLength + GAP_BYTES, bytes: rest }
    ]
    const source = {
      sizeBytes: front.byteLength + GAP_BYTES + rest.byteLength,
      read: (start: number, end: number): Promise<Buffer> => {
        const read = Buffer.alloc(end - start)
        for (const { at, bytes } of pieces) {
          const from = Math.max(start, at)
          const to = Math.min(end, at + bytes.byteLength)
          if (from < to) bytes.copy(read, from - start, from - at, to - at)
        }
        return Promise.resolve(read)
      }
    }
    const index = await readIndex(await makeIndex(await openFilm(source)))
    const near = await packageFilm(t, path)
    for (const [number, track] of index.head.tracks.entries()) {
      const far = await segmentOf({ index, source } as never, track, 0)
      deepEqual(far, await segmentOf(near, near.index.head.tracks[number]!, 0))
    }
  })
})

describe('colours and light of a high dynamic range', { timeout: 120_000 }, () => {
  const WIDE = ['-color_primaries', 'bt2020', '-color_trc', 'smpte2084', '-colorspace', 'bt2020nc']
  const VP9 = ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-pix_fmt', 'yuv420p10le']

  async function streamOf(path: string): Promise<Record<string, unknown>[]> {
    const said = 'stream=color_primaries,color_transfer,color_space:stream_side_data'
    const { stdout } = await run('ffprobe', ['-v', 'error', '-show_entries', said, '-of', 'json', path])
    const { side_data_list: lights = [], ...stream } = JSON.parse(stdout).streams[0] as {
      side_data_list?: Record<string, string>[]
    } & Record<string, string>
    // Fractions with one denominator or another are the same light.
    const valueOf = (value: string | number): string | number => {
      const [, over, under] = /^(\d+)\/(\d+)$/.exec(String(value)) ?? []
      return under === undefined ? value : Number(over) / Number(under)
    }
    const parts: Record<string, string | number>[] = [stream, ...lights]
    return parts
      .map(part => Object.fromEntries(Object.entries(part).map(([name, value]) => [name, valueOf(value)])))
      .sort((one, other) => Object.keys(one).length - Object.keys(other).length)
  }

  it('are those that the container of an MKV or a WebM says', async t => {
    const light = element(
      0x55d0,
      Buffer.concat(
        [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 1000, 0.0005].map((value, index) =>
          element(0x55d1 + index, double(value))
        )
      )
    )
    const levels = [element(0x55bc, Buffer.from([3, 232])), element(0x55bd, Buffer.from([1, 144]))]
    const { path, folder } = await changed(
      t,
      'wide.webm',
      [...picture(2), ...VP9, ...WIDE, '-live', '1'],
      bytes =>
        editElements(bytes, (id, body) =>
          id === 0x55b0 ? Buffer.concat([body, ...levels, light]) : undefined
        )
    )
    const packaged = await packageFilm(t, path)
    const [track] = packaged.index.head.tracks
    match(track!.codec, /^vp09\.02\.\d\d\.10\.01\.09\.16\.09/)
    const out = join(folder, 'out.mp4')
    await writeTrack(packaged, track!, out)
    const expected = await streamOf(path)
    equal(expected.length, 3)
    deepEqual(await streamOf(out), expected)
    const film = { sources: [{ folder: 'original', index: packaged.index }] }
    match(masterPlaylist(film), /VIDEO-RANGE=PQ/)
    match(dashManifest(film), /cicp:TransferCharacteristics" value="16"/)
  })

  it('are those that a MOV says in its own words', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'wide.mov')
    // Only the container says it.
    const raw = join(folder, 'raw.mp4')
    await ffmpeg(...picture(2), ...H264, raw)
    await ffmpeg('-i', raw, '-c', 'copy', ...WIDE, '-movflags', '+write_colr', path)
    ok((await readFile(path)).includes('nclc'))
    const packaged = await packageFilm(t, path)
    ok(packaged.index.initSegment(packaged.index.head.tracks[0]!).includes('nclx'))
    const out = join(folder, 'out.mp4')
    await writeTrack(packaged, packaged.index.head.tracks[0]!, out)
    deepEqual(await streamOf(out), await streamOf(path))
  })
})

describe('an MKV that has what all frames begin with only once', { timeout: 120_000 }, () => {
  /** As mkvmerge did for years: two bytes of every frame go. */
  function stripped(bytes: Buffer, algorithm: number): Buffer {
    const fronts = new Map([
      [1, Buffer.from([0, 0])],
      [2, Buffer.from([0xff, 0xf8])]
    ])
    return editElements(bytes, (id, body) => {
      if (id === 0xae) {
        const compression = Buffer.concat([
          element(0x4254, Buffer.from([algorithm])),
          element(0x4255, fronts.get(body[body.indexOf(0xd7) + 2]!)!)
        ])
        return Buffer.concat([body, element(0x6d80, element(0x6240, element(0x5034, compression)))])
      }
      if (id !== 0xa3 && id !== 0xa1) return undefined
      const front = fronts.get(body[0]! & 0x7f)!
      deepEqual(body.subarray(4, 6), front)
      return Buffer.concat([body.subarray(0, 4), body.subarray(6)])
    })
  }
  const ARGS = [...picture(7), ...sound(7), ...H264, '-c:a', 'flac', '-live', '1']

  it('gives every frame whole', async t => {
    const { path, folder } = await changed(t, 'old.mkv', ARGS, bytes => stripped(bytes, 3))
    const packaged = await packageFilm(t, path)
    for (const [at, stream] of ['0:v:0', '0:a:0'].entries()) {
      const expected = await decode(path, stream)
      ok(expected.length > 70)
      deepEqual(
        await framesOf(packaged, folder, at),
        expected.map(({ hash }) => hash)
      )
    }
  })

  it('is refused where it is really compressed', async t => {
    const { path } = await changed(t, 'zlib.mkv', ARGS, bytes => stripped(bytes, 0))
    await rejects(packageFilm(t, path), /compressed or encrypted/)
  })
})
