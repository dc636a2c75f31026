/** HLS of a long film: how soon it begins, how fast its segments come, and how many viewers one gateway carries. */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from '@tributary/client'
import { formatAddress } from '@tributary/protocol'
import { processTree, residentBytes, startRole, type Child } from './children.ts'
import { APPLICATION, USER } from './content.ts'
import type { LatencyRow } from './latency.ts'
import { makeClip } from './long-film.ts'
import type { MemoryRow } from './memory.ts'
import type { Subject } from './measurement.ts'
import type { Target } from './task.ts'
import type { Workshop } from './workshop.ts'

const execute = promisify(execFile)
const COLD_LIMIT_MS = 300
const WARM_LIMIT_MS = 30
const COLD_STARTS = 5
const WARM_TIMES = 40
const CONNECTIONS = 16
const VIEWERS = 200
const VIEWED_SEGMENTS = 5
const SEGMENT_MS = 6_000
const MEMORY_LIMIT_MB = 400
const SAMPLE_MS = 200

interface FirstSegment {
  /** The segment alone. */
  segmentMs: number
  /** All that a player asks for before it has a picture: two playlists, the init segment, the segment. */
  allMs: number
}

async function firstSegment(base: string, master: string, number: number): Promise<FirstSegment> {
  const startMs = performance.now()
  const list = await listOf(base, master)
  const text = await (await got(list)).text()
  await (await got(new URL('init.mp4', list))).arrayBuffer()
  if (!text.includes(`segment-${number}.m4s`)) throw new Error(`no segment ${number} in ${list}`)
  const segmentStartMs = performance.now()
  await (await got(new URL(`segment-${number}.m4s`, list))).arrayBuffer()
  const endMs = performance.now()
  return { segmentMs: endMs - segmentStartMs, allMs: endMs - startMs }
}

async function listOf(base: string, master: string): Promise<URL> {
  const text = await (await got(new URL(master, base))).text()
  return new URL(
    text.split('\n').find(line => line !== '' && !line.startsWith('#'))!,
    new URL(master, base)
  )
}

