import { equal, ok } from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http'

export interface Part {
  headers: Record<string, string>
  body: Buffer
}

/** Reads multipart/byteranges the way a careful client does: by the lengths that Content-Range tells. */
export function readParts(headers: IncomingHttpHeaders, body: Buffer): Part[] {
  const [, boundary] = /^multipart\/byteranges; boundary=([\w-]+)$/.exec(headers['content-type'] ?? '') ?? []
  ok(boundary, 'the type names a boundary')
  const parts: Part[] = []
  let at = 0
  for (;;) {
    const delimiter: string = `${at === 0 ? '' : '\r\n'}--${boundary}`
    equal(body.subarray(at, at + delimiter.length).toString('latin1'), delimiter)
    at += delimiter.length
    if (body.subarray(at).toString('latin1') === '--\r\n') return parts
    equal(body.subarray(at, at + 2).toString(), '\r\n')
    at += 2
    const headEnd: number = body.indexOf('\r\n\r\n', at)
    const fields = Object.fromEntries(
      body
        .subarray(at, headEnd)
        .toString('latin1')
        .split('\r\n')
        .map(line => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)])
    )
    const [, start, end] = /^bytes (\d+)-(\d+)\/\d+$/.exec(fields['content-range'] ?? '') ?? []
    const lengthBytes = Number(end) - Number(start) + 1
    at = headEnd + 4
    parts.push({ headers: fields, body: body.subarray(at, at + lengthBytes) })
    at += lengthBytes
  }
}
