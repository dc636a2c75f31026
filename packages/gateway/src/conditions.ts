/** Conditional requests: RFC 9110 §13, with the precedence of §13.2.2. */
import type { IncomingHttpHeaders } from 'node:http'
import { parseHttpDate } from './http-date.ts'

export interface EntityTag {
  weak: boolean
  /** What stands between the quotes. */
  opaque: string
}

/** What a condition is compared with. */
export interface Validators {
  /** The strong ETag's text; empty: there is none. */
  generation: string
  /** UNIX milliseconds; 0: not known. */
  storedAtMs: number
}

/** `failed` is 412; `not-modified` is 304 to GET and HEAD. */
export type Verdict = 'proceed' | 'not-modified' | 'failed'

const TAG = /[ \t,]*(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?=,|$)/y
const SIMPLE_TAG = /^[ \t]*(?:W\/)?"((?:[0-9a-f]{2})+)"[ \t]*$/
const STRONG_TAG = /^[ \t]*"((?:[0-9a-f]{2})+)"[ \t]*$/
/** A date tells two versions apart only when they are not of the same second. */
const DATE_RESOLUTION_MS = 1_000

/** A list of entity tags, as far as it can be read, or `*`. */
export function parseEntityTags(header: string): EntityTag[] | '*' {
  if (header.trim() === '*') return '*'
  const tags: EntityTag[] = []
  TAG.lastIndex = 0
  for (let match = TAG.exec(header); match; match = TAG.exec(header)) {
    tags.push({ weak: match[1] !== undefined, opaque: match[2]! })
  }
  return tags
}

/** The generation of an If-None-Match that is one tag of ours: it can be compared where the file is. */
export function simpleIfNoneMatch(header: string): string | undefined {
  return SIMPLE_TAG.exec(header)?.[1]
}

/** The generation of an If-Range that is one strong tag of ours. */
export function simpleIfRange(header: string): string | undefined {
  return STRONG_TAG.exec(header)?.[1]
}

/**
 * Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in this order, for a file that
 * exists. Dates that cannot be read, and dates where the file's is not known, count as absent.
 */
export function evaluateConditions(
  headers: IncomingHttpHeaders,
  file: Validators,
  reading: boolean,
  nowMs: number
): Verdict {
  const ifMatch = headers['if-match']
  if (ifMatch !== undefined) {
    const tags = parseEntityTags(ifMatch)
    if (tags !== '*' && !tags.some(({ weak, opaque }) => !weak && isGeneration(opaque, file))) return 'failed'
  } else {
    const until = readDate(headers['if-unmodified-since'], file, nowMs)
    if (until !== undefined && wholeSeconds(file.storedAtMs) > until) return 'failed'
  }
  const ifNoneMatch = headers['if-none-match']
  if (ifNoneMatch !== undefined) {
    const tags = parseEntityTags(ifNoneMatch)
    if (tags === '*' || tags.some(({ opaque }) => isGeneration(opaque, file)))
      return reading ? 'not-modified' : 'failed'
  } else if (reading) {
    const since = readDate(headers['if-modified-since'], file, nowMs)
    if (since !== undefined && wholeSeconds(file.storedAtMs) <= since) return 'not-modified'
  }
  return 'proceed'
}

/**
 * Whether If-Range holds, so that the range counts. A tag must be strong and the same; a date must be exactly the
 * file's, and old enough to be strong (§8.8.2.2).
 */
export function ifRangeHolds(header: string, file: Validators, nowMs: number): boolean {
  const tag = simpleIfRange(header)
  if (tag !== undefined) return isGeneration(tag, file)
  const date = readDate(header, file, nowMs)
  if (date === undefined) return false
  const storedMs = wholeSeconds(file.storedAtMs)
  return date === storedMs && nowMs - storedMs >= 2 * DATE_RESOLUTION_MS
}

function isGeneration(opaque: string, file: Validators): boolean {
  return file.generation !== '' && opaque === file.generation
}

function readDate(header: string | undefined, file: Validators, nowMs: number): number | undefined {
  if (header === undefined || file.storedAtMs === 0) return undefined
  return parseHttpDate(header, nowMs)
}

function wholeSeconds(ms: number): number {
  return ms - (ms % 1_000)
}
