import { deepEqual, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ORIGINAL_FOLDER, parseStreamingTarget } from '../src/streaming/streaming-target.ts'

const BELOW = `/hls/media/public/film/${'0a'.repeat(16)}/${ORIGINAL_FOLDER}`

describe('an address of a packaged film', () => {
  it('has a track as its container numbers it, which in an Ogg may be 0', () => {
    for (const track of [0, 1, 4_294_967_295]) {
      const { wanted } = parseStreamingTarget(`${BELOW}/${track}/segment-0.m4s`)
      deepEqual(wanted, { kind: 'segment', source: { folder: ORIGINAL_FOLDER }, track, number: 0 })
    }
  })

  it('has no other spelling', () => {
    for (const track of ['', '00', '01', '-1', '1.0', '12345678901']) {
      throws(() => parseStreamingTarget(`${BELOW}/${track}/segment-0.m4s`), { status: 404 })
    }
  })
})
