import { libraryCalls } from './library.ts'
import type { ArgumentsOf, ResultOf } from './call.ts'

/** Every method of CALL, by name. Append only; fields are added as optional ones. */
export const INDEX_CALLS = {
  ...libraryCalls
}
export type CallName = keyof typeof INDEX_CALLS
export type CallArguments<N extends CallName> = ArgumentsOf<(typeof INDEX_CALLS)[N]>
export type CallResult<N extends CallName> = ResultOf<(typeof INDEX_CALLS)[N]>

export { type IndexCall } from './call.ts'
export * from './library.ts'