async function got(url: URL): Promise<Response> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${url.href}: ${response.status} ${await response.text()}`)
  return response
}

export async function measureFirstSegments(shop: Workshop, signal: AbortSignal): Promise<LatencyRow[]> {
  const master = await shop.longFilm()
  const { tracker } = await shop.servers()
  const freshGateway = async <T>(work: (base: string) => Promise<T>): Promise<T> => {
    const gateway = await startRole('gateway', { trackers: formatAddress(tracker.target) })
    try {
      return await work(urlOf(gateway.target))
    } finally {
      await gateway.stop()
    }
  }
  // The very first look at the film makes its index; a worker does that after the upload.
  await freshGateway(base => firstSegment(base, master, 0))
  const cold: FirstSegment[] = []
  const warm: FirstSegment[] = []
  for (let start = 0; start < COLD_STARTS; start++) {
    signal.throwIfAborted()
    await freshGateway(async base => {
      cold.push(await firstSegment(base, master, 0))
      // Segments that nobody has asked for, far from each other: made anew each time.
      for (let time = 1; time <= WARM_TIMES / COLD_STARTS; time++) {
        warm.push(await firstSegment(base, master, (start * 200 + time * 20) % 1_000))
      }
    })
  }
  const film = 'first segment of a film of 2 hours and 4 GB'
  const row = (title: string, limitMs: number, took: number[]): LatencyRow => ({
    title,
    limitMs,
    ...spread(took)
  })
  const all = (from: FirstSegment[]): number[] => from.map(({ allMs }) => allMs)
  const alone = (from: FirstSegment[]): number[] => from.map(({ segmentMs }) => segmentMs)
  return [
    row(`${film}, gateway just started, with playlists and init segment`, COLD_LIMIT_MS, all(cold)),
    row(`${film}, warm, made anew`, WARM_LIMIT_MS, alone(warm)),
    row(`${film}, warm, made anew, with playlists and init segment`, 2 * WARM_LIMIT_MS, all(warm))
  ]
}

/** The same segments again and again, against a server that has as many bytes in memory. */
export async function hotSegments(shop: Workshop): Promise<{ floor: Subject; ours: Subject }> {
  const master = await shop.longFilm()
  const { gateway, disk, tracker } = await shop.servers()
  const list = await listOf(urlOf(gateway.target), master)
  const paths = [0, 1, 2, 3].map(number => new URL(`segment-${number}.m4s`, list).pathname)
  const bytes = (await (await got(new URL(paths[0]!, list))).arrayBuffer()).byteLength
  const floor = await shop.floor('segments', String(bytes))
  const subject = (target: Target, counted: readonly Child[]): Subject => ({
    pids: () => counted.flatMap(({ pid }) => processTree(pid)),
    task: round => ({
      kind: 'segments',
      target,
      connections: CONNECTIONS,
      paths,
      durationMs: round < 0 ? shop.warmUpMs : shop.roundMs
    })
  })
  return { floor: subject(floor.target, [floor]), ours: subject(gateway.target, [gateway, disk, tracker]) }
}

interface ViewersResult {
  memory: MemoryRow
  /** Segments that came too late, of how many. */
  late: number
  segments: number
  megabits: number
}

/** Each of 200 viewers has a film of its own. */
export async function measureViewers(shop: Workshop, signal: AbortSignal): Promise<ViewersResult> {
  const { tracker, gateway } = await shop.servers()
  const folder = join(shop.folder, 'viewers')
  await mkdir(folder)
  const client = new Client({ trackers: [tracker.target] })
  const base = urlOf(gateway.target)
  const films: string[][] = []
  try {
    const whole = await makeClip(folder)
    const path = join(folder, 'short.mp4')
    const seconds = String(((VIEWED_SEGMENTS + 1) * SEGMENT_MS) / 1000)
    await execute('ffmpeg', ['-v', 'error', '-nostdin', '-y', '-t', seconds, '-i', whole, '-c', 'copy', path])
    for (let viewer = 0; viewer < VIEWERS; viewer++) {
      signal.throwIfAborted()
      const file = `viewed-${viewer}`
      await client.upload(path, { key: { application: APPLICATION, user: USER, file } })
      const list = await listOf(base, `/hls/${APPLICATION}/${USER}/${file}/master.m3u8`)
      const sound = list.pathname.replace('/1/', '/2/')
      films.push([list.pathname, sound].map(place => place.replace('index.m3u8', 'segment-#.m4s')))
    }
  } finally {
    client.close()
    await rm(folder, { recursive: true, force: true })
  }
  const idleBytes = residentBytes(gateway.pid)
  let peakBytes = idleBytes
  const state = { done: false }
  const viewing = shop.generator
    .run({ kind: 'viewers', target: gateway.target, films, segmentMs: SEGMENT_MS, rounds: VIEWED_SEGMENTS })
    .finally(() => (state.done = true))
  while (!state.done) {
    peakBytes = Math.max(peakBytes, residentBytes(gateway.pid))
    await Promise.race([sleep(SAMPLE_MS), viewing])
  }
  const { requests, bytes, elapsedMs } = await viewing
  return {
    memory: {
      title: `${VIEWERS} viewers of ${VIEWERS} films at ${((bytes * 8) / VIEWERS / VIEWED_SEGMENTS / SEGMENT_MS / 1e3).toFixed(1)} Mbit/s; ${requests} of ${VIEWERS * VIEWED_SEGMENTS} segments late`,
      process: 'gateway',
      idleMb: idleBytes / 1e6,
      peakMb: peakBytes / 1e6,
      limitMb: MEMORY_LIMIT_MB
    },
    late: requests,
    segments: VIEWERS * VIEWED_SEGMENTS,
    megabits: (bytes * 8) / 1e3 / elapsedMs
  }
}

function urlOf({ host, port }: Target): string {
  return `http://${host}:${port}`
}

function spread(took: number[]): { medianMs: number; p95Ms: number } {
  const sorted = took.toSorted((one, other) => one - other)
  return {
    medianMs: sorted[Math.floor(sorted.length / 2)]!,
    p95Ms: sorted[Math.floor(sorted.length * 0.95)]!
  }
}
