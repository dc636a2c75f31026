import type { Static, TSchema } from 'typebox'

/**
 * One thing that can be asked of the index.
 *
 * - `safe`       asking twice does no harm: another tracker is asked when one is silent.
 * - `ask-first`  a lost reply leaves the outcome open, and the caller has to look before it repeats.
 */
export interface IndexCall<A extends TSchema = TSchema, R extends TSchema = TSchema> {
  readonly arguments: A
  readonly result: R
  readonly resend: 'safe' | 'ask-first'
}

export function indexCall<A extends TSchema, R extends TSchema>(
  resend: IndexCall['resend'],
  args: A,
  result: R
): IndexCall<A, R> {
  return { arguments: args, result, resend }
}

export type ArgumentsOf<C> = C extends IndexCall<infer A> ? Static<A> : never
export type ResultOf<C> = C extends IndexCall<TSchema, infer R> ? Static<R> : never
