/** Servers that are silent: another one is asked as well, rather than waited for until a deadline. */
import { leavesDoubt, worthElsewhere } from './retry-rules.ts'

/** For so long one server alone is asked. Longer than one that lives needs, shorter than a viewer's buffer. */
export const ALONE_MS = 1_000
/** As long may a server fall silent in mid-transfer while others of its group were not tried. */
export const ALONE_SILENCE_MS = 1_500

/**
 * Waits for `first`; when it is late, for `second` as well, and takes the answer that comes first. For requests that may
 * be carried out twice. A late call is not ended: it shares its connection with others, and its answer is as good.
 *
 * @param second  Asks somebody else; undefined: there is nobody.
 * @param discard Takes an answer that came after another one.
 * @throws the failure that says most: of two, not the one that leaves in doubt
 */
export async function inCompany<T>(
  first: Promise<T>,
  second: () => Promise<T> | undefined,
  discard: (surplus: T) => void = nothing
): Promise<T> {
  if (!(await isLate(first))) return first
  const other = second()
  if (!other) return first
  return new Promise((resolve, reject) => {
    let isAnswered = false
    let failure: unknown
    for (const asked of [first, other]) {
      asked.then(
        answer => {
          if (isAnswered) discard(answer)
          isAnswered = true
          resolve(answer)
        },
        (error: unknown) => {
          if (failure === undefined && worthElsewhere(error)) failure = error
          else reject(failure === undefined || leavesDoubt(failure) ? error : failure)
        }
      )
    }
  })
}

function isLate(asked: Promise<unknown>): Promise<boolean> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(true), ALONE_MS)
    const settle = (): void => {
      clearTimeout(timer)
      resolve(false)
    }
    asked.then(settle, settle)
  })
}

const nothing = (): void => {}
