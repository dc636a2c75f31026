/** Waiting for what a test of the lab is about. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Lab } from '../../lab/lab.ts'
import type { TrafficReport } from './traffic.ts'

const POLL_MS = 100
const HEALED_MS = 90_000
/** It looks at every entry, and waits for those that are being healed. */
const HEAL_INFO_S = 40

export const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`

/** @param state what there is instead, for the message. @throws it does not hold in time */
export async function until(
  holds: () => Promise<boolean>,
  withinMs: number,
  state: () => string = () => ''
): Promise<void> {
  const endMs = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${seconds(withinMs)} ${state()}`.trim())
    await sleep(POLL_MS)
  }
}

/**
 * All roles ready, all bricks of every group connected, nothing left to heal.
 *
 * @param isAsked the heal begins at once, where healing by itself is no matter of the test: GlusterFS looks once a minute
 */
export async function untilWhole(
  lab: Lab,
  { withinMs = HEALED_MS, isAsked = false }: { withinMs?: number; isAsked?: boolean } = {}
): Promise<void> {
  await lab.untilReady()
  for (const { volume, members, arbiter } of lab.plan.groups) {
    const host = lab.host(members[0]!)
    const copies = members.length + (arbiter === null ? 0 : 1)
    let told = ''
    await until(
      async () => {
        if (isAsked) await host.run(`timeout 20 gluster volume heal ${volume}`)
        const { exitCode, stdout } = await host.run(
          `timeout ${HEAL_INFO_S} gluster volume heal ${volume} info summary`
        )
        told = stdout
        const entries = [...stdout.matchAll(/^Total Number of entries: (\S+)/gm)].map(([, count]) => count)
        return exitCode === 0 && entries.length === copies && entries.every(count => count === '0')
      },
      withinMs,
      () => told
    )
  }
}

/** The longest time that each kind of client had to wait, and what went wrong. */
export function gapsText(report: TrafficReport): string {
  const rows = (['read', 'upload', 'address', 'http'] as const).map(kind => {
    const { count, longestGapMs, failures } = report[kind]
    const failed = Object.entries(failures).map(([code, times]) => `${times} × ${code}`)
    return `${kind} ${seconds(longestGapMs)} (${[`${count} ok`, ...failed].join(', ')})`
  })
  return `longest gaps: ${rows.join('; ')}; ${report.acknowledged} acknowledged`
}
