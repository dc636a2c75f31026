/** RFC 8216, as far as a playlist alone can break it. */
import { equal, match, ok } from 'node:assert/strict'

export interface CheckedSegment {
  uri: string
  seconds: number
}
export interface CheckedList {
  segments: CheckedSegment[]
  map: string
  targetS: number
  ended: boolean
  type: string | undefined
  iFramesOnly: boolean
}
export type Attributes = Map<string, string>
export interface CheckedMaster {
  variants: { attributes: Attributes; uri: string }[]
  media: Attributes[]
  iFrames: Attributes[]
  independent: boolean
}

const MEDIA_TAGS = new Set([
  'EXTINF',
  'EXT-X-BYTERANGE',
  'EXT-X-DISCONTINUITY',
  'EXT-X-KEY',
  'EXT-X-MAP',
  'EXT-X-TARGETDURATION',
  'EXT-X-MEDIA-SEQUENCE',
  'EXT-X-ENDLIST',
  'EXT-X-PLAYLIST-TYPE',
  'EXT-X-I-FRAMES-ONLY'
])
const MASTER_TAGS = new Set([
  'EXT-X-MEDIA',
  'EXT-X-STREAM-INF',
  'EXT-X-I-FRAME-STREAM-INF',
  'EXT-X-SESSION-DATA'
])
const EITHER = new Set(['EXTM3U', 'EXT-X-VERSION', 'EXT-X-INDEPENDENT-SEGMENTS', 'EXT-X-START'])

function linesOf(text: string): string[] {
  ok(!text.startsWith('\uFEFF'), '§4: no byte order mark')
  ok(!/\p{Cc}/u.test(text.replaceAll('\n', '')), '§4: no control characters but line ends')
  equal(text, text.normalize('NFC'), '§4: normalized')
  ok(text.endsWith('\n'))
  const lines = text.split('\n').filter(line => line !== '')
  equal(lines[0], '#EXTM3U', '§4.3.1.1: it comes first')
  for (const line of lines) equal(line, line.trim(), '§4.1: no white space around')
  return lines
}

/** Name and value of a tag; undefined: an address. */
function tagOf(line: string): { name: string; value: string } | undefined {
  if (!line.startsWith('#')) return undefined
  const colon = line.indexOf(':')
  return colon < 0
    ? { name: line.slice(1), value: '' }
    : { name: line.slice(1, colon), value: line.slice(colon + 1) }
}

