import { deepEqual, equal, ok } from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { Lab, ROOT, type LabHost } from '../../lab/lab.ts'
import { machineSlowness } from '../testkit/machine-pace.ts'
import { noLab } from './no-lab.ts'
import { Traffic, type Kind, type TrafficReport } from './traffic.ts'

const skip = noLab() ?? false
const DESCRIPTION = fileURLToPath(new URL('../../deploy/examples/three.toml', import.meta.url))
const MINUTES = 60_000
const FILES = 60

/** What docs/OPERATIONS.md promises. */
const ADDRESS_MOVED_MS = 1_000
const ADDRESS_MOVED_LOADED_MS = 2_000
const READ_GAP_MS = 2_000
const UPLOAD_GAP_MS = 10_000
const TABLE_WHOLE_MS = 3_000
/** GlusterFS: a copy that is gone without a word is given up after ping-timeout (5 s), and what waited goes on a moment later. */
const GLUSTER_STALL_MS = 8_000
const HEALED_MS = 90_000
const POLL_MS = 100

describe('three machines with every role on each', { skip, timeout: 8 * MINUTES }, () => {
  let lab: Lab
  let traffic: Traffic

  before(async () => {
    lab = await Lab.up({
      description: DESCRIPTION,
      folder: join(ROOT, '.cache', 'lab', `test-${process.pid}`)
    })
    traffic = await Traffic.begin(lab, FILES)
  })
  after(async () => {
    traffic?.end()
    await lab?.stop()
  })

  it('give back through every member and every gateway what was uploaded through the virtual address', async t => {
    equal(await traffic.put(traffic.setup.virtual, 'film'), 201)
    deepEqual(await traffic.verify(['film']), [])
    await sleep(1_000)
    print(t, 'at peace', await traffic.report())
  })

  it('answer at the virtual address within a second after its host was cut off, and reads go on', async t => {
    const slowness = await machineSlowness()
    const owner = lab.host((await lab.ownerOf('gateway'))!)
    await traffic.restart()
    await owner.cut()
    await sleep(GLUSTER_STALL_MS + READ_GAP_MS)
    const cut = await traffic.report()
    const next = await lab.ownerOf('gateway')
    await owner.heal()
    print(t, `${owner.name} cut off, the address went to ${next}, machine at ${slowness.toFixed(1)}`, cut)
    within(cut, 'address', Math.min(ADDRESS_MOVED_LOADED_MS, ADDRESS_MOVED_MS * slowness))
    within(cut, 'read', GLUSTER_STALL_MS + READ_GAP_MS)
    deepEqual(cut.read.failures, {}, 'no read failed')
    await untilWhole(lab)
  })

  it('read on when a tracker is killed, which knows every member again within 3 s', async t => {
    const { name, address } = lab.host('a')
    await traffic.restart()
    await lab.host(name).killUnit('tributary-tracker')
    const killedMs = performance.now()
    await until(async () => (await traffic.active(`${address}:21000`)) === 0, 2_000).catch(() => {}) // it may be faster
    const startedMs = await startOf(lab.host(name), 'tributary-tracker')
    await until(async () => (await traffic.active(`${address}:21000`)) === 3, 30_000)
    const report = await traffic.report()
    const wholeMs = performance.now() - startedMs
    print(
      t,
      `tracker killed, started again after ${seconds(startedMs - killedMs)}, whole ${seconds(wholeMs)} later`,
      report
    )
    within(report, 'read', READ_GAP_MS)
    within(report, 'upload', UPLOAD_GAP_MS)
    deepEqual(report.read.failures, {}, 'no read failed')
    ok(wholeMs < TABLE_WHOLE_MS * (await machineSlowness()), `the table was whole after ${seconds(wholeMs)}`)
  })

  const killed: [title: string, unit: string, matching: string][] = [
    ['an ID server', 'tributary-id', ''],
    ['a storage server', 'tributary-storage', ''],
    ['a gateway', 'tributary-gateway', ''],
    ['a database node', 'mariadb', ''],
    ['a brick', 'glusterd', 'glusterfsd'],
    ['glusterd', 'glusterd', 'sbin/glusterd']
  ]
  for (const [title, unit, matching] of killed) {
    it(`read on, and take uploads, when ${title} is killed`, async t => {
      const host = unit === 'tributary-gateway' ? lab.host((await lab.ownerOf('gateway'))!) : lab.host('b')
      await traffic.restart()
      const count = await host.killUnit(unit, matching)
      ok(count > 0, `${title} runs on ${host.name}`)
      await sleep(unit === 'mariadb' ? UPLOAD_GAP_MS : 3_000)
      const report = await traffic.report()
      print(t, `${title} of ${host.name} killed`, report)
      within(report, 'read', READ_GAP_MS)
      within(report, 'upload', UPLOAD_GAP_MS)
      deepEqual(report.read.failures, {}, 'no read failed')
      if (unit === 'glusterd') await host.restartUnit('glusterd') // brings its brick back
      await untilWhole(lab)
    })
  }

  it('lose nothing and wait for nobody when a whole host dies; it comes back and heals', async t => {
    const host = lab.host('c')
    await traffic.restart()
    await host.kill()
    await sleep(GLUSTER_STALL_MS + UPLOAD_GAP_MS)
    const dead = await traffic.report()
    print(t, `${host.name} dead`, dead)
    await host.start()
    const startMs = performance.now()
    await untilWhole(lab)
    print(
      t,
      `${host.name} back and healed after ${seconds(performance.now() - startMs)}`,
      await traffic.report()
    )
    within(dead, 'read', GLUSTER_STALL_MS + READ_GAP_MS)
    within(dead, 'upload', GLUSTER_STALL_MS + UPLOAD_GAP_MS)
    deepEqual(dead.read.failures, {}, 'no read failed')
    deepEqual(await traffic.verify(), [], 'everything acknowledged is whole everywhere')
  })
})

