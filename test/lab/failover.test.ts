import { deepEqual, equal, ok } from 'node:assert/strict'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { after, before, beforeEach, describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Lab, ROOT, type LabHost } from '../../lab/lab.ts'
import { machineSlowness } from '../testkit/machine-pace.ts'
import { gapsText, seconds, until, untilWhole } from './cluster-wait.ts'
import { testDescriptionChanges } from './description-changes.ts'
import { noLab } from './no-lab.ts'
import { Traffic, type Kind, type TrafficReport } from './traffic.ts'

const skip = noLab() ?? false
const EXAMPLE = fileURLToPath(new URL('../../deploy/examples/three.toml', import.meta.url))
/** What the example leaves out, as it can be left out. */
const REDIS = `
[redis]
primary = "a"
replicas = ["b", "c"]
sentinels = ["a", "b", "c"]
`
const MINUTES = 60_000
const FILES = 60

/** What docs/LAB.md promises; up to twice as much on a machine that has other work to do. */
const ADDRESS_MOVED_MS = 1_000
const READ_GAP_MS = 2_000
const UPLOAD_GAP_MS = 10_000
const TABLE_WHOLE_MS = 3_000
/** Keepalived asks for readiness once a second, and believes the second answer. */
const CHECK_MOVED_MS = 4_000
const LOADED_MAX = 2
/** GlusterFS: a host that is gone without a word is given up after ping-timeout (5 s); what waited goes on a moment later. */
const GLUSTER_STALL_MS = 8_000
/** Galera: a node that is gone is waited for before causal reads go on, and so is who looks up a file that is in no cache. */
const GALERA_STALL_MS = 4_000
/** Long enough to see what follows the end of one process. */
const SETTLED_MS = 3_000
/** Longer than anybody waits for one answer. */
const FROZEN_MS = 5_000
/** What it finds in its sockets it has read by then. */
const THAWED_MS = 2_000

