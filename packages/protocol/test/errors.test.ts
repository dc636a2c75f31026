import { deepEqual, equal, ok } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import {
  CancelledError,
  decodeErrorBody,
  encodeErrorReply,
  errorFromWire,
  errorOf,
  ERRORS,
  HEADER_BYTES,
  OutcomeUnknownError,
  ProtocolError,
  RejectedError,
  TributaryError,
  UnavailableError,
  wireNumberOf,
  type ErrorCode
} from '../src/index.ts'

const CODES = Object.keys(ERRORS) as ErrorCode[]
const CLASSES = {
  protocol: ProtocolError,
  rejected: RejectedError,
  unavailable: UnavailableError,
  unknown: OutcomeUnknownError,
  cancelled: CancelledError
}
const DOCUMENT = readFileSync(new URL('../../../docs/ERRORS.md', import.meta.url), 'utf8')

describe('the error table', () => {
  it('gives every code a number of its own that fits an errno, and never -1', () => {
    const numbers = CODES.map(wireNumberOf)
    equal(new Set(numbers).size, numbers.length)
    for (const number of numbers) ok(Number.isInteger(number) && number > 0 && number < 2 ** 15)
  })

  it('is append only: these numbers are released', () => {
    const numbers = CODES.map(wireNumberOf)
    deepEqual(
      numbers.slice(0, 32),
      Array.from({ length: 32 }, (_, at) => at + 1)
    )
    deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b)
    )
    deepEqual(CODES.slice(0, 4), ['FRAME_TOO_LARGE', 'NO_STORAGE_READY', 'OUTCOME_UNKNOWN', 'FILE_EXISTS'])
  })

  for (const code of CODES) {
    it(`makes ${code} an error of its kind, and the same one again behind the wire`, () => {
      const policy = ERRORS[code]
      const error = errorOf(code, 'why', { cause: 'this' })
      ok(error instanceof CLASSES[policy.kind])
      ok(error instanceof TributaryError)
      equal(error.code, code)
      equal(error.name, CLASSES[policy.kind].name)
      equal(error.cause, 'this')
      deepEqual(error.policy, policy)
      const there = decodeErrorBody(encodeErrorReply(102, policy.wire, 'why').subarray(HEADER_BYTES))
      equal(there.code, code)
      equal(there.message, 'why')
      ok(policy.http >= 400 && policy.http < 600)
    })
  }

  it('knows a legacy server by a number that it has not', () => {
    for (const errno of [-1, 0, Math.max(...CODES.map(wireNumberOf)) + 1, 32_767, -32_768])
      equal(errorFromWire(errno, 'x').code, 'PEER_ERROR')
    ok(errorFromWire(-1, '').message.length > 0)
  })

  it('says ask-first where the outcome is unknown, and nowhere else', () => {
    for (const code of CODES) equal(ERRORS[code].retry === 'ask-first', ERRORS[code].kind === 'unknown')
  })
})

describe('docs/ERRORS.md', () => {
  const rows = DOCUMENT.split('\n')
    .filter(line => /^\| \d+ \|/.test(line))
    .map(line =>
      line
        .split('|')
        .slice(1, -1)
        .map(cell => cell.trim())
    )

  it('has one row for every error, in order of the numbers', () => {
    deepEqual(
      rows.map(([number, code, http, retry, kind]) => ({ number, code, http, retry, kind })),
      CODES.map(code => ({
        number: `${ERRORS[code].wire}`,
        code: `\`${code}\``,
        http: `${ERRORS[code].http}`,
        retry: ERRORS[code].retry,
        kind: ERRORS[code].kind
      }))
    )
  })

  it('says of every error what it means and what to do', () => {
    for (const [, code, , , , meaning, todo] of rows) {
      ok(meaning!.length > 10, `${code} has a meaning`)
      ok(todo!.length > 5, `${code} says what to do`)
    }
  })
})
