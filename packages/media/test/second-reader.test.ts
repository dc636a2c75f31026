import { deepEqual, equal, ok } from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { EncodedPacketSink, FilePathSource, Input, MATROSKA, MP4, QTFF, WEBM } from 'mediabunny'
import { AAC, ffmpeg, H264, packageFilm, picture, segmentOf, sound, temporaryFolder } from './films.ts'

describe('the samples of an index', { timeout: 60_000 }, () => {
  for (const file of ['film.mp4', 'film.mov', 'film.mkv']) {
    it(`are those that mediabunny reads (${file})`, async t => {
      const folder = await temporaryFolder(t)
      const path = join(folder, file)
      await ffmpeg(...picture(13), ...sound(13), ...H264, ...AAC, path)
      const packaged = await packageFilm(t, path)
      using input = new Input({ formats: [MP4, QTFF, MATROSKA, WEBM], source: new FilePathSource(path) })
      for (const track of packaged.index.head.tracks) {
        const other = (await input.getTracks()).find(({ id }) => id === track.id)!
        const sizes: number[] = []
        const keyTimes: number[] = []
        const parts: Uint8Array[] = []
        for await (const packet of new EncodedPacketSink(other).packets()) {
          sizes.push(packet.byteLength)
          parts.push(packet.data)
          if (packet.type === 'key') keyTimes.push(packet.timestamp)
        }
        const segments: Buffer[] = []
        for (const number of track.starts.keys()) {
          const bytes = await segmentOf(packaged, track, number)
          segments.push(bytes.subarray(bytes.indexOf('mdat') + 4))
        }
        equal(
          track.samples.reduce((sum, count) => sum + count, 0),
          sizes.length
        )
        deepEqual(Buffer.concat(segments), Buffer.concat(parts))
        if (track.kind === 'video') {
          const ours = track.winding!.times.map(time => time / track.timescale)
          equal(ours.length, keyTimes.length)
          for (const [index, time] of ours.entries()) ok(Math.abs(time - keyTimes[index]!) < 0.03)
        }
      }
    })
  }
})
