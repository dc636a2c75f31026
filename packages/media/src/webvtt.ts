/** Subtitles: SubRip and WebVTT, as people have them, to WebVTT as players take it. */
import { beyondLimits, unsupported } from './errors.ts'

export const SUBTITLE_BYTES_MAX = 8 * 1024 * 1024
const CUES_MAX = 50_000
const CUE_CHARACTERS_MAX = 4_000
const CUE_S_MAX = 7 * 24 * 3600

export interface Cue {
  startMs: number
  endMs: number
  /** Cue settings of WebVTT, checked. */
  settings: string
  text: string
}

const TIMING =
  /^\s*(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?\s*-->\s*(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?(?:\s+(.{0,200}))?\s*$/
const SETTING =
  /^(?:vertical:(?:rl|lr)|line:-?\d{1,3}(?:\.\d{1,3})?%?(?:,(?:start|center|end))?|position:\d{1,3}(?:\.\d{1,3})?%(?:,(?:line-left|center|line-right))?|size:\d{1,3}(?:\.\d{1,3})?%|align:(?:start|center|end|left|right))$/

/**
 * Reads .srt and .vtt alike: whatever has times with an arrow between them is a cue. Styles, regions and scripts of
 * the file are left behind.
 *
 * @throws {UnpackageableError} there is no cue in it, or it is too large
 */
export function readSubtitles(bytes: Uint8Array): Cue[] {
  if (bytes.byteLength > SUBTITLE_BYTES_MAX)
    throw beyondLimits(`subtitles have at most ${SUBTITLE_BYTES_MAX} bytes`)
  const lines = decode(bytes)
    .replaceAll('\0', '\uFFFD')
    .split(/\r\n|\n|\r/)
  const cues: Cue[] = []
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!
    // Only a short line can be one: the pattern never sees what somebody made to slow it down.
    const timing = line.length <= 300 ? TIMING.exec(line) : null
    if (timing === null) continue
    const startMs = milliseconds(timing[1], timing[2]!, timing[3]!, timing[4])
    const endMs = milliseconds(timing[5], timing[6]!, timing[7]!, timing[8])
    const text: string[] = []
    let characters = 0
    while (at + 1 < lines.length && lines[at + 1]!.trim() !== '') {
      const next = lines[at + 1]!
      if (next.includes('-->')) break
      at++
      characters += next.length
      if (characters <= CUE_CHARACTERS_MAX) text.push(cleanLine(next))
    }
    // The number of the next cue, where no empty line parts it from this one.
    if (/^\d+$/.test(text.at(-1) ?? '') && lines[at + 1]?.includes('-->')) text.pop()
    const kept = text.filter(part => part !== '').join('\n')
    if (kept === '' || endMs <= startMs || endMs > CUE_S_MAX * 1000) continue
    if (cues.length === CUES_MAX) throw beyondLimits(`subtitles have at most ${CUES_MAX} cues`)
    cues.push({ startMs, endMs, settings: settingsOf(timing[9]), text: kept })
  }
  if (cues.length === 0) throw unsupported('there is no subtitle in it')
  return cues.sort((one, other) => one.startMs - other.startMs || one.endMs - other.endMs)
}

export interface WebVttOptions {
  /** Tells HLS players where these times are on the film's clock; both begin at 0. */
  timestampMap?: boolean
}

export function webVtt(cues: readonly Cue[], { timestampMap = false }: WebVttOptions = {}): string {
  const parts = [timestampMap ? 'WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n' : 'WEBVTT\n']
  for (const { startMs, endMs, settings, text } of cues) {
    parts.push(`${time(startMs)} --> ${time(endMs)}${settings === '' ? '' : ` ${settings}`}\n${text}\n`)
  }
  return parts.join('\n')
}

/** UTF-8, UTF-16 with its mark, and else Windows-1252, which is what old files are in. */
function decode(bytes: Uint8Array): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes)
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return new TextDecoder('windows-1252').decode(bytes)
  }
}

function milliseconds(hours: string | undefined, minutes: string, seconds: string, parts = '0'): number {
  return (
    (Number(hours ?? 0) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000 + Number(parts.padEnd(3, '0'))
  )
}

/** Italics, bold, underline and who speaks are kept; other marks go, and what is left is text. */
function cleanLine(line: string): string {
  const marks: string[] = []
  const text = line
    .replace(/\{\\[^}]{0,100}\}/g, '')
    .replace(
      /<(\/?)([biu]|v|ruby|rt)((?:[ .][^<>&]{0,100})?)>/gi,
      (_all, slash: string, name: string, rest: string) => {
        const lower = name.toLowerCase()
        const voice = lower === 'v' && slash === '' ? rest.replace(/^\.[^ ]*/, '') : ''
        marks.push(`<${slash}${lower}${voice}>`)
        return `\uE000${marks.length - 1}\uE001`
      }
    )
    .replace(/<[^<>]{0,200}>/g, '')
    .replace(/&(?!(?:amp|lt|gt|nbsp|lrm|rlm);)/g, '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
  return text.replace(/\uE000(\d{1,5})\uE001/g, (_all, index: string) => marks[Number(index)] ?? '').trim()
}

function settingsOf(settings: string | undefined): string {
  return (settings ?? '')
    .split(/\s+/)
    .filter(setting => SETTING.test(setting))
    .join(' ')
}

function time(ms: number): string {
  const part = (value: number, digits: number): string => String(Math.floor(value)).padStart(digits, '0')
  return `${part(ms / 3_600_000, 2)}:${part((ms / 60_000) % 60, 2)}:${part((ms / 1000) % 60, 2)}.${part(ms % 1000, 3)}`
}

/**
 * Subtitles as people upload them, as they are stored: clean WebVTT.
 *
 * @param bytes  .srt or .vtt, in UTF-8, UTF-16 or Windows-1252
 * @throws {UnpackageableError} there is no subtitle in it, or it is too large
 */
export function subtitlesToWebVtt(bytes: Uint8Array): string {
  return webVtt(readSubtitles(bytes))
}
