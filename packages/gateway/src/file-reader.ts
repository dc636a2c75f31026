/** GET and HEAD of a file: RFC 9110, over one round trip to storage where the request allows it. */
import { randomBytes } from 'node:crypto'
import { RejectedError, type FileFacts, type FileKey } from '@tributary/protocol'
import type { FetchedContent, FetchOptions } from '@tributary/client'
import type { Clock } from '@tributary/runtime'
import { isPrivate } from './access/private-answers.ts'
import { parseRange, RANGES_MAX, resolveRanges, type ByteRange, type RangeSpec } from './byte-range.ts'
import { evaluateConditions, ifRangeHolds, simpleIfNoneMatch, simpleIfRange } from './conditions.ts'
import { cleanName } from './content-disposition.ts'
import { sendWhole, type Exchange } from './exchange.ts'
import type { FileHeaderCache, FileHeaders } from './file-headers.ts'
import type { FileService } from './file-service.ts'
import { HttpProblem } from './problem.ts'

/** A file that is replaced between looking and reading is looked at again; more often is somebody's game. */
const LOOKS_MAX = 3

export interface FileReaderOptions {
  files: FileService
  headers: FileHeaderCache
  /** The same for films that not everybody may read. */
  privateHeaders: FileHeaderCache
  clock: Clock
}

export class FileReader {
  readonly #files: FileService
  readonly #headers: FileHeaderCache
  readonly #privateHeaders: FileHeaderCache
  readonly #clock: Clock

  constructor({ files, headers, privateHeaders, clock }: FileReaderOptions) {
    this.#files = files
    this.#headers = headers
    this.#privateHeaders = privateHeaders
    this.#clock = clock
  }

  /** @returns the status that was answered. */
  async get(exchange: Exchange, key: FileKey, query: string): Promise<number> {
    const { headers } = exchange.request
    const saveAs = query === '' ? undefined : saveAsOf(query)
    const specs = headers.range === undefined ? undefined : parseRange(headers.range)
    if (specs && specs.length > RANGES_MAX) {
      throw new HttpProblem(416, `${specs.length} ranges in one request; ${RANGES_MAX} are allowed`)
    }
    const options = this.#inOneTrip(exchange, specs)
    if (options) {
      const fetched = await this.#files.fetch(key, options)
      if (fetched.outcome === 'content') return this.#content(exchange, key, fetched, saveAs)
      if (fetched.outcome === 'not-modified') return this.#unchanged(exchange, key, fetched.facts)
      return this.#outside(exchange, key, fetched.facts, specs, saveAs)
    }
    for (let look = 1; ; look++) {
      try {
        return await this.#getAfterLooking(exchange, key, specs, saveAs)
      } catch (error) {
        const replaced = error instanceof RejectedError && error.code === 'GENERATION_MISMATCH'
        if (!replaced || look >= LOOKS_MAX || exchange.response.headersSent) throw error
      }
    }
  }

