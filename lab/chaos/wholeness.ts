/** Whether a cluster is whole: everything is ready, every copy is healed, every database node is in step. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Lab, LabHost } from '../lab.ts'
import { trackersOf, type Clients } from './clients.ts'

const POLL_MS = 500
const COMMAND_MS = 25_000
const SYNCED = 'Synced'

/** Resolves when nothing is missing. @param withinMs asked for again each time. @throws after this time, with what is */
export async function untilWhole(lab: Lab, clients: Clients, withinMs: () => number): Promise<void> {
  const startMs = performance.now()
  for (;;) {
    const missing = await whatIsMissing(lab, clients)
    if (missing.length === 0) return
    if (performance.now() > startMs + withinMs()) throw new Error(missing.join('; '))
    await sleep(POLL_MS)
  }
}

/** The cheap questions first: the others are asked only when these are answered. */
async function whatIsMissing(lab: Lab, clients: Clients): Promise<string[]> {
  const notReady = await lab.notReady()
  if (notReady.length > 0) return notReady
  const unhealed = await Promise.all(
    lab.plan.groups.map(({ volume, members }) => unhealedOf(lab.host(members[0]!), volume))
  )
  const databases = lab.hostsWith('database')
  const unsynced = await Promise.all(databases.map(host => unsyncedOf(host, databases.length)))
  const wanted = lab.plan.groups.flatMap(({ members }) => members).length
  const unknown = trackersOf(lab).map(async tracker => {
    const count = await clients.active(tracker)
    return count === wanted ? [] : [`tracker ${tracker} has ${count} of ${wanted} members active`]
  })
  return [...unhealed, ...unsynced, ...(await Promise.all(unknown))].flat()
}

async function unhealedOf(host: LabHost, volume: string): Promise<string[]> {
  const command = ['gluster', '--mode=script', 'volume', 'heal', volume, 'info', 'summary']
  const { exitCode, stdout } = await host.run(command, { timeoutMs: COMMAND_MS })
  if (exitCode !== 0) return [`volume ${volume}: no answer about its heals`]
  const bricks = stdout.split('\n\n').filter(text => text.includes('Brick '))
  return bricks.flatMap(text => {
    const [, brick] = /^Brick (\S+)/m.exec(text) ?? []
    const [, status] = /^Status: (.*)$/m.exec(text) ?? []
    const [, count] = /^Total Number of entries: (\S+)$/m.exec(text) ?? []
    if (status !== 'Connected') return [`brick ${brick} is ${status}`]
    return count === '0' ? [] : [`brick ${brick} has ${count} entries to heal`]
  })
}

async function unsyncedOf(host: LabHost, nodes: number): Promise<string[]> {
  const query = `SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN ('WSREP_LOCAL_STATE_COMMENT', 'WSREP_CLUSTER_SIZE') ORDER BY VARIABLE_NAME`
  const { exitCode, stdout } = await host.run(['mariadb', '--batch', '--skip-column-names', '-e', query], {
    timeoutMs: COMMAND_MS
  })
  if (exitCode !== 0) return [`database of ${host.name} does not answer`]
  const [size, state] = stdout.trim().split('\n')
  return Number(size) === nodes && state === SYNCED
    ? []
    : [`database of ${host.name} is ${state}, of ${size} nodes`]
}
