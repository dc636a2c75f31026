// Lives a film's life through, and kills itself before the call on disk, journal or index of the given number.
import { writeSync } from 'node:fs'
import { openLife, STEPS } from './film-life.ts'

const [folder, killedAt] = process.argv.slice(2) as [string, string]
let calls = 0
let isCounting = false

function step(): void {
  if (!isCounting || ++calls < Number(killedAt)) return
  process.kill(process.pid, 'SIGKILL')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) // it goes no further
}

/** The same, whose methods count first. */
function counted<T extends object>(whole: T): T {
  return new Proxy(whole, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        step()
        return value.apply(target, args)
      }
    }
  })
}

const life = await openLife({ after: () => {} }, folder, ({ database, volume, journal }) => {
  for (const [of, names] of [
    [volume, ['run']],
    [journal, ['append', 'sync']]
  ] as const)
    for (const name of names) {
      const call = Reflect.get(of, name).bind(of) as (...args: unknown[]) => unknown
      Object.assign(of, { [name]: (...args: unknown[]) => (step(), call(...args)) })
    }
  return { files: counted(database.files), uploads: counted(database.uploads) }
})
isCounting = true
for (const { run } of STEPS) {
  await run(life)
  writeSync(1, '.')
}
process.exit(0)
