import { deepEqual, equal, ok } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatAgo, formatBytes, formatDuration, formatSeconds, languageName } from '../src/format.ts'
import { RateMeter } from '../src/rate-meter.ts'

describe('figures for people', () => {
  it('are short', () => {
    deepEqual(
      [0, 999, 1000, 999_949, 999_950, 1_500_000, 123_456_789, 5e15].map(bytes => formatBytes(bytes, 'en')),
      ['0 B', '999 B', '1 KB', '1 MB', '1 MB', '1.5 MB', '123 MB', '5 PB']
    )
    deepEqual([0, 5, 65, 3725].map(formatSeconds), ['0:00', '0:05', '1:05', '1:02:05'])
    deepEqual([59.4, 59.5, 59.94, 59.98, 60, 60.02].map(formatDuration), ['0:59', ...Array(5).fill('1:00')])
    deepEqual([0, 3599.6, 7199.98].map(formatDuration), ['0:00', '1:00:00', '2:00:00'])
  })

  it('say when something was, and will be', () => {
    const nowMs = Date.UTC(2026, 0, 10)
    equal(formatAgo(nowMs - 3 * 3_600_000, nowMs, 'en'), '3 hours ago')
    equal(formatAgo(nowMs + 6.9 * 86_400_000, nowMs, 'en'), 'in 6 days')
    equal(formatAgo(nowMs, nowMs, 'en'), 'now')
    equal(formatAgo(nowMs - 120_000, nowMs, 'zh'), '2分钟前')
  })

  it('call languages by their names', () => {
    deepEqual(
      ['zho', 'de-CH', 'und', '', '!'].map(code => languageName(code, 'en')),
      ['Chinese', 'Swiss High German', '', '', '!']
    )
    equal(languageName('eng', 'zh'), '英语')
  })

  it('follow a change of speed within seconds', () => {
    const meter = new RateMeter()
    equal(meter.bytesPerS, 0)
    let doneBytes = 0
    for (let atMs = 0; atMs <= 10_000; atMs += 100) meter.add((doneBytes += 100_000), atMs)
    ok(Math.abs(meter.bytesPerS - 1e6) < 1e4, String(meter.bytesPerS))
    for (let atMs = 10_100; atMs <= 17_000; atMs += 100) meter.add((doneBytes += 10_000), atMs)
    ok(Math.abs(meter.bytesPerS - 1e5) < 1e4, String(meter.bytesPerS))
    meter.clear()
    equal(meter.bytesPerS, 0)
  })
})
