import { deepEqual, equal, match, ok, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { readSubtitles, SUBTITLE_BYTES_MAX, webVtt } from '../src/index.ts'

const srt = (text: string): Buffer => Buffer.from(text)

describe('reading subtitles', () => {
  it('takes SubRip with its numbers, commas and marks', () => {
    const cues = readSubtitles(
      srt(
        '\uFEFF1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Hello</i> <font color="red">you</font>\r\n& me\r\n\r\n2\r\n00:01:00,5 --> 01:00:00,000\r\n{\\an8}Top\r\n'
      )
    )
    deepEqual(cues, [
      { startMs: 1000, endMs: 2500, settings: '', text: '<i>Hello</i> you\n&amp; me' },
      { startMs: 60_500, endMs: 3_600_000, settings: '', text: 'Top' }
    ])
  })

  it('takes WebVTT without its styles, notes and regions, and keeps settings that it knows', () => {
    const vtt = `WEBVTT - a title
X-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000

STYLE
::cue { background: url(https://example.org/) }

NOTE a remark

id
00:01.000 --> 00:02.000 line:10% align:start onclick:1
<v.loud Ann>Hi <c.red>there</c></v> &lt;3 <script>x</script>
`
    const text = webVtt(readSubtitles(srt(vtt)), { timestampMap: true })
    equal(
      text,
      'WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n00:00:01.000 --> 00:00:02.000 line:10% align:start\n<v Ann>Hi there</v> &lt;3 x\n'
    )
  })

  it('takes files without empty lines between cues, and puts cues in order', () => {
    const cues = readSubtitles(
      srt('1\n00:00:05,000 --> 00:00:06,000\nlater\n2\n00:00:01,000 --> 00:00:02,000\nfirst\n')
    )
    deepEqual(
      cues.map(({ text }) => text),
      ['first', 'later']
    )
  })

  it('takes UTF-16 and Windows-1252', () => {
    const text = '1\n00:00:01,000 --> 00:00:02,000\nÄrger\n'
    equal(readSubtitles(Buffer.from(`\uFEFF${text}`, 'utf16le'))[0]!.text, 'Ärger')
    equal(readSubtitles(Buffer.from(text, 'latin1'))[0]!.text, 'Ärger')
  })

  it('refuses what has no cue, and what is too large', () => {
    throws(() => readSubtitles(srt('PK\u0003\u0004')), { code: 'UNPACKAGEABLE' })
    throws(() => readSubtitles(Buffer.alloc(SUBTITLE_BYTES_MAX + 1)), { code: 'UNPACKAGEABLE' })
  })

  it('gives clean WebVTT whatever comes in, in time', () => {
    const part = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.constantFrom(
        '\n',
        '\n\n',
        '<',
        '>',
        '-->',
        '&',
        '{\\',
        '00:00:01,000 --> 00:00:09,000',
        '<b>',
        '</b',
        '\0',
        '\uE000',
        '<v '
      )
    )
    fc.assert(
      fc.property(fc.array(part, { maxLength: 60 }), parts => {
        const text = `1\n00:00:01,000 --> 00:00:02,000\nx\n\n1\n00:00:01,000 --> 00:00:02,000\n${parts.join('')}`
        const out = webVtt(readSubtitles(srt(text)))
        ok(out.startsWith('WEBVTT\n\n'))
        for (const block of out.slice(8).split('\n\n')) {
          const [timing, ...lines] = block.split('\n').filter(line => line !== '')
          match(timing!, /^\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}/)
          for (const line of lines) {
            ok(!line.includes('-->'))
            ok(!/<(?!\/?(?:[biu]|v|ruby|rt)[ >])/.test(line), line)
          }
        }
      }),
      { numRuns: 500 }
    )
  })

  it('is not slowed down by long lines of opening marks', () => {
    const started = performance.now()
    const line = '<'.repeat(200_000) + '{\\'.repeat(200_000) + '&'.repeat(200_000)
    readSubtitles(
      srt(`1\n00:00:01,000 --> 00:00:02,000\nx\n${line}\n\n${'0'.repeat(1_000_000)}\n${'1:'.repeat(500_000)}`)
    )
    ok(performance.now() - started < 2_000)
  })
})
