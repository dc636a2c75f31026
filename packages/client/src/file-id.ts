/**
 * File ids that we make: safe in a URL's path, sorted by the time of making, unique without asking anybody.
 *
 *   offset  characters  part
 *        0           9  UNIX milliseconds, base 36; enough until the year 5188
 *        9          21  random, base 36: 108 bits
 */
import { randomInt } from 'node:crypto'

const TIME_CHARACTERS = 9
const RANDOM_CHARACTERS = 21
/** Characters that one call of randomInt yields: 36^7 is below its limit of 2^48. */
const CHARACTERS_PER_CALL = 7

/** A new file id: 30 lower-case letters and digits. */
export function makeFileId(nowMs: number = Date.now()): string {
  let id = nowMs.toString(36).padStart(TIME_CHARACTERS, '0')
  for (let made = 0; made < RANDOM_CHARACTERS; made += CHARACTERS_PER_CALL) {
    id += randomInt(36 ** CHARACTERS_PER_CALL)
      .toString(36)
      .padStart(CHARACTERS_PER_CALL, '0')
  }
  return id
}
