import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { readIndex } from '../src/index.ts'
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
  writeTree,
  type DecodedFrame
} from './films.ts'

interface Kind {
  name: string
  file: string
  args: string[]
  /** Stands in the master playlist. */
  codecs: RegExp
  /** ffmpeg trims the sound's end, or its first frame, where the container says so. */
  trims?: boolean
  /** ffmpeg counts what it trims at the beginning. */
  timesOf?: 'ours'
}

const VP9 = ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-g', '50']
const HEVC = [
  '-c:v',
  'libx265',
  '-preset',
  'ultrafast',
  '-x265-params',
  'log-level=none:open-gop=0',
  '-g',
  '50'
]
const OPEN_GOP = [
  '-c:v',
  'libx265',
  '-preset',
  'ultrafast',
  '-x265-params',
  'log-level=none:open-gop=1',
  '-g',
  '50'
]
const AV1 = ['-c:v', 'libsvtav1', '-preset', '12', '-g', '50']
const B_FRAMES = [...H264, '-bf', '3', '-x264-params', 'b-pyramid=normal']
const UNEVEN = ['-vf', "select='lt(mod(n,50),25)+not(mod(n,3))'", '-fps_mode', 'vfr']

const KINDS: Kind[] = [
  {
    name: 'MP4 with its index in front',
    file: 'front.mp4',
    args: [...picture(13), ...sound(13), ...H264, ...AAC, '-movflags', '+faststart'],
    codecs: /avc1\.[0-9a-f]{6},mp4a\.40\.2/
  },
  {
    name: 'MP4 with its index at the end, and B-frames that others lean on',
    file: 'end.mp4',
    args: [...picture(13), ...sound(13), ...B_FRAMES, ...AAC],
    codecs: /avc1/
  },
  {
    name: 'MP4 of uneven frame rate',
    file: 'uneven.mp4',
    args: [...picture(13), ...sound(13), ...UNEVEN, ...B_FRAMES, ...AAC],
    codecs: /avc1/
  },
  {
    name: 'MP4 whose picture begins after its sound',
    file: 'late.mp4',
    args: ['-itsoffset', '0.5', ...picture(13), ...sound(13), ...H264, ...AAC],
    codecs: /avc1/
  },
  {
    name: 'fragmented MP4',
    file: 'fragments.mp4',
    args: [
      ...picture(13),
      ...sound(13),
      ...H264,
      ...AAC,
      '-movflags',
      '+frag_keyframe+empty_moov+default_base_moof'
    ],
    codecs: /avc1/
  },
  {
    name: 'fragmented MP4 of the old kind, whose places count from the file',
    file: 'old-fragments.mp4',
    args: [...picture(13), ...sound(13), ...H264, ...AAC, '-movflags', '+frag_keyframe'],
    codecs: /avc1/
  },
  {
    name: 'MOV with three sounds',
    file: 'three.mov',
    args: [
      ...picture(13),
      ...sound(13, 300),
      ...sound(13, 500, 44_100),
      ...sound(13, 700, 32_000),
      '-map',
      '0:v',
      '-map',
      '1:a',
      '-map',
      '2:a',
      '-map',
      '3:a',
      '-metadata:s:a:0',
      'language=eng',
      '-metadata:s:a:1',
      'language=deu',
      ...H264,
      ...AAC
    ],
    codecs: /avc1/
  },
  {
    name: 'MKV with B-frames',
    file: 'film.mkv',
    args: [...picture(13), ...sound(13), ...B_FRAMES, ...AAC],
    codecs: /avc1\.[0-9a-f]{6},mp4a\.40\.2/
  },
  {
    name: 'MKV of uneven frame rate',
    file: 'uneven.mkv',
    args: [...picture(13), ...sound(13), ...UNEVEN, ...B_FRAMES, ...AAC],
    codecs: /avc1/
  },
  {
    name: 'MKV with HEVC and FLAC',
    file: 'hevc.mkv',
    args: [...picture(13), ...sound(13), ...HEVC, '-c:a', 'flac'],
    codecs: /hvc1\.1\.6\.L\d+\.[0-9A-F]+,fLaC/
  },
  {
    name: 'MP4 with HEVC whose groups of pictures are open',
    file: 'open.mp4',
    args: [...picture(13), ...OPEN_GOP],
    codecs: /hvc1/
  },
  {
    name: 'MKV with MP3',
    file: 'mp3.mkv',
    args: [...picture(13), ...sound(13), ...H264, '-c:a', 'libmp3lame'],
    codecs: /mp4a\.40\.34/,
    trims: true
  },
  {
    name: 'WebM with VP9 and Opus',
    file: 'film.webm',
    args: [...picture(13), ...sound(13), ...VP9, '-c:a', 'libopus'],
    codecs: /vp09\.00\.\d\d\.08[.\d]*,opus/,
    trims: true
  },
  {
    name: 'MP4 with VP9, Opus and FLAC',
    file: 'vp9.mp4',
    args: [
      ...picture(13),
      ...sound(13),
      ...sound(13),
      '-map',
      '0:v',
      '-map',
      '1:a',
      '-map',
      '2:a',
      '-c:a:0',
      'libopus',
      '-c:a:1',
      'flac',
      '-strict',
      '-2',
      ...VP9
    ],
    codecs: /vp09/,
    trims: true
  },
  { name: 'MP4 with AV1', file: 'av1.mp4', args: [...picture(13), ...AV1], codecs: /av01\.0\.\d\d[MH]\.08/ },
  {
    name: 'WebM with AV1',
    file: 'av1.webm',
    args: [...picture(13), ...sound(13), ...AV1, '-c:a', 'libopus'],
    codecs: /av01/,
    trims: true
  },
  { name: 'M4A', file: 'sound.m4a', args: [...sound(13), ...AAC], codecs: /"mp4a\.40\.2"/ },
  {
    name: 'MP3',
    file: 'sound.mp3',
    args: [...sound(13), '-c:a', 'libmp3lame'],
    codecs: /"mp4a\.40\.34"/,
    trims: true,
    timesOf: 'ours'
  },
  { name: 'FLAC', file: 'sound.flac', args: [...sound(13), '-c:a', 'flac'], codecs: /"fLaC"/ },
  {
    name: 'Opus in Ogg',
    file: 'sound.ogg',
    args: [...sound(13), '-c:a', 'libopus'],
    codecs: /"opus"/,
    trims: true
  },
  { name: 'ADTS', file: 'sound.aac', args: [...sound(13), ...AAC], codecs: /"mp4a\.40\.2"/ },
  {
    name: 'MP4 of a telephone, turned on its side',
    file: 'turned.mp4',
    args: [...picture(4), ...sound(4), ...H264, ...AAC, '-metadata:s:v:0', 'rotate=90'],
    codecs: /avc1/
  }
]

