/**
 * What becomes of a cluster whose description changes: the steps that `deploy render` then writes, carried out as README.md of the
 * rendering says, host by host, under clients that never stop.
 */
import { deepEqual, match, ok } from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import type { Lab, LabHost } from '../../lab/lab.ts'
import { gapsText, seconds, until, untilWhole } from './cluster-wait.ts'
import type { Traffic } from './traffic.ts'

const STORAGE_PORT = 23_000
const TRACKER_PORT = 21_000
const TEST_MS = 5 * 60_000
/** A new brick gets every file, one after the other; a machine that has other work to do needs its time. */
const COPIED_MS = 3 * 60_000
/** `changes/03-start.d.sh`: its host. */
const SCRIPT_HOST = /\.([a-z0-9-]+)\.sh$/

type Replacement = readonly [from: string, to: string]

/**
 * Tests that follow one another in a lab of three.toml.
 *
 * @param description of the lab, its path
 */
export function testDescriptionChanges(
  description: () => string,
  lab: () => Lab,
  traffic: () => Traffic
): void {
  const state: { text?: string } = {}

  /** Under "After a change of the description" in README.md. */
  const change = async (t: TestContext, replacements: readonly Replacement[]): Promise<void> => {
    state.text ??= await readFile(description(), 'utf8')
    for (const [from, to] of replacements) {
      ok(state.text.includes(from), from)
      state.text = state.text.replace(from, to)
    }
    const file = join(lab().folder, 'changed.toml')
    await writeFile(file, state.text)
    const { scripts } = await lab().renderAgain(file)
    const times: string[] = []
    const timed = async (what: string, work: () => Promise<unknown>): Promise<void> => {
      const startMs = performance.now()
      await work()
      times.push(`${what} ${seconds(performance.now() - startMs)}`)
    }
    await timed('files', () => Promise.all(lab().plan.hosts.map(({ name }) => lab().host(name).install())))
    for (const script of scripts)
      await timed(script, () => lab().host(SCRIPT_HOST.exec(script)![1]!).runScript(script))
    await timed('healed', () => untilWhole(lab(), { withinMs: COPIED_MS, isAsked: true }))
    await rm(join(lab().rendered, 'changes'), { recursive: true })
    t.diagnostic(times.join('; '))
  }

  const isMember = async (name: string, members: readonly string[]): Promise<void> => {
    const host = lab().host(name)
    deepEqual(
      await bricksOf(host),
      members.map(member => `${lab().host(member).address}:/srv/bricks/group001/brick`)
    )
    const address = `${host.address}:${STORAGE_PORT}`
    const whole = await copiesOn(lab().host('a'))
    const { files, broken } = await traffic().readAllFrom(address)
    ok(files > 0)
    deepEqual(broken, [], 'it gives back everything that was ever acknowledged')
    let lacking: string[] = []
    await until(
      async () => {
        const own = new Set(await copiesOn(host))
        lacking = whole.filter(path => !own.has(path))
        return lacking.length === 0
      },
      COPIED_MS, // clients go on: what one of them stored while it did not reach this brick is healed after it
      () => `its own brick lacks ${lacking.length} of ${whole.length}: ${lacking.slice(0, 3).join(', ')}`
    )
    const file = await traffic().putInto(address)
    deepEqual(await traffic().verify([file]), [], 'what it takes is there for everybody')
    await clusterTells(members)
  }

  /** `groups` of every tracker, and `doctor` of every member. */
  const clusterTells = async (members: readonly string[]): Promise<void> => {
    const expected = members.map(name => lab().host(name).address).sort()
    const copies = `${members.length} of ${members.length} copies`
    for (const tracker of lab().hostsWith('tracker')) {
      const asked = await tracker.run(['tributary', 'groups', '-t', `${tracker.address}:${TRACKER_PORT}`])
      const [first = '', ...rows] = asked.stdout.trim().split('\n')
      match(first, new RegExp(`^group001: ${members.length} of ${members.length} active$`))
      const told = rows
        .filter(row => row.includes(copies))
        .map(row => /ACTIVE +([^ :]+):/.exec(row)?.[1] ?? row)
      deepEqual(told.sort(), expected, asked.stdout)
    }
    for (const name of members) {
      const asked = await lab().host(name).run('tributary doctor --config /etc/tributary/tributary.toml')
      match(asked.stdout, /^0 to be mended, 0 to be looked at$/m, `${name}: ${asked.stdout}`)
    }
  }

  const noReadFailed = async (t: TestContext): Promise<void> => {
    const report = await traffic().report()
    t.diagnostic(gapsText(report))
    ok(report.read.count > 0 && report.upload.count > 0, 'clients were busy')
    deepEqual(report.read.failures, {}, 'no read failed')
  }

  it('lets a new machine take the place of one whose disk died', { timeout: TEST_MS }, async t => {
    const lost = lab().host('c')
    await lost.kill()
    await rm(lost.folder, { recursive: true })
    await change(t, [
      ['name = "c"\naddress = "10.77.0.13"', 'name = "d"\naddress = "10.77.0.14"'],
      ['["a", "b", "c"]', '["a", "b", "d"]'],
      ['replicas = ["b", "c"]', 'replicas = ["b", "d"]'],
      ['sentinels = ["a", "b", "c"]', 'sentinels = ["a", "b", "d"]']
    ])
    await noReadFailed(t)
    await isMember('d', ['a', 'b', 'd'])
  })

  it('takes a further machine into the group', { timeout: TEST_MS }, async t => {
    await change(t, [
      ['[[groups]]', '[[hosts]]\nname = "e"\naddress = "10.77.0.15"\n\n[[groups]]'],
      ['["a", "b", "d"]', '["a", "b", "d", "e"]']
    ])
    await noReadFailed(t)
    await isMember('e', ['a', 'b', 'd', 'e'])
  })
}

async function bricksOf(host: LabHost): Promise<string[]> {
  const { stdout } = await host.run('gluster volume info group001')
  return [...stdout.matchAll(/^Brick\d+: (\S+)$/gm)].map(([, brick]) => brick!)
}

/** Paths of files that have content, on the host's brick itself. */
async function copiesOn(host: LabHost): Promise<string[]> {
  const files = 'cd /srv/bricks/group001/brick/store && find [0-9]* -type f -size +0 | sort'
  return (await host.run(files)).stdout.trim().split('\n')
}
