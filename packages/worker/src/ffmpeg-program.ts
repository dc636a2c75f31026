/** What this machine has to make pictures and renditions with. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)
const LOOK_TIMEOUT_MS = 10_000
const LIST_BYTES_MAX = 1024 * 1024

export interface FfmpegProgram {
  /** Name or path. */
  command: string
  /** Where programs are looked for, as PATH has it. */
  path: string
}

export interface Tools {
  /** Posters and thumbnails can be made. */
  pictures: boolean
  renditions: boolean
  /** Pictures of high dynamic range can be brought into the range of every screen. */
  toneMapping: boolean
  /** As ffmpeg says it; empty: there is none. */
  version: string
  /** In words, each with what is therefore not done. */
  lacks: string[]
}

const NOTHING_MADE = 'no posters, thumbnails and renditions are made here'

/** Looks what is there; never rejects. */
export async function findTools({ command, path }: FfmpegProgram): Promise<Tools> {
  const options = { env: { PATH: path, LC_ALL: 'C' }, timeout: LOOK_TIMEOUT_MS, maxBuffer: LIST_BYTES_MAX }
  const works = (program: string, args: string[]): Promise<string | undefined> =>
    run(program, args, options).then(
      ({ stdout }) => stdout,
      () => undefined
    )
  const missing: string[] = []
  for (const program of ['prlimit', 'setpriv', 'nice'])
    if ((await works(program, ['--version'])) === undefined) missing.push(program)
  if (missing.length > 0) {
    // Without them a film could make ffmpeg take all that this machine has.
    return nothing(`${missing.join(' and ')} (of util-linux and coreutils): ${NOTHING_MADE}`)
  }
  const banner = await works(command, ['-hide_banner', '-version'])
  if (banner === undefined) return nothing(`ffmpeg: ${NOTHING_MADE}`)
  const version = /^ffmpeg version (\S{1,60})/.exec(banner)?.[1] ?? 'of an unknown version'
  const encoders = (await works(command, ['-hide_banner', '-encoders'])) ?? ''
  const has = (name: string): boolean => new RegExp(`^ [A-Z.]{6} ${name} `, 'm').test(encoders)
  const filters = (await works(command, ['-hide_banner', '-filters'])) ?? ''
  const toneMapping = /^ \S+ zscale /m.test(filters) && /^ \S+ tonemap /m.test(filters)
  const lacks: string[] = []
  const pictures = has('mjpeg')
  if (!pictures) lacks.push('an ffmpeg that writes JPEG: no posters and thumbnails are made here')
  const without = ['libx264', 'aac'].filter(name => !has(name))
  if (without.length > 0) lacks.push(`an ffmpeg with ${without.join(' and ')}: no renditions are made here`)
  if (pictures && !toneMapping)
    lacks.push('an ffmpeg with zscale and tonemap: pictures of high dynamic range come out grey')
  return { pictures, renditions: without.length === 0, toneMapping, version, lacks }
}

function nothing(lack: string): Tools {
  return { pictures: false, renditions: false, toneMapping: false, version: '', lacks: [lack] }
}