/** Frames of the source that come out the same, in the same order, at the same time. */
function compare(source: DecodedFrame[], packaged: DecodedFrame[], { trims = false, timesOf }: Kind): void {
  // What is cut off in front is decoded with negative times; where ffmpeg trims within a frame its hash is another.
  const probe = trims ? Math.min(3, source.length - 1) : 0
  const shift = packaged.findIndex(({ hash }) => hash === source[probe]!.hash) - probe
  ok(shift >= 0 && shift <= 3, `the source begins at frame ${shift} of what was packaged`)
  let different = 0
  let offMax = 0
  for (const [index, { seconds, hash }] of source.entries()) {
    const other = packaged[index + shift]
    if (other?.hash !== hash) different++
    // The first picture is shown at once, and stands until it moves.
    else if (index > 0 || other.seconds > 0) offMax = Math.max(offMax, Math.abs(other.seconds - seconds))
  }
  ok(different <= (trims ? 3 : 0), `${different} of ${source.length} frames differ`)
  ok(timesOf === 'ours' || offMax <= 0.0011, `a frame is ${offMax} s from where it should be`)
  ok(packaged.length - source.length <= 2, `${packaged.length} frames of ${source.length}`)
}

describe('packaging', { timeout: 300_000 }, () => {
  for (const kind of KINDS) {
    it(`gives every frame of ${kind.name}, unchanged and in time, and a tree that ffmpeg plays through`, async t => {
      const folder = await temporaryFolder(t)
      const path = join(folder, kind.file)
      await ffmpeg(...kind.args, path)
      const packaged = await packageFilm(t, path)
      const master = await writeTree(packaged, folder)
      match(await readFile(master, 'utf8'), kind.codecs)
      const seen = { video: 0, audio: 0 }
      for (const track of packaged.index.head.tracks) {
        const out = join(folder, `${track.id}.mp4`)
        await writeTrack(packaged, track, out)
        const stream = track.kind === 'video' ? `0:v:${seen.video++}` : `0:a:${seen.audio++}`
        const expected = await decode(path, stream)
        compare(expected, await decode(out, '0:0'), kind)
        if (stream.endsWith('1') || stream.endsWith('2')) continue
        const frames = await decode(master, stream)
        ok(Math.abs(frames.length - expected.length) <= 2, `${frames.length} of ${expected.length} frames`)
        const offS = frames[1]!.seconds - expected[1]!.seconds
        if (kind.timesOf !== 'ours') ok(Math.abs(offS) < 0.05, `as a playlist it is off by ${offS} s`)
      }
    })
  }
})

