/** Busy clients of a lab's cluster, within the lab's network; driven by traffic.ts over Node's channel. */
import { createHash, randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@tributary/client'
import { TributaryError } from '@tributary/protocol'
import { Channel } from '../../lab/channel.ts'
import { WirePeer } from '../faults/wire-peer.ts'
import type { Doors, Kind, KindReport, TrafficReport, TrafficSetup } from './traffic.ts'

const APPLICATION = 'media'
const USER = 'lab'
const PAUSE_MS = 40
/** A program that asks again and again: a new connection each time, as a player has that lost one. */
const HTTP_TRY_MS = 400
const UPLOADERS = 3
/** Every one is healed and read again in the end, by every member; far less than what an upload may wait. */
const UPLOAD_PAUSE_MS = 1_000
const SIZE_MAX = 100_000
const CHECKS_AT_A_TIME = 12
/** Of files that are read through each gateway and each member by itself: all, or so many evenly spread over the run. */
const CHECKED_MAX = 2_000

class Meter {
  #lastMs = performance.now()
  #longestGapMs = 0
  #count = 0
  readonly #failures = new Map<string, number>()

  ok(): void {
    this.#longestGapMs = this.#gapMs()
    this.#lastMs = performance.now()
    this.#count++
  }

  failed(code: string): void {
    this.#failures.set(code, (this.#failures.get(code) ?? 0) + 1)
  }

  /** Since the last report. */
  report(): KindReport {
    const report = {
      count: this.#count,
      longestGapMs: this.#gapMs(),
      failures: Object.fromEntries(this.#failures)
    }
    this.#longestGapMs = 0
    this.#count = 0
    this.#failures.clear()
    return report
  }

  #gapMs(): number {
    return Math.max(this.#longestGapMs, performance.now() - this.#lastMs)
  }

  restart(): void {
    this.report()
    this.#lastMs = performance.now()
  }
}

const setup = JSON.parse(process.argv[2]!) as TrafficSetup
const client = new Client({ trackers: [...setup.trackers] })
const meters: Record<Kind, Meter> = {
  read: new Meter(),
  upload: new Meter(),
  address: new Meter(),
  http: new Meter()
}
const acknowledged: string[] = []
const key = (file: string) => ({ application: APPLICATION, user: USER, file })

/** The same bytes for the same name, of a size of its own. */
function contentOf(file: string): Buffer {
  const seed = createHash('sha256').update(file).digest()
  const content = Buffer.alloc(1 + (seed.readUInt32BE(0) % SIZE_MAX))
  for (let at = 0; at < content.byteLength; at += seed.byteLength) seed.copy(content, at)
  return content
}

function codeOf(error: unknown): string {
  if (error instanceof TributaryError) return error.code
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}

async function loop(kind: Kind, work: () => Promise<boolean>, pauseMs = PAUSE_MS): Promise<void> {
  for (;;) {
    try {
      if (await work()) meters[kind].ok()
    } catch (error) {
      meters[kind].failed(codeOf(error))
    }
    await sleep(pauseMs)
  }
}

const someFile = (): string | undefined => acknowledged[Math.floor(Math.random() * acknowledged.length)]

async function readThroughLibrary(file: string): Promise<void> {
  const { stream } = await client.download(key(file))
  if (!(await buffer(stream)).equals(contentOf(file))) throw new Error(`${file} came back wrong`)
}

async function uploadOne(): Promise<string> {
  const file = `${randomUUID()}.bin`
  await client.upload(contentOf(file), { key: key(file) })
  acknowledged.push(file)
  return file
}

/** @returns the body. @throws another status, or nothing in time */
function get(url: string, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false, signal: AbortSignal.timeout(timeoutMs) }, response => {
      buffer(response).then(body => {
        if (response.statusCode === 200) resolve(body)
        else reject(new Error(`status ${response.statusCode}`))
      }, reject)
    })
    asked.once('error', reject).end()
  })
}

async function readOverHttp(base: string, file: string, timeoutMs: number): Promise<void> {
  const body = await get(`${base}/files/${APPLICATION}/${USER}/${file}`, timeoutMs)
  if (!body.equals(contentOf(file))) throw new Error(`${file} came back wrong`)
}

