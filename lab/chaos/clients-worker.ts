/** The clients themselves; driven by clients.ts over Node's channel. */
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import { Random } from '../../test/faults/random.ts'
import { ClusterLoad, type Outcome } from '../../test/testkit/cluster-load.ts'
import { httpDoor, libraryDoor, memberDoor, type Door } from '../../test/testkit/door.ts'
import { Channel } from '../channel.ts'
import {
  KINDS,
  type ClientsSetup,
  type Kind,
  type KindReports,
  type LedgerCounts,
  type ReadBack,
  type ThroughDoor
} from './clients.ts'
import { GapMeter } from './gap-meter.ts'

const LIBRARY_CLIENTS = 6
const HTTP_CLIENTS = 3
const USERS = ['ann', 'ben', 'cleo', 'dan', 'eve']
const PAUSE_MS = 200
/** A program that asks again and again: a new connection each time, as a player has that lost one. */
const ADDRESS_TRY_MS = 400
const ADDRESS_PAUSE_MS = 50
const READERS_OF_A_DOOR = 4
const CALL_MS = 2_000

const setup = JSON.parse(process.argv[2]!) as ClientsSetup
const meters = Object.fromEntries(KINDS.map(kind => [kind, new GapMeter()])) as Record<Kind, GapMeter>
const clients = Array.from({ length: LIBRARY_CLIENTS }, () => new Client({ trackers: setup.trackers }))
const virtual = httpDoor(setup.virtual, setup.token)
const load = new ClusterLoad({
  doors: [
    ...clients.map(client => libraryDoor(client)),
    ...Array.from({ length: HTTP_CLIENTS }, () => virtual)
  ],
  random: new Random(setup.seed),
  users: USERS,
  pauseMs: PAUSE_MS,
  onOutcome: note
})

function note({ operation, door, startMs, failure }: Outcome): void {
  const kind =
    door.kind === 'library' ? operation : KINDS.find(kind => kind.toLowerCase() === `http${operation}`)!
  meters[kind].ended(startMs, failure?.code)
}

async function watchAddress(): Promise<never> {
  for (;;) {
    const startMs = performance.now()
    await answers(`${setup.virtual}/healthz`).then(
      () => meters.address.ended(startMs, undefined),
      (error: Error) => meters.address.ended(startMs, (error as NodeJS.ErrnoException).code ?? error.name)
    )
    await sleep(ADDRESS_PAUSE_MS)
  }
}

function answers(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false, signal: AbortSignal.timeout(ADDRESS_TRY_MS) }, response => {
      response.once('error', reject).once('end', resolve).resume()
    })
    asked.once('error', reject).end()
  })
}

interface Way {
  readonly door: Door
  readonly users: readonly string[]
}

/** Every way by itself; a member has the files of its group's users only. */
async function waysToVerify(): Promise<Way[]> {
  const groups = new Map<string, string[]>()
  for (const user of USERS) {
    const key = load.someStored(user)
    if (!key) continue
    const { group } = await clients[0]!.stat(key)
    groups.set(group, [...(groups.get(group) ?? []), user])
  }
  const members = setup.members.map(({ address, group }) => {
    const [host, port] = address.split(':')
    return { door: memberDoor({ host: host!, port: Number(port) }), users: groups.get(group) ?? [] }
  })
  const others = [libraryDoor(clients[0]!), ...setup.gateways.map(url => httpDoor(url, setup.token)), virtual]
  return [...others.map(door => ({ door, users: USERS })), ...members]
}

const orders: Record<string, (args: { tracker: string }) => unknown> = {
  start: () => {
    load.start()
    void watchAddress()
  },
  report: (): KindReports =>
    Object.fromEntries(KINDS.map(kind => [kind, meters[kind].report()])) as unknown as KindReports,
  ledger: (): LedgerCounts => ({ stored: load.stored, deleted: load.deleted, unknown: load.unknown }),
  broken: () => load.takeBroken(),
  quiet: () => load.settle(),
  verify: async (): Promise<ReadBack> => {
    const through = async ({ door, users }: Way): Promise<ThroughDoor> => ({
      door: door.name,
      verdict: await load.verifyThrough(door, READERS_OF_A_DOOR, users)
    })
    const [first, ...others] = await waysToVerify()
    // The first one decides about what nobody knew; all others must agree with it.
    const decided = await through(first!)
    const doors = [decided, ...(await Promise.all(others.map(through)))]
    return { doors, broken: load.takeBroken() }
  },
  active: async ({ tracker }) => {
    const one = new Client({ trackers: [tracker], callTimeoutMs: CALL_MS, retryForMs: 0 })
    try {
      const { groups } = await one.groups()
      return groups.flatMap(({ members }) => members).filter(({ status }) => status === 'ACTIVE').length
    } catch {
      return 0 // it does not answer yet
    } finally {
      one.close()
    }
  }
}

process.on('disconnect', () => process.exit())
Channel.serve(process, (order, args) => orders[order]!(args as { tracker: string }))