describe('the index of a film', { timeout: 60_000 }, () => {
  const make = async (t: TestContext): Promise<string> => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'film.mp4')
    await ffmpeg(...picture(20), ...sound(20), ...B_FRAMES, ...AAC, '-metadata', 'title=A film', path)
    return path
  }
  it('is the same whenever it is made, and so are all segments', async t => {
    const path = await make(t)
    const one = await packageFilm(t, path)
    const other = await packageFilm(t, path)
    deepEqual(one.indexBytes, other.indexBytes)
    for (const track of one.index.head.tracks) {
      deepEqual(one.index.initSegment(track), other.index.initSegment(track))
      for (const number of track.starts.keys()) {
        const bytes = await segmentOf(one, track, number)
        deepEqual(bytes, await segmentOf(other, track, number))
        equal(bytes.byteLength, track.bytes[number])
      }
    }
  })

  it('says what is known of the film', async t => {
    const { index } = await packageFilm(t, await make(t))
    const { facts } = index.head
    equal(facts.container, 'mp4')
    equal(facts.title, 'A film')
    equal(facts.durationS, 20)
    const [shown, heard] = facts.tracks
    equal(shown!.kind, 'video')
    deepEqual([shown!.width, shown!.height, shown!.rotation, shown!.frameRate], [320, 180, 0, 25])
    ok(shown!.bitRate! > 10_000)
    equal(heard!.kind, 'audio')
    deepEqual([heard!.channels, heard!.sampleRate, heard!.codec], [1, 48_000, 'mp4a.40.2'])
  })

  it('lets a segment be made from its own bytes of the film and no others', async t => {
    const path = await make(t)
    const packaged = await packageFilm(t, path)
    const { source, index } = packaged
    const track = index.head.tracks[0]!
    source.readBytes = 0
    const bytes = await segmentOf(packaged, track, 1)
    ok(source.readBytes < bytes.byteLength, `${source.readBytes} bytes read for ${bytes.byteLength}`)
  })

  it('cuts a rendition where the original is cut, and refuses one whose key frames are elsewhere', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'film.mp4')
    await ffmpeg(...picture(20), ...sound(20), ...H264, ...AAC, path)
    const original = await packageFilm(t, path)
    const small = join(folder, 'small.mp4')
    const scaled = ['-i', path, '-vf', 'scale=160:90', '-c:v', 'libx264', '-preset', 'veryfast', ...AAC]
    await ffmpeg(...scaled, '-force_key_frames', original.index.head.boundaries.join(','), small)
    const { boundaries } = original.index.head
    const rendition = await packageFilm(t, small, { boundaries })
    deepEqual(rendition.index.head.boundaries, boundaries)
    equal(rendition.index.head.tracks[0]!.starts.length, boundaries.length)
    const odd = join(folder, 'odd.mp4')
    await ffmpeg(...scaled, '-g', '37', '-sc_threshold', '0', odd)
    await rejects(packageFilm(t, odd, { boundaries }), /key frames are not where/)
  })

  it('is refused when a bit of it is not as it was written', async t => {
    const { indexBytes } = await packageFilm(t, await make(t))
    for (const at of [0, 9, 13, 17, 100]) {
      const changed = Buffer.from(indexBytes)
      changed[at]! ^= 1
      await rejects(readIndex(changed), { code: 'UNPACKAGEABLE' }, `byte ${at}`)
    }
  })
})