async function check(
  name: string,
  work: (file: string) => Promise<void>,
  files: readonly string[]
): Promise<string[]> {
  const broken: string[] = []
  const queue = [...files]
  await Promise.all(
    Array.from({ length: CHECKS_AT_A_TIME }, async () => {
      for (let file = queue.pop(); file !== undefined; file = queue.pop())
        await work(file).catch((error: unknown) => broken.push(`${name}: ${file}: ${codeOf(error)}`))
    })
  )
  return broken
}

/** A connection to one member alone. */
async function withMember<T>(member: string, work: (peer: WirePeer) => Promise<T>): Promise<T> {
  const [host, port] = member.split(':')
  const peer = await WirePeer.open({ host: host!, port: Number(port) })
  try {
    return await work(peer)
  } finally {
    peer.close()
  }
}

const readFrom = (member: string) => (file: string) =>
  withMember(member, async peer => {
    if (!(await peer.download(key(file))).equals(contentOf(file))) throw new Error('it came back wrong')
  })

/** These files through the library, and through each gateway and each member by itself. */
async function verify(all: readonly string[], { members, gateways }: Doors): Promise<string[]> {
  const broken = await check('library', readThroughLibrary, all)
  const files = evenly(all, CHECKED_MAX)
  for (const base of gateways)
    broken.push(...(await check(base, file => readOverHttp(base, file, 10_000), files)))
  for (const member of members) broken.push(...(await check(member, readFrom(member), files)))
  return broken
}

/** All of a list, or so many of it, the last one among them. */
function evenly<T>(list: readonly T[], countMax: number): T[] {
  if (list.length <= countMax) return [...list]
  return Array.from(
    { length: countMax },
    (_, at) => list[Math.floor(((at + 1) * list.length) / countMax) - 1]!
  )
}

const orders: Record<string, (args: any) => unknown> = {
  start: async ({ files }: { files: number }) => {
    while (acknowledged.length < files) await uploadOne()
    for (const meter of Object.values(meters)) meter.restart()
    void loop('read', async () => {
      await readThroughLibrary(someFile()!)
      return true
    })
    // several: one whose last byte went to a host that vanished waits for a long time, and is one client's affair
    for (let one = 0; one < UPLOADERS; one++)
      void loop('upload', async () => (await uploadOne()) !== '', UPLOAD_PAUSE_MS)
    void loop('address', async () => (await get(`${setup.virtual}/healthz`, HTTP_TRY_MS)).byteLength > 0)
    void loop('http', async () => {
      await readOverHttp(setup.virtual, someFile()!, HTTP_TRY_MS)
      return true
    })
  },
  report: (): TrafficReport => ({
    read: meters.read.report(),
    upload: meters.upload.report(),
    address: meters.address.report(),
    http: meters.http.report(),
    acknowledged: acknowledged.length
  }),
  restart: () => {
    for (const meter of Object.values(meters)) meter.restart()
  },
  put: async ({ base, file }: { base: string; file: string }) => {
    const body = contentOf(file)
    const { status } = await fetch(`${base}/files/${APPLICATION}/${USER}/${file}`, {
      method: 'PUT',
      body: new Uint8Array(body),
      headers: { authorization: `Bearer ${setup.token}` }
    })
    return status
  },
  verify: ({ files, doors }: { files?: readonly string[]; doors: Doors }) =>
    verify(files ?? acknowledged, doors),
  readAllFrom: async ({ member }: { member: string }) => {
    const files = [...acknowledged]
    return { files: files.length, broken: await check(member, readFrom(member), files) }
  },
  putInto: async ({ member }: { member: string }) => {
    const file = `${randomUUID()}.bin`
    await withMember(member, peer => peer.upload(key(file), contentOf(file)))
    acknowledged.push(file)
    return file
  },
  /** Members that this tracker alone takes for active; -1: it does not answer. */
  active: async ({ tracker }: { tracker: string }) => {
    const one = new Client({ trackers: [tracker], callTimeoutMs: 500, retryForMs: 0 })
    try {
      const { groups } = await one.groups()
      return groups.flatMap(({ members }) => members).filter(({ status }) => status === 'ACTIVE').length
    } catch {
      return -1 // it does not answer yet
    } finally {
      one.close()
    }
  }
}

process.on('disconnect', () => process.exit())
Channel.serve(process, (order, args) => orders[order]!(args))