  /** @returns the status that was answered. */
  async head(exchange: Exchange, key: FileKey, query: string): Promise<number> {
    const facts = await this.#files.stat(key)
    if (this.#verdict(exchange, facts) === 'not-modified') return this.#unchanged(exchange, key, facts)
    const saveAs = query === '' ? undefined : saveAsOf(query)
    sendWhole(exchange, 200, this.#describe(exchange, key, facts, saveAs).whole)
    return 200
  }

  /** What storage itself can evaluate; undefined where the file's facts must be known first. */
  #inOneTrip(exchange: Exchange, specs: readonly RangeSpec[] | undefined): FetchOptions | undefined {
    const { headers } = exchange.request
    const ifNoneMatch = headers['if-none-match']
    if (
      headers['if-match'] !== undefined ||
      headers['if-unmodified-since'] !== undefined ||
      (ifNoneMatch === undefined && headers['if-modified-since'] !== undefined)
    ) {
      return undefined
    }
    let unlessGeneration: string | undefined
    if (ifNoneMatch !== undefined) {
      unlessGeneration = simpleIfNoneMatch(ifNoneMatch)
      if (unlessGeneration === undefined) return undefined
    }
    if (!specs) return unlessGeneration === undefined ? NO_OPTIONS : { unlessGeneration }
    if (specs.length > 1) return undefined
    let rangeGeneration: string | undefined
    const ifRange = headers['if-range']
    if (ifRange !== undefined) {
      rangeGeneration = simpleIfRange(String(ifRange))
      if (rangeGeneration === undefined) return undefined
    }
    const spec = specs[0]!
    return 'suffix' in spec
      ? { suffix: spec.suffix, unlessGeneration, rangeGeneration }
      : { start: spec.start, end: spec.end, unlessGeneration, rangeGeneration }
  }

  async #getAfterLooking(
    exchange: Exchange,
    key: FileKey,
    specs: readonly RangeSpec[] | undefined,
    saveAs: string | undefined
  ): Promise<number> {
    const facts = await this.#files.stat(key)
    if (this.#verdict(exchange, facts) === 'not-modified') return this.#unchanged(exchange, key, facts)
    const generation = facts.generation === '' ? undefined : facts.generation
    const ifRange = exchange.request.headers['if-range']
    const wanted =
      specs && (ifRange === undefined || ifRangeHolds(String(ifRange), facts, this.#clock.nowMs()))
        ? specs
        : undefined
    if (wanted) {
      const ranges = resolveRanges(wanted, facts.sizeBytes)
      if (ranges.length === 0) return this.#outside(exchange, key, facts, wanted, saveAs)
      if (ranges.length > 1) return this.#several(exchange, key, facts, ranges, saveAs)
      const { start, end } = ranges[0]!
      const part = await this.#fetchContent(key, { start, end, generation })
      return this.#content(exchange, key, part, saveAs)
    }
    return this.#content(exchange, key, await this.#fetchContent(key, { generation }), saveAs)
  }

  /** Content, where the range is known to exist. */
  async #fetchContent(key: FileKey, options: FetchOptions): Promise<FetchedContent> {
    const fetched = await this.#files.fetch(key, options)
    if (fetched.outcome === 'content') return fetched
    throw new RejectedError('GENERATION_MISMATCH', 'the file changed while it was asked for')
  }

  #verdict(exchange: Exchange, facts: FileFacts): 'proceed' | 'not-modified' {
    const verdict = evaluateConditions(exchange.request.headers, facts, true, this.#clock.nowMs())
    if (verdict === 'failed') throw new HttpProblem(412, 'the file is not the one that the condition names')
    return verdict
  }

  #describe({ request }: Exchange, key: FileKey, facts: FileFacts, saveAs: string | undefined): FileHeaders {
    const nowMs = this.#clock.nowMs()
    const headers = isPrivate(request) ? this.#privateHeaders : this.#headers
    return saveAs === undefined ? headers.of(key, facts, nowMs) : headers.make(key, facts, nowMs, saveAs)
  }

  #unchanged(exchange: Exchange, key: FileKey, facts: FileFacts): number {
    sendWhole(exchange, 304, this.#describe(exchange, key, facts, undefined).unchanged)
    return 304
  }

  /** None of the ranges lies within the file. */
  #outside(
    exchange: Exchange,
    key: FileKey,
    facts: FileFacts,
    specs: readonly RangeSpec[] | undefined,
    saveAs: string | undefined
  ): number {
    // The last so many bytes of an empty file exist, and are none; Content-Range cannot say that, 200 can.
    if (facts.sizeBytes === 0 && specs?.some(spec => 'suffix' in spec && spec.suffix > 0)) {
      sendWhole(exchange, 200, this.#describe(exchange, key, facts, saveAs).whole)
      return 200
    }
    throw new HttpProblem(416, `the file has ${facts.sizeBytes} bytes; nothing of the range lies within`, [
      'Content-Range',
      `bytes */${facts.sizeBytes}`,
      'Accept-Ranges',
      'bytes'
    ])
  }

  #content(
    exchange: Exchange,
    key: FileKey,
    fetched: FetchedContent,
    saveAs: string | undefined
  ): number | Promise<number> {
    const { response } = exchange
    const { facts, whole, offset, lengthBytes, bytes } = fetched
    if (response.destroyed) {
      fetched.cancel()
      return 499
    }
    const described = this.#describe(exchange, key, facts, saveAs)
    exchange.sentBytes = lengthBytes
    const status = whole ? 200 : 206
    response.writeHead(
      status,
      whole
        ? described.whole
        : [
            ...described.common,
            'Content-Length',
            String(lengthBytes),
            'Content-Range',
            `bytes ${offset}-${offset + lengthBytes - 1}/${facts.sizeBytes}`
          ]
    )
    if (bytes) {
      response.end(bytes)
      return status
    }
    return this.#streamAlone(exchange, fetched, status)
  }