function within(report: TrafficReport, kind: Kind, boundMs: number): void {
  const { count, longestGapMs } = report[kind]
  ok(count > 0, `some ${kind} succeeded`)
  ok(longestGapMs <= boundMs, `longest gap of ${kind}: ${seconds(longestGapMs)}, at most ${seconds(boundMs)}`)
}

function print(t: TestContext, what: string, report: TrafficReport): void {
  const rows = (['read', 'upload', 'address', 'http'] as const).map(kind => {
    const { count, longestGapMs, failures } = report[kind]
    const failed = Object.entries(failures).map(([code, times]) => `${times} × ${code}`)
    return `${kind} ${seconds(longestGapMs)} (${[`${count} ok`, ...failed].join(', ')})`
  })
  t.diagnostic(`${what}; longest gaps: ${rows.join('; ')}; ${report.acknowledged} acknowledged`)
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`

/** All roles ready, all bricks connected, nothing left to heal. */
async function untilWhole(lab: Lab): Promise<void> {
  await lab.untilReady()
  const [first] = lab.hostsWith('brick')
  await until(async () => {
    const { exitCode, stdout } = await first!.run('timeout 20 gluster volume heal group001 info summary')
    const entries = [...stdout.matchAll(/^Total Number of entries: (\S+)/gm)].map(([, count]) => count)
    return exitCode === 0 && entries.length === 3 && entries.every(count => count === '0')
  }, HEALED_MS)
}

/** When the unit's present main process was first seen running. */
async function startOf(host: LabHost, unit: string): Promise<number> {
  await until(async () => {
    const { units } = await host.status()
    return units.some(({ name, state }) => name === `${unit}.service` && state === 'active')
  }, 10_000)
  return performance.now()
}

async function until(holds: () => Promise<boolean>, withinMs: number): Promise<void> {
  const endMs = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${seconds(withinMs)}`)
    await sleep(POLL_MS)
  }
}
