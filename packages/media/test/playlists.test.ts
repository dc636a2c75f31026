import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import {
  dashManifest,
  makeIndex,
  masterPlaylist,
  mediaPlaylist,
  openFilm,
  readIndex,
  subtitlePlaylist,
  windingPlaylist
} from '../src/index.ts'
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
  writeTree
} from './films.ts'
import { checkMasterPlaylist, checkMediaPlaylist, peakRate, unquoted } from './playlist-rules.ts'

const TWO_SOUNDS = [
  ...picture(21),
  ...sound(21, 300),
  ...sound(21, 600),
  '-map',
  '0:v',
  '-map',
  '1:a',
  '-map',
  '2:a',
  '-metadata:s:a:0',
  'language=eng',
  '-metadata:s:a:1',
  'language=zho',
  '-metadata:s:a:1',
  'handler_name=A "quoted" name'
]

describe('playlists of a film', { timeout: 60_000 }, () => {
  it('keep the rules of RFC 8216, and what they say of the segments is true', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'film.mp4')
    await ffmpeg(...TWO_SOUNDS, ...H264, ...AAC, path)
    const packaged = await packageFilm(t, path)
    const masterPath = await writeTree(packaged, folder)
    const master = checkMasterPlaylist(await readFile(masterPath, 'utf8'))
    ok(master.independent)
    equal(master.media.length, 2)
    deepEqual(
      master.media.map(media => media.get('LANGUAGE')),
      ['"en"', '"zh"']
    )
    const [variant] = master.variants
    equal(variant!.attributes.get('RESOLUTION'), '320x180')
    equal(variant!.attributes.get('FRAME-RATE'), '25.000')
    equal(variant!.attributes.get('CLOSED-CAPTIONS'), 'NONE')
    const uris = [variant!.uri, ...master.media.map(media => unquoted(media.get('URI')))]
    const rates: { peak: number; average: number; starts: number[] }[] = []
    const targets = new Set<number>()
    for (const uri of uris) {
      const place = join(dirname(masterPath), uri)
      const list = checkMediaPlaylist(await readFile(place, 'utf8'))
      equal(list.type, 'VOD')
      targets.add(list.targetS)
      const segments: { seconds: number; bytes: number }[] = []
      for (const { uri: segment, seconds } of list.segments) {
        segments.push({ seconds, bytes: (await readFile(join(dirname(place), segment))).byteLength })
      }
      const totalS = segments.reduce((sum, { seconds }) => sum + seconds, 0)
      ok(Math.abs(totalS - 21) < 0.05, `${totalS} s`)
      let at = 0
      const starts = segments.map(({ seconds }) => (at += seconds) - seconds)
      const bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0)
      rates.push({ peak: peakRate(segments, list.targetS), average: (bytes * 8) / totalS, starts })
    }
    equal(targets.size, 1, '§6.2.4: one target duration for all')
    for (const { starts } of rates) {
      equal(starts.length, rates[0]!.starts.length)
      for (const [index, start] of starts.entries()) {
        ok(Math.abs(start - rates[0]!.starts[index]!) < 0.03, 'sound is cut where the picture is')
      }
    }
    const heaviest = Math.max(rates[1]!.peak, rates[2]!.peak)
    const said = Number(variant!.attributes.get('BANDWIDTH'))
    ok(Math.abs(said - rates[0]!.peak - heaviest) < 10, `${said}`)
    const average = rates[0]!.average + Math.max(rates[1]!.average, rates[2]!.average)
    ok(Math.abs(Number(variant!.attributes.get('AVERAGE-BANDWIDTH')) - average) < 10)
  })

  it('have pictures for winding, each a segment that decodes alone', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'film.mp4')
    await ffmpeg(...picture(21), ...H264, path)
    const packaged = await packageFilm(t, path)
    const masterPath = await writeTree(packaged, folder)
    const [iFrames] = checkMasterPlaylist(await readFile(masterPath, 'utf8')).iFrames
    const place = join(folder, unquoted(iFrames!.get('URI')))
    const list = checkMediaPlaylist(await readFile(place, 'utf8'))
    ok(list.iFramesOnly)
    equal(list.segments.length, 11)
    const all = await decode(path, '0:v:0')
    const shown = await decode(place, '0:v:0')
    deepEqual(
      shown.map(({ hash }) => hash),
      all.filter((_frame, index) => index % 50 === 0).map(({ hash }) => hash)
    )
    const segments: { seconds: number; bytes: number }[] = []
    for (const { uri, seconds } of list.segments) {
      segments.push({ seconds, bytes: (await readFile(join(dirname(place), uri))).byteLength })
    }
    ok(Math.abs(Number(iFrames!.get('BANDWIDTH')) - peakRate(segments, list.targetS)) < 10)
  })

  it('do not say that segments are independent where they are not', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'open.mp4')
    await ffmpeg(
      ...picture(13),
      '-c:v',
      'libx265',
      '-preset',
      'ultrafast',
      '-x265-params',
      'log-level=none:open-gop=1',
      '-g',
      '50',
      path
    )
    const { index } = await packageFilm(t, path)
    equal(index.head.independent, false)
    ok(!masterPlaylist({ sources: [{ folder: 'original', index }] }).includes('INDEPENDENT'))
  })

  it('join renditions and subtitles, and carry what a gateway adds to addresses', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'film.mp4')
    await ffmpeg(...picture(21), ...sound(21), ...H264, ...AAC, path)
    const { index } = await packageFilm(t, path)
    const { boundaries } = index.head
    const small = join(folder, 'small.mp4')
    const keys = ['-force_key_frames', boundaries.join(',')]
    await ffmpeg(
      '-i',
      path,
      '-vf',
      'scale=160:90',
      '-c:v',
      'libx264',
      '-preset',
      'veryfast',
      ...keys,
      ...AAC,
      small
    )
    const rendition = await packageFilm(t, small, { boundaries })
    const film = {
      sources: [
        { folder: 'original', index },
        { folder: '90p', index: rendition.index }
      ],
      subtitles: [
        { name: 'subtitles-en', language: 'en', title: 'English', default: true },
        { name: 'subtitles-en-2', language: 'en', title: 'English' }
      ]
    }
    const address = (uri: string): string => `${uri}?key=1&sig=abc`
    const master = checkMasterPlaylist(masterPlaylist(film, { base: 'generation/', address }))
    equal(master.variants.length, 2)
    deepEqual(
      master.variants.map(({ uri }) => uri),
      [`generation/original/1/index.m3u8?key=1&sig=abc`, `generation/90p/1/index.m3u8?key=1&sig=abc`]
    )
    equal(master.media.filter(media => media.get('TYPE') === 'SUBTITLES').length, 2)
    equal(master.media.filter(media => media.get('TYPE') === 'AUDIO').length, 1)
    const list = checkMediaPlaylist(mediaPlaylist(index, index.head.tracks[0]!, { address }))
    equal(list.map, 'init.mp4?key=1&sig=abc')
    ok(list.segments.every(({ uri }) => uri.endsWith('?key=1&sig=abc')))
    checkMediaPlaylist(windingPlaylist(index.head.tracks[0]!, { address })!)
    checkMediaPlaylist(subtitlePlaylist(index.head.durationS, address('subtitles-en.vtt')))
    const manifest = dashManifest(film, { base: 'generation/', address })
    match(manifest, /media="generation\/original\/1\/segment-\$Number\$\.m4s\?key=1&amp;sig=abc"/)
    equal(manifest.match(/<Representation /g)?.length, 5)
  })

  for (const [kind, file, options] of [
    ['an MP4 with its index in front', 'film.mp4', ['-movflags', '+faststart']],
    ['a fragmented MP4', 'film.mp4', ['-movflags', '+frag_keyframe+empty_moov+default_base_moof']],
    ['an MKV', 'film.mkv', []]
  ] as const) {
    it(`of ${kind} that still arrives name what is there, and its segments are those of the whole`, async t => {
      const folder = await temporaryFolder(t)
      const path = join(folder, file)
      await ffmpeg(...picture(31), ...sound(31), ...H264, ...AAC, ...options, path)
      const whole = await packageFilm(t, path)
      const { sizeBytes } = whole.source
      let before = 0
      for (const availableBytes of [0.3, 0.5, 0.75].map(part => Math.floor(sizeBytes * part))) {
        const front = {
          sizeBytes: availableBytes,
          read: (start: number, end: number) => whole.source.read(start, Math.min(end, availableBytes))
        }
        const index = await readIndex(await makeIndex(await openFilm(front, { growing: true })))
        for (const [number, track] of index.head.tracks.entries()) {
          const list = checkMediaPlaylist(mediaPlaylist(index, track, { availableBytes }))
          const ending = checkMediaPlaylist(mediaPlaylist(whole.index, whole.index.head.tracks[number]!))
          equal(list.type, 'EVENT')
          ok(!list.ended)
          ok(list.segments.length >= before && list.segments.length < ending.segments.length)
          deepEqual(list.segments, ending.segments.slice(0, list.segments.length))
          deepEqual(index.initSegment(track), whole.index.initSegment(track))
          for (const segment of list.segments.keys()) {
            const now = await segmentOf({ ...whole, index, source: front as never }, track, segment)
            deepEqual(now, await segmentOf(whole, track, segment))
          }
          if (number === 0) before = list.segments.length
        }
      }
      ok(before >= 3, `${before} segments at the end`)
    })
  }

  it('give ffmpeg a DASH manifest that it plays through', async t => {
    const folder = await temporaryFolder(t)
    const path = join(folder, 'film.mp4')
    await ffmpeg(...picture(21), ...sound(21), ...H264, ...AAC, path)
    const packaged = await packageFilm(t, path)
    await writeTree(packaged, folder)
    const manifest = join(folder, 'manifest.mpd')
    await writeFile(manifest, dashManifest({ sources: [{ folder: 'original', index: packaged.index }] }))
    for (const stream of ['0:v:0', '0:a:0']) {
      const played = await decode(manifest, stream)
      const expected = await decode(path, stream)
      ok(Math.abs(played.length - expected.length) <= 1)
      const hashes = new Set(played.map(({ hash }) => hash))
      equal(expected.filter(({ hash }) => !hashes.has(hash)).length, 0)
    }
  })
})