  async #streamAlone(exchange: Exchange, fetched: FetchedContent, status: number): Promise<number> {
    await pump(exchange, fetched)
    exchange.response.end()
    return status
  }

  /** multipart/byteranges: RFC 9110 §14.6. Every part is of the one generation that was looked at. */
  async #several(
    exchange: Exchange,
    key: FileKey,
    facts: FileFacts,
    ranges: readonly ByteRange[],
    saveAs: string | undefined
  ): Promise<number> {
    const { response } = exchange
    const { common, contentType } = this.#describe(exchange, key, facts, saveAs)
    const generation = facts.generation === '' ? undefined : facts.generation
    const boundary = `tributary-${randomBytes(12).toString('hex')}`
    const heads = ranges.map(({ start, end }, index) =>
      Buffer.from(
        `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${contentType}\r\n` +
          `Content-Range: bytes ${start}-${end}/${facts.sizeBytes}\r\n\r\n`
      )
    )
    const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
    let totalBytes = tail.byteLength
    for (const [index, { start, end }] of ranges.entries())
      totalBytes += heads[index]!.byteLength + end - start + 1
    // The first part is had before anything is promised, so that a failure still is an answer.
    let part = await this.#fetchContent(key, { ...ranges[0], generation })
    exchange.sentBytes = totalBytes
    const headers = [...common]
    headers[headers.indexOf('Content-Type') + 1] = `multipart/byteranges; boundary=${boundary}`
    response.writeHead(206, [...headers, 'Content-Length', String(totalBytes)])
    for (const index of ranges.keys()) {
      if (index > 0) part = await this.#fetchContent(key, { ...ranges[index], generation })
      if (response.destroyed) {
        part.cancel()
        return 499
      }
      response.write(heads[index])
      if (!part.bytes) await pump(exchange, part)
      else if (!response.write(part.bytes)) await drained(exchange)
    }
    response.end(tail)
    return 206
  }
}

const NO_OPTIONS: FetchOptions = Object.freeze({})

/** Pieces go out as they come; one is given back when it has left, and until then no further one is read. */
async function pump({ response }: Exchange, fetched: FetchedContent): Promise<void> {
  const onClose = (): void => fetched.cancel()
  response.once('close', onClose)
  try {
    await fetched.stream!((bytes, release) => {
      response.write(bytes, release)
    })
  } finally {
    response.off('close', onClose)
  }
}

function drained({ response }: Exchange): Promise<void> {
  return new Promise(resolve => {
    const settle = (): void => {
      response.off('drain', settle)
      response.off('close', settle)
      resolve()
    }
    response.on('drain', settle)
    response.on('close', settle)
    if (response.destroyed) settle()
  })
}

/** `?download` or `?download=name`: the name to save under; empty: the file's own. */
function saveAsOf(query: string): string | undefined {
  const value = new URLSearchParams(query).get('download')
  return value === null ? undefined : cleanName(value)
}
