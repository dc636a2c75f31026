/** Which processes grow without end, and which only fill their caches. */
import { deepEqual, equal, match } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LOOK_EVERY_MS, Memory, type Life, type MemoryReport } from '../../lab/chaos/memory.ts'
import { readStats } from '../../lab/chaos/resident.ts'

const MEBIBYTE = 1024 * 1024
const MINUTE_MS = 60_000

interface Course {
  readonly name?: string
  readonly born?: string
  readonly fromMs?: number
  readonly untilMs?: number
  /** MiB, by the minutes since it was born. */
  readonly at: (minute: number) => number
}

/** Looks at processes of these courses for ten minutes, or until clients are quiet. */
function watch(courses: readonly Course[], quietMs = Infinity): MemoryReport {
  const memory = new Memory()
  for (let ms = 0; ms <= 10 * MINUTE_MS; ms += LOOK_EVERY_MS) {
    if (ms >= quietMs && ms - LOOK_EVERY_MS < quietMs) memory.quiet(ms)
    const found = courses.filter(({ fromMs = 0, untilMs = Infinity }) => ms >= fromMs && ms <= untilMs)
    memory.look(
      ms,
      found.map(({ name = 'a/storage', born = '1', fromMs = 0, at }) => ({
        name,
        pid: 7,
        born,
        bytes: at((ms - fromMs) / MINUTE_MS) * MEBIBYTE
      }))
    )
  }
  return memory.report()
}

const slopeOf = ({ bytesPerMinute }: Life): number => Math.round(bytesPerMinute! / MEBIBYTE)

describe('memory in a run of chaos', () => {
  it('that grows steadily is a leak, long before it has doubled', () => {
    const { lives, broken } = watch([{ at: minute => 300 + 25 * minute }])
    equal(slopeOf(lives[0]!), 25)
    equal(broken.length, 1)
    match(broken[0]!, /^a\/storage \(process 7\) grew by 25 MiB a minute/)
  })

  it('that fills at first, goes up and down, or leaps once, is none', () => {
    const courses: Course['at'][] = [
      minute => 100 + Math.min(200, 100 * minute),
      minute => 200 + 40 * (minute % 1),
      minute => (minute < 7 ? 100 : 180),
      minute => (minute < 7.6 ? 100 : 300),
      () => 150
    ]
    for (const at of courses) deepEqual(watch([{ at }]).broken, [])
  })

  it('may fill the caches that the configuration bounds, and no more', () => {
    const name = 'a/mariadb.service'
    deepEqual(watch([{ name, at: minute => 380 + 30 * minute }]).broken, [])
    equal(watch([{ name, at: minute => 380 + 60 * minute }]).broken.length, 1)
  })

  it('is judged of every process by itself, also of one that came later or has ended', () => {
    const fromMs = 3 * MINUTE_MS
    const { lives, broken } = watch([
      { at: () => 100, untilMs: 2 * MINUTE_MS },
      { at: minute => 100 + 30 * minute, born: '2', fromMs, untilMs: 8 * MINUTE_MS },
      { at: () => 100, born: '3', fromMs: 9 * MINUTE_MS }
    ])
    equal(lives.length, 3)
    deepEqual(
      lives.map(({ bytesPerMinute }) => bytesPerMinute !== undefined),
      [false, true, false],
      'two did not live long enough'
    )
    equal(broken.length, 1)
  })

  it('has an absolute bound too, also for a process that was not there at the beginning', () => {
    const { broken } = watch([
      { at: () => 100 },
      { name: 'a/late', fromMs: 5 * MINUTE_MS, at: minute => (minute < 3.7 ? 100 : 500) }
    ])
    deepEqual(broken, ['a/late grew from 100 to 500 MiB'])
  })

  it('is not judged by what comes when clients are quiet', () => {
    const course: Course = { at: minute => (minute < 5 ? 100 : 100 + 40 * (minute - 5)) }
    equal(watch([course]).broken.length, 1)
    deepEqual(watch([course], 5 * MINUTE_MS).broken, [])
  })

  it('is read of a process whatever its name is', () => {
    const rest = Array.from({ length: 30 }, (_, at) => String(at + 4)).join(' ')
    deepEqual(
      [...readStats(`4096\n12 (a) b (c) S ${rest}\n13 (node) R ${rest}\n`)],
      [12, 13].map(pid => [pid, { born: '22', bytes: 24 * 4096 }])
    )
  })
})