/** §4.2 */
export function attributesOf(value: string): Attributes {
  const attributes: Attributes = new Map()
  const pattern = /([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)/gy
  let end = 0
  for (let found = pattern.exec(value); found; found = pattern.exec(value)) {
    ok(!attributes.has(found[1]!), `§4.2: ${found[1]} stands twice`)
    attributes.set(found[1]!, found[2]!)
    end = pattern.lastIndex
    if (end === value.length) break
  }
  equal(end, value.length, `§4.2: this is no attribute list: ${value}`)
  return attributes
}

export function unquoted(value: string | undefined): string {
  match(value ?? '', /^"[^"]*"$/)
  return value!.slice(1, -1)
}

export function checkMediaPlaylist(text: string): CheckedList {
  const once = new Set<string>()
  const list: CheckedList = {
    segments: [],
    map: '',
    targetS: 0,
    ended: false,
    type: undefined,
    iFramesOnly: false
  }
  let version = 1
  let seconds: number | undefined
  for (const line of linesOf(text)) {
    const tag = tagOf(line)
    if (tag === undefined) {
      ok(seconds !== undefined, '§4.3.2.1: each segment has an EXTINF')
      list.segments.push({ uri: line, seconds })
      seconds = undefined
      continue
    }
    const { name, value } = tag
    ok(!MASTER_TAGS.has(name), `§4.3: ${name} does not belong into a media playlist`)
    ok(MEDIA_TAGS.has(name) || EITHER.has(name), `${name} is not known`)
    if (name !== 'EXTINF' && name !== 'EXT-X-MAP') {
      ok(!once.has(name), `§4.3.3: ${name} stands twice`)
      once.add(name)
    }
    if (name === 'EXT-X-VERSION') version = Number(value)
    if (name === 'EXT-X-TARGETDURATION') {
      match(value, /^\d+$/)
      list.targetS = Number(value)
    }
    if (name === 'EXT-X-MEDIA-SEQUENCE') equal(list.segments.length, 0, '§4.3.3.2: before the first segment')
    if (name === 'EXT-X-MAP') list.map = unquoted(attributesOf(value).get('URI'))
    if (name === 'EXT-X-ENDLIST') list.ended = true
    if (name === 'EXT-X-PLAYLIST-TYPE') {
      match(value, /^(?:VOD|EVENT)$/)
      list.type = value
    }
    if (name === 'EXT-X-I-FRAMES-ONLY') list.iFramesOnly = true
    if (name === 'EXTINF') {
      match(value, /^\d+(?:\.\d+)?,/)
      seconds = Number.parseFloat(value)
    }
  }
  ok(list.targetS > 0, '§4.3.3.1: there is a target duration')
  for (const { seconds: length } of list.segments) {
    ok(Math.round(length) <= list.targetS, `§4.3.3.1: ${length} s, and the target is ${list.targetS} s`)
  }
  ok(version >= 3, '§7: durations that are no whole numbers')
  if (list.iFramesOnly) ok(version >= 4, '§7')
  if (list.map !== '') ok(version >= (list.iFramesOnly ? 5 : 6), '§7: EXT-X-MAP')
  if (list.type === 'VOD') ok(list.ended, '§4.3.3.5: nothing is added to it')
  return list
}

export function checkMasterPlaylist(text: string): CheckedMaster {
  const master: CheckedMaster = { variants: [], media: [], iFrames: [], independent: false }
  let pending: Attributes | undefined
  for (const line of linesOf(text)) {
    const tag = tagOf(line)
    if (tag === undefined) {
      ok(pending, '§4.3.4.2: an address follows its EXT-X-STREAM-INF')
      master.variants.push({ attributes: pending, uri: line })
      pending = undefined
      continue
    }
    equal(pending, undefined, '§4.3.4.2: the address follows at once')
    const { name, value } = tag
    ok(!MEDIA_TAGS.has(name), `§4.3: ${name} does not belong into a master playlist`)
    if (name === 'EXT-X-STREAM-INF') pending = attributesOf(value)
    else if (name === 'EXT-X-MEDIA') master.media.push(attributesOf(value))
    else if (name === 'EXT-X-I-FRAME-STREAM-INF') master.iFrames.push(attributesOf(value))
    else if (name === 'EXT-X-INDEPENDENT-SEGMENTS') master.independent = true
    else ok(EITHER.has(name), `${name} is not known`)
  }
  ok(master.variants.length > 0)
  const groups = new Map<string, Attributes[]>()
  for (const media of master.media) {
    const type = media.get('TYPE')!
    match(type, /^(?:AUDIO|VIDEO|SUBTITLES|CLOSED-CAPTIONS)$/)
    const key = `${type} ${unquoted(media.get('GROUP-ID'))}`
    groups.set(key, [...(groups.get(key) ?? []), media])
    if (type === 'SUBTITLES') ok(media.has('URI'), '§4.3.4.1')
    if (media.get('DEFAULT') === 'YES') equal(media.get('AUTOSELECT') ?? 'YES', 'YES', '§4.3.4.1')
    if (type !== 'SUBTITLES') ok(!media.has('FORCED'), '§4.3.4.1')
  }
  for (const members of groups.values()) {
    const names = members.map(media => unquoted(media.get('NAME')))
    equal(new Set(names).size, names.length, '§4.3.4.1.1: names in a group differ')
    ok(members.filter(media => media.get('DEFAULT') === 'YES').length <= 1, '§4.3.4.1.1: one default at most')
  }
  for (const { attributes } of master.variants) {
    checkRates(attributes)
    if (attributes.has('RESOLUTION')) match(attributes.get('RESOLUTION')!, /^\d+x\d+$/)
    if (attributes.has('FRAME-RATE')) match(attributes.get('FRAME-RATE')!, /^\d+\.\d{1,3}$/)
    for (const type of ['AUDIO', 'SUBTITLES']) {
      if (attributes.has(type))
        ok(groups.has(`${type} ${unquoted(attributes.get(type))}`), `§4.3.4.2: group of ${type}`)
    }
  }
  for (const iFrames of master.iFrames) {
    checkRates(iFrames)
    ok(iFrames.has('URI'), '§4.3.4.3')
    for (const name of ['FRAME-RATE', 'AUDIO', 'SUBTITLES', 'CLOSED-CAPTIONS'])
      ok(!iFrames.has(name), `§4.3.4.3: ${name}`)
  }
  return master
}

function checkRates(attributes: Attributes): void {
  match(attributes.get('BANDWIDTH') ?? '', /^\d+$/)
  match(attributes.get('AVERAGE-BANDWIDTH') ?? '', /^\d+$/)
  ok(Number(attributes.get('AVERAGE-BANDWIDTH')) <= Number(attributes.get('BANDWIDTH')))
  ok(unquoted(attributes.get('CODECS')).length > 0)
}

/** §4.3.4.2: the highest rate of segments in a row that last between half and one and a half target durations. */
export function peakRate(segments: readonly { seconds: number; bytes: number }[], targetS: number): number {
  let peak = 0
  for (let first = 0; first < segments.length; first++) {
    for (let last = first; last < segments.length; last++) {
      const run = segments.slice(first, last + 1)
      const seconds = run.reduce((sum, segment) => sum + segment.seconds, 0)
      const bits = run.reduce((sum, segment) => sum + segment.bytes * 8, 0)
      if (seconds >= targetS / 2 && seconds <= targetS * 1.5) peak = Math.max(peak, bits / seconds)
    }
  }
  return peak
}
