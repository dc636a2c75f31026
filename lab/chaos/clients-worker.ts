/** The clients themselves; driven by clients.ts over Node's channel. */
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import type { FileKey } from '@tributary/protocol'
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
const { trackers, clusterKey } = setup
const clients = Array.from({ length: LIBRARY_CLIENTS }, () => new Client({ trackers, clusterKey }))
/**
 * Programs that ask again: a gateway that is frozen or cut off while it answers says nothing any more, and whoever sends nothing is not told by
 * the one that has the address now. Longer than GlusterFS and Galera stall a file.
 */
const PATIENCE = { readMs: 9_000, writeMs: 20_000 }
const virtual = httpDoor(setup.virtual, setup.token, PATIENCE)
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
  readonly isHere: (key: FileKey) => boolean
}

/** Every way by itself. A member has the files of its group; what nobody has must be absent there too. */
async function waysToVerify(): Promise<Way[]> {
  const groups = await groupsOfFiles()
  const members = setup.members.map(({ address, group }) => {
    const [host, port] = address.split(':')
    const door = memberDoor({ host: host!, port: Number(port) }, clusterKey)
    return { door, isHere: (key: FileKey) => (groups.get(nameOf(key)) ?? group) === group }
  })
  const others = [
    ...setup.gateways.map(url => httpDoor(url, setup.token)),
    httpDoor(setup.virtual, setup.token)
  ]
  return [...others.map(door => ({ door, isHere: () => true })), ...members]
}

/** A user's files may be in several: while a group takes none, they go to another one. */
async function groupsOfFiles(): Promise<Map<string, string>> {
  const groups = new Map<string, string>()
  const left = load.storedKeys
  const readers = Array.from({ length: READERS_OF_A_DOOR }, async () => {
    for (let key = left.pop(); key; key = left.pop())
      groups.set(nameOf(key), (await clients[0]!.stat(key)).group)
  })
  await Promise.all(readers)
  return groups
}

const nameOf = ({ user, file }: FileKey): string => `${user}/${file}`

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
    const through = async ({ door, isHere }: Way): Promise<ThroughDoor> => ({
      door: door.name,
      verdict: await load.verifyThrough(door, READERS_OF_A_DOOR, isHere)
    })
    // The first one decides about what nobody knew; all others must agree with it.
    const decided = await through({ door: libraryDoor(clients[0]!), isHere: () => true })
    const doors = [decided, ...(await Promise.all((await waysToVerify()).map(through)))]
    return { doors, broken: load.takeBroken() }
  },
  active: async ({ tracker }) => {
    const one = new Client({ trackers: [tracker], clusterKey, callTimeoutMs: CALL_MS, retryForMs: 0 })
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
