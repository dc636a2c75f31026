import { deepEqual, equal } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { escapeAttribute } from '../src/library/embed-code.ts'
import { languageOfName, subtitlesTypeOf } from '../src/library/subtitles-file.ts'
import { isFiltered, readWish } from '../src/library/wish.ts'

describe("what the library's address asks for", () => {
  it('is everything, newest first, where it says nothing', () => {
    const wish = readWish('')
    deepEqual(wish, { search: '', sort: 'newest', reverse: false, application: '', user: '', kind: '' })
    equal(isFiltered(wish), false)
  })

  it('is read from it, and nothing else', () => {
    const wish = readWish('?q=sea&sort=oldest&app=media&user=anna&kind=video&x=y')
    deepEqual(wish, {
      search: 'sea',
      sort: 'newest',
      reverse: true,
      application: 'media',
      user: 'anna',
      kind: 'video'
    })
    equal(isFiltered(wish), true)
    deepEqual(readWish('?sort=toString&kind=constructor'), readWish(''))
    equal(readWish(`?q=${'x'.repeat(500)}`).search.length, 200)
  })
})

describe('the name of a file of subtitles', () => {
  it('tells its language and its type', () => {
    deepEqual(
      ['Film.en.vtt', 'Film.de-CH.srt', 'film_zh.SRT', 'Film.vtt', 'en.vtt', '2001.forced.srt'].map(
        languageOfName
      ),
      ['en', 'de-CH', 'zh', '', '', '']
    )
    deepEqual(['a.srt', 'a.SRT', 'a.vtt'].map(subtitlesTypeOf), [
      'application/x-subrip',
      'application/x-subrip',
      'text/vtt'
    ])
  })
})

describe('the code for other pages', () => {
  it('ends at no quote of an address', () => equal(escapeAttribute('a"b<c>&'), 'a&quot;b&lt;c&gt;&amp;'))
})
