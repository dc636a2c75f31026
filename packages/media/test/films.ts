/** Small films made by the real ffmpeg, and what it says of the ones that we make of them. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, open, rm, writeFile, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import {
  cutSegment,
  HLS_LIST,
  INIT_SEGMENT,
  makeIndex,
  masterPlaylist,
  mediaPlaylist,
  openFilm,
  readIndex,
  segmentName,
  WINDING_LIST,
  windingName,
  windingPlaylist,
  type ByteSource,
  type FilmIndex,
  type IndexOptions,
  type IndexTrack
} from '../src/index.ts'

const run = promisify(execFile)
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024
const FFMPEG_MS = 120_000

export async function ffmpeg(...args: string[]): Promise<string> {
  const all = ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y', '-threads', '2', ...args]
  const { stdout } = await run('ffmpeg', all, { maxBuffer: OUTPUT_BYTES_MAX, timeout: FFMPEG_MS })
  return stdout
}

/** A picture that moves, 320 × 180. */
export function picture(seconds: number, rate = 25, size = '320x180'): string[] {
  return ['-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=${rate}:duration=${seconds}`]
}
export function sound(seconds: number, hertz = 440, rate = 48_000): string[] {
  return ['-f', 'lavfi', '-i', `sine=frequency=${hertz}:sample_rate=${rate}:duration=${seconds}`]
}
export const H264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p', '-g', '50']
export const AAC = ['-c:a', 'aac', '-b:a', '96k']

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-media-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A file as a source; `reads` tells what was read of it. */
export class FileSource implements ByteSource {
  readonly sizeBytes: number
  readBytes = 0
  reads = 0
  readonly #file: FileHandle

  private constructor(file: FileHandle, sizeBytes: number) {
    this.#file = file
    this.sizeBytes = sizeBytes
  }

  static async open(t: TestContext, path: string): Promise<FileSource> {
    const file = await open(path)
    t.after(() => file.close())
    return new FileSource(file, (await file.stat()).size)
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafe(end - start)
    const { bytesRead } = await this.#file.read(bytes, 0, end - start, start)
    this.reads++
    this.readBytes += bytesRead
    return bytes.subarray(0, bytesRead)
  }
}

export interface Packaged {
  source: FileSource
  index: FilmIndex
  indexBytes: Buffer
}

export async function packageFilm(
  t: TestContext,
  path: string,
  options: IndexOptions = {}
): Promise<Packaged> {
  const source = await FileSource.open(t, path)
  const indexBytes = await makeIndex(await openFilm(source), options)
  return { source, indexBytes, index: await readIndex(indexBytes) }
}

export async function segmentOf(
  { index, source }: Packaged,
  track: IndexTrack,
  number: number
): Promise<Buffer> {
  const plan = await index.segment(track, number)
  if (plan === undefined) throw new Error(`there is no segment ${number}`)
  return cutSegment(plan, source)
}

/** Init segment and all segments of a track in one file. */
export async function writeTrack(packaged: Packaged, track: IndexTrack, path: string): Promise<void> {
  const parts = [packaged.index.initSegment(track)]
  for (const number of track.starts.keys()) parts.push(await segmentOf(packaged, track, number))
  await writeFile(path, Buffer.concat(parts))
}

/** The whole tree as a player would fetch it. @returns the path of its master playlist */
export async function writeTree(packaged: Packaged, folder: string): Promise<string> {
  const { index, source } = packaged
  for (const track of index.head.tracks) {
    const place = join(folder, 'original', String(track.id))
    await mkdir(place, { recursive: true })
    await writeFile(join(place, HLS_LIST), mediaPlaylist(index, track))
    await writeFile(join(place, INIT_SEGMENT), index.initSegment(track))
    for (const number of track.starts.keys()) {
      const plan = (await index.packedSegment(track, number)) ?? (await index.segment(track, number))
      await writeFile(join(place, segmentName(track, number)), await cutSegment(plan!, source))
      await writeFile(join(place, `segment-${number}.m4s`), await segmentOf(packaged, track, number))
    }
    const winding = windingPlaylist(track)
    if (winding === undefined) continue
    await writeFile(join(place, WINDING_LIST), winding)
    for (const number of track.winding!.times.keys()) {
      const plan = await index.windingFrame(track, number)
      await writeFile(join(place, windingName(number)), await cutSegment(plan!, source))
    }
  }
  const master = join(folder, 'master.m3u8')
  await writeFile(master, masterPlaylist({ sources: [{ folder: 'original', index }] }))
  return master
}

export interface DecodedFrame {
  seconds: number
  hash: string
}

/** Every frame of a stream as ffmpeg decodes it, and when it is shown. `stream`: `0:v:0`, `0:a:1`, … */
export function decode(path: string, stream: string): Promise<DecodedFrame[]> {
  return frames(path, stream, ['-fps_mode', 'passthrough', '-enc_time_base', '-1'])
}

/** Every packet of a stream, as it is coded. */
export function packets(path: string, stream: string): Promise<DecodedFrame[]> {
  return frames(path, stream, ['-c', 'copy'])
}

async function frames(path: string, stream: string, options: readonly string[]): Promise<DecodedFrame[]> {
  const lines = await ffmpeg('-copyts', '-i', path, '-map', stream, ...options, '-f', 'framemd5', '-')
  let tick = 0
  const found: DecodedFrame[] = []
  for (const line of lines.split('\n')) {
    const base = /^#tb 0: (\d+)\/(\d+)/.exec(line)
    if (base) tick = Number(base[1]) / Number(base[2])
    const [, , pts, , , hash] = line.split(/,\s*/)
    if (!line.startsWith('#') && hash) found.push({ seconds: Number(pts) * tick, hash })
  }
  return found
}