describe('three machines with every role on each', { skip, timeout: 15 * MINUTES }, () => {
  let lab: Lab
  let description: string
  let traffic: Traffic
  let pace = 1

  before(async () => {
    const folder = join(ROOT, '.cache', 'lab', `test-${process.pid}`)
    description = `${folder}.toml`
    await mkdir(dirname(description), { recursive: true })
    await writeFile(description, `${await readFile(EXAMPLE, 'utf8')}${REDIS}`)
    lab = await Lab.up({ description, folder })
    traffic = await Traffic.begin(lab, FILES)
  })
  beforeEach(async () => {
    pace = Math.min(LOADED_MAX, await machineSlowness())
    await traffic.restart()
  })
  after(async () => {
    traffic?.end()
    await lab?.stop()
    if (description) await rm(description, { force: true })
  })

  const withinPace = (report: TrafficReport, kind: Kind, boundMs: number): void => {
    const { count, longestGapMs } = report[kind]
    ok(count > 0, `some ${kind} succeeded`)
    ok(
      longestGapMs <= boundMs * pace,
      `longest gap of ${kind}: ${seconds(longestGapMs)}, at most ${seconds(boundMs)}`
    )
  }
  const print = (t: TestContext, what: string, report: TrafficReport): void => {
    t.diagnostic(`${what}; ${gapsText(report)}; bounds × ${pace.toFixed(1)}`)
  }

  it('give back through every member and every gateway what was uploaded through the virtual address', async t => {
    equal(await traffic.put(traffic.setup.virtual, 'film'), 201)
    deepEqual(await traffic.verify(['film']), [])
    await sleep(1_000)
    print(t, 'at peace', await traffic.report())
  })

  it('answer at the virtual address within a second after its host was cut off, and no read fails', async t => {
    const owner = lab.host((await lab.ownerOf('gateway'))!)
    await owner.cut()
    await sleep(GLUSTER_STALL_MS)
    const stalled = await traffic.report()
    await sleep(SETTLED_MS * 2)
    const later = await traffic.report()
    const next = await lab.ownerOf('gateway')
    await owner.heal()
    print(t, `${owner.name} cut off, the address is at ${next}; while GlusterFS waits for it`, stalled)
    print(t, 'after that', later)
    withinPace(stalled, 'address', ADDRESS_MOVED_MS)
    withinPace(later, 'read', GLUSTER_STALL_MS + READ_GAP_MS)
    withinPace(later, 'upload', GLUSTER_STALL_MS + UPLOAD_GAP_MS)
    deepEqual([stalled.read.failures, later.read.failures], [{}, {}], 'no read failed')
    await untilWhole(lab, { isAsked: true })
  })

  it('read on when a tracker is killed, which knows every member again within 3 s of its first answer', async t => {
    const host = lab.host('a')
    const tracker = `${host.address}:21000`
    await host.killUnit('tributary-tracker')
    const killedMs = performance.now()
    await until(async () => (await restartsOf(host, 'tributary-tracker')) > 0, 10_000)
    await until(async () => (await traffic.active(tracker)) >= 0, 30_000)
    const answeredMs = performance.now()
    await until(async () => (await traffic.active(tracker)) === 3, 30_000)
    const wholeMs = performance.now() - answeredMs
    const report = await traffic.report()
    print(
      t,
      `tracker killed, answered ${seconds(answeredMs - killedMs)} later, whole after ${seconds(wholeMs)}`,
      report
    )
    withinPace(report, 'read', READ_GAP_MS)
    withinPace(report, 'upload', UPLOAD_GAP_MS)
    deepEqual(report.read.failures, {}, 'no read failed')
    ok(wholeMs <= TABLE_WHOLE_MS * pace, `the table was whole after ${seconds(wholeMs)}`)
  })

  it('move the address away from a gateway that is frozen, as it is not ready', async t => {
    const owner = lab.host((await lab.ownerOf('gateway'))!)
    await owner.freeze('tributary-gateway')
    await until(async () => ![undefined, owner.name].includes(await lab.ownerOf('gateway')), 15_000)
    await sleep(SETTLED_MS)
    const report = await traffic.report()
    await owner.thaw('tributary-gateway')
    print(t, `gateway of ${owner.name} frozen, the address is at ${await lab.ownerOf('gateway')}`, report)
    withinPace(report, 'address', CHECK_MOVED_MS)
    withinPace(report, 'http', CHECK_MOVED_MS + READ_GAP_MS)
    await untilWhole(lab, { isAsked: true })
  })

  it('miss nothing when a member leaves its group by the command, and comes back', async t => {
    const host = lab.host('b')
    const { exitCode, stdout, stderr } = await host.run('tributary storage leave')
    equal(exitCode, 0, `${stdout}${stderr}`)
    const { units } = await host.status()
    const left = units.find(({ name }) => name === 'tributary-storage.service')
    equal(left?.state, 'inactive', 'its unit does not start it again')
    equal(await traffic.active(`${lab.host('a').address}:21000`), 2)
    await host.startUnit('tributary-storage')
    await lab.untilReady()
    const report = await traffic.report()
    print(t, `member ${host.name} left and came back`, report)
    withinPace(report, 'read', READ_GAP_MS)
    withinPace(report, 'upload', UPLOAD_GAP_MS)
    deepEqual([report.read.failures, report.upload.failures], [{}, {}], 'nothing failed')
  })

  const killed: [title: string, unit: string, matching: string, watchedMs: number][] = [
    ['an ID server', 'tributary-id', '', SETTLED_MS],
    ['a storage server', 'tributary-storage', '', SETTLED_MS],
    ['the gateway', 'tributary-gateway', '', SETTLED_MS],
    ['a database node', 'mariadb', '', UPLOAD_GAP_MS],
    ['a brick', 'glusterd', 'glusterfsd', SETTLED_MS],
    ['glusterd', 'glusterd', 'sbin/glusterd', SETTLED_MS],
    ['the primary of Redis', 'redis-server', '', UPLOAD_GAP_MS]
  ]
  for (const [title, unit, matching, watchedMs] of killed) {
    it(`read on, and take uploads, when ${title} is killed`, async t => {
      const at = { 'the gateway': (await lab.ownerOf('gateway'))!, 'the primary of Redis': 'a' }[title] ?? 'b'
      const host = lab.host(at)
      ok((await host.killUnit(unit, matching)) > 0, `${title} runs on ${host.name}`)
      await sleep(watchedMs)
      const report = await traffic.report()
      print(t, `${title} of ${host.name} killed`, report)
      // nobody but gluster starts a brick again
      if (title === 'a brick') await host.run('timeout 60 gluster --mode=script volume start group001 force')
      withinPace(report, 'read', unit === 'mariadb' ? GALERA_STALL_MS : READ_GAP_MS)
      withinPace(report, 'upload', UPLOAD_GAP_MS)
      deepEqual(report.read.failures, {}, 'no read failed')
      await untilWhole(lab, { isAsked: true })
    })
  }

  const frozen: [title: string, units: string[], readGapMs: number][] = [
    ['a tracker, an ID server and Redis', ['tributary-tracker', 'tributary-id', 'redis-server'], READ_GAP_MS],
    ['a storage server', ['tributary-storage'], READ_GAP_MS],
    ['a mount', ['srv-tributary-group001.mount'], READ_GAP_MS],
    ['a database node', ['mariadb'], GALERA_STALL_MS]
  ]
  for (const [title, units, readGapMs] of frozen) {
    it(`read on, and take uploads, with ${title} of a host frozen, and when it goes on`, async t => {
      const host = lab.host('b')
      for (const unit of units) ok((await host.freeze(unit)) > 0, `${unit} runs on ${host.name}`)
      await sleep(FROZEN_MS)
      for (const unit of units) await host.thaw(unit)
      await sleep(THAWED_MS)
      const report = await traffic.report()
      print(t, `${title} of ${host.name} frozen for ${seconds(FROZEN_MS)}`, report)
      withinPace(report, 'read', readGapMs)
      withinPace(report, 'upload', UPLOAD_GAP_MS)
      deepEqual(report.read.failures, {}, 'no read failed')
      await untilWhole(lab, { isAsked: true })
    })
  }

  it('read on, and take uploads, while everything of a host is restarted, one unit after the other', async t => {
    const host = lab.host('c')
    const units = [
      'tributary-tracker',
      'tributary-id',
      'tributary-storage',
      'tributary-gateway',
      'mariadb',
      'redis-server',
      'redis-sentinel',
      'keepalived'
    ]
    for (const unit of units) {
      await host.restartUnit(unit)
      await lab.untilReady()
    }
    const report = await traffic.report()
    print(t, `${units.length} units of ${host.name} restarted`, report)
    withinPace(report, 'read', GALERA_STALL_MS) // one of them is a database node
    withinPace(report, 'upload', UPLOAD_GAP_MS)
    deepEqual([report.read.failures, report.upload.failures], [{}, {}], 'nothing failed')
  })

  it(
    'lose nothing when a whole host dies; reads and uploads go on, it comes back and heals',
    {
      timeout: 5 * MINUTES
    },
    async t => {
      const host = lab.host('c')
      await host.kill()
      await sleep(GLUSTER_STALL_MS + SETTLED_MS)
      const dead = await traffic.report()
      print(t, `${host.name} dead`, dead)
      await host.start()
      const startMs = performance.now()
      await untilWhole(lab)
      const healed = await traffic.report()
      print(t, `${host.name} back, and healed after ${seconds(performance.now() - startMs)}`, healed)
      withinPace(dead, 'address', CHECK_MOVED_MS)
      withinPace(dead, 'read', GLUSTER_STALL_MS + READ_GAP_MS)
      withinPace(dead, 'upload', GLUSTER_STALL_MS + UPLOAD_GAP_MS)
      deepEqual([dead.read.failures, healed.read.failures], [{}, {}], 'no read failed')
      deepEqual(await traffic.verify(), [], 'everything acknowledged is whole everywhere')
    }
  )

  describe('and a description that changes', () => {
    testDescriptionChanges(
      () => description,
      () => lab,
      () => traffic
    )
  })
})

async function restartsOf(host: LabHost, unit: string): Promise<number> {
  const { units } = await host.status()
  const found = units.find(({ name, state }) => name === `${unit}.service` && state === 'active')
  return found?.restarts ?? 0
}
