/** kill -9 of every process of a cluster in turn, while clients work. */
import { deepEqual, equal, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Random } from '../faults/random.ts'
import { machineSlowness } from '../testkit/machine-pace.ts'
import { ROLES, RunningUp, type Role } from '../testkit/up.ts'
import { diskAgrees } from './agreement.ts'
import { doorsOf } from './doors.ts'
import { ClusterLoad, describePhase } from '../testkit/cluster-load.ts'
import { ENGINES, type Backing } from './engines.ts'

/** With two idle cores; where the machine is slower, by so much. */
const BACK_WITHIN_MS = 3_000
const GIVEN_UP_MS = 40_000
/** Load before a kill and after it. */
const LOAD_MS = 500
/** Of any one process, after the load. */
const RESIDENT_BYTES_MAX = 250 * 1024 * 1024

/** The gateway cannot send a large upload again that passed through it; and what comes by it ends with it. */
const TRANSFER_CUT = ['CONNECTION_LOST', 'OUTCOME_UNKNOWN']
const MAY_FAIL_BY_HTTP = {
  tracker: [],
  id: [],
  storage1: TRANSFER_CUT,
  storage2: TRANSFER_CUT,
  worker: TRANSFER_CUT,
  gateway: ['broken']
} as const satisfies Record<Role | 'worker', readonly string[]>

for (const engine of ENGINES) {
  describe(
    `a cluster on ${engine.name} whose processes are killed`,
    { skip: engine.skip, timeout: 180_000 },
    () => {
      let backing: Backing
      let up: RunningUp
      let load: ClusterLoad
      const random = new Random()

      before(async () => {
        // What other tests left in the kernel's memory is not to be waited for in a start that is timed.
        await promisify(execFile)('sync')
        backing = await engine.start()
        up = await RunningUp.start(backing)
        load = new ClusterLoad({ doors: doorsOf(up), random, users: ['kills'] })
      })
      after(async () => {
        await up?.close()
        await backing?.stop()
      })

      for (const role of [...ROLES, 'worker'] as const) {
        it(`has its ${role} back at once, and keeps every promise meanwhile`, async t => {
          const [{ backMs, slowness }, phase] = await load.during(async () => {
            await sleep(LOAD_MS)
            const before = await machineSlowness()
            const name = role === 'worker' ? 'storage1' : role
            const killed = role === 'worker' ? await up.killWorkers('storage1') : await up.kill(role)
            const backMs = await up.untilBack(name, killed, GIVEN_UP_MS)
            const slowness = Math.max(before, await machineSlowness())
            await sleep(LOAD_MS)
            return { backMs, slowness }
          })
          t.diagnostic(
            `seed ${random.seed}: back after ${(backMs / 1000).toFixed(2)} s on a machine slower by ` +
              `${slowness.toFixed(1)} than an idle one; ${describePhase(phase)}`
          )
          ok(backMs < BACK_WITHIN_MS * slowness, `back after ${backMs} ms`)
          deepEqual(phase.failures, {}, 'a client of the library notices nothing')
          const others = Object.keys(phase.httpFailures).filter(
            code => !(MAY_FAIL_BY_HTTP[role] as readonly string[]).includes(code)
          )
          deepEqual(others, [])
          ok(phase.uploads > 10 && phase.reads > 10, 'the load came through')
        })
      }

      it('has kept everything, at no cost of memory', async t => {
        const verdict = await load.verify()
        ok(verdict.whole > 50, `${verdict.whole} files`)
        const resident = await up.residentBytes()
        const text = [...resident].map(([name, bytes]) => `${name} ${Math.round(bytes / 2 ** 20)}`).join(', ')
        t.diagnostic(`${verdict.whole} whole, ${verdict.absent} absent; resident MiB: ${text}`)
        equal(resident.size, ROLES.length + 3)
        for (const [name, bytes] of resident) ok(bytes < RESIDENT_BYTES_MAX, `${name}: ${bytes}`)
        deepEqual(await up.stop(), { exitCode: 0, signal: null })
        equal(await diskAgrees(up), verdict.whole)
      })
    }
  )
}
