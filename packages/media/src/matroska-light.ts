/** How bright a picture of high dynamic range is, as MKV and WebM say it, in the boxes of an MP4. RFC 9559 §5.1.4.1.28.24. */
import { box, u16, u32 } from './box-writer.ts'
import { bodyOf, childElements, float, unsigned } from './ebml.ts'
import { concatenated } from './isobmff-scan.ts'

const COLOUR = 0x55b0
const MAX_CLL = 0x55bc
const MAX_FALL = 0x55bd
const MASTERING = 0x55d0
/** Green, blue and red, each x and y, and white: in the order of `mdcv`. */
const CHROMATICITIES = [0x55d3, 0x55d4, 0x55d5, 0x55d6, 0x55d1, 0x55d2, 0x55d7, 0x55d8]
const LUMINANCES = [0x55d9, 0x55da]
const CHROMATICITIES_PER_UNIT = 50_000
const LUMINANCES_PER_NIT = 10_000

/** @param video  body of a track's element Video. @returns `mdcv` and `clli`, those of which something is said */
export function lightBoxes(video: Uint8Array): Uint8Array | undefined {
  const colour = childElements(bodyOf(childElements(video), COLOUR) ?? new Uint8Array(0))
  const boxes: Uint8Array[] = []
  const mastering = childElements(bodyOf(colour, MASTERING) ?? new Uint8Array(0))
  const scaled = (ids: readonly number[], scale: number, most: number): number[] =>
    ids.flatMap(id => {
      const body = bodyOf(mastering, id)
      return body ? [Math.max(0, Math.min(most, Math.round(float(body) * scale)))] : []
    })
  const places = scaled(CHROMATICITIES, CHROMATICITIES_PER_UNIT, 0xffff)
  const luminances = scaled(LUMINANCES, LUMINANCES_PER_NIT, 0xffff_ffff)
  // A half of it is worth nothing.
  if (places.length === CHROMATICITIES.length && luminances.length === LUMINANCES.length) {
    boxes.push(box('mdcv', ...places.map(u16), ...luminances.map(u32)))
  }
  const levels = [MAX_CLL, MAX_FALL].map(id => unsigned(bodyOf(colour, id) ?? new Uint8Array(0)))
  if (levels.some(level => level > 0)) {
    boxes.push(box('clli', ...levels.map(level => u16(Math.min(level, 0xffff)))))
  }
  return boxes.length > 0 ? concatenated(boxes) : undefined
}
