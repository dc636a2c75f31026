import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatNameOf, hintFor, kindOf, reasonsFor } from '../src/playability.ts'

const entry = (mediaType: string, name = '') => ({ mediaType, name, file: 'id' })
const UNSUPPORTED = 4

describe('why a browser does not play a file', () => {
  for (const [mediaType, name, hint] of [
    ['video/x-matroska', '', 'hintMkv'],
    ['video/webm', 'film.mkv', 'hintMkv'],
    ['video/webm', 'film.webm', undefined],
    ['video/x-msvideo', '', 'hintAvi'],
    ['application/octet-stream', 'film.AVI', 'hintAvi'],
    ['video/quicktime', '', 'hintMov'],
    ['video/mp2t', '', 'hintTs'],
    ['video/mp4', '', 'hintMp4'],
    ['application/zip', 'films.zip', 'hintOther']
  ] as const) {
    it(`tells of ${mediaType} ${name}: ${hint ?? 'nothing more'}`, () =>
      equal(hintFor(entry(mediaType, name)), hint))
  }

  it('tells a broken connection and a missing file from a format that is not known', () => {
    const film = entry('video/x-msvideo')
    deepEqual(reasonsFor(film, UNSUPPORTED, 200), ['reasonUnsupported', 'hintAvi', 'advice'])
    deepEqual(reasonsFor(film, UNSUPPORTED, 404), ['reasonMissing'])
    deepEqual(reasonsFor(film, UNSUPPORTED, 0), ['reasonNetwork'])
    deepEqual(reasonsFor(film, UNSUPPORTED, 503), ['reasonNetwork'])
    deepEqual(reasonsFor(film, 2, 200), ['reasonNetwork'])
    deepEqual(reasonsFor(film, 3, 200), ['reasonDecode', 'hintAvi', 'advice'])
  })

  it('takes the name where the type says nothing', () => {
    equal(kindOf(entry('application/octet-stream', 'a.MKV')), 'video')
    equal(kindOf(entry('application/octet-stream', 'a.flac')), 'audio')
    equal(kindOf(entry('application/octet-stream', 'a.exe')), 'other')
    equal(kindOf(entry('audio/mpeg', 'a.mp4')), 'audio')
  })

  it('calls formats by the names that people know', () => {
    deepEqual(
      ['video/mp4', 'video/x-matroska', 'video/quicktime; x=y', 'application/octet-stream', 'text/plain'].map(
        formatNameOf
      ),
      ['MP4', 'MKV', 'MOV', '', '']
    )
  })
})
