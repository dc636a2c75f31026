/**
 * Where the commands of this machine meet the storage servers that run on it: a socket in Linux's abstract namespace,
 * which goes with its process however that ends. It only tells; what a command may do to the process, the kernel decides.
 */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'

const PREFIX = 'tributary/storage/'
/** The kernel's list of sockets shows the zero byte that begins an abstract name so. */
const LISTED = new RegExp(`@(${PREFIX}\\S+)$`)
const ANSWER_WAIT_MS = 2_000

export interface MemberState {
  pid: number
  /** Of the data port. */
  address: string
  member: string
  hostName: string
  group: string
  trackers: string[]
  version: string
  /** A parent starts it again whenever it ends. */
  supervised: boolean
  leaving: boolean
  /** Transfers that are under way. */
  transfers: number
}

/** Answers whoever comes with the state of that moment. @returns what closes it; undefined: another one is there. */
export async function openMemberDoor(
  address: string,
  state: () => MemberState
): Promise<(() => void) | undefined> {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.end(JSON.stringify(state()))
  })
  try {
    await once(server.listen({ path: `\0${PREFIX}${address}`, exclusive: true }), 'listening')
  } catch {
    return undefined
  }
  server.unref()
  return () => void server.close()
}

/** Every storage server that runs in this network namespace, by address. */
export async function membersHere(): Promise<MemberState[]> {
  const names = new Set<string>()
  for (const line of (await readFile('/proc/net/unix', 'utf8')).split('\n')) {
    const name = LISTED.exec(line)?.[1]
    if (name !== undefined) names.add(name)
  }
  const states = await Promise.all([...names].sort().map(name => memberAt(name.slice(PREFIX.length))))
  return states.filter(state => state !== undefined)
}

/** @returns undefined where it is gone, or does not answer. */
export async function memberAt(address: string): Promise<MemberState | undefined> {
  const socket = connect({ path: `\0${PREFIX}${address}` })
  const timer = setTimeout(() => socket.destroy(new Error('no answer')), ANSWER_WAIT_MS)
  try {
    return JSON.parse(await text(socket)) as MemberState
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}
