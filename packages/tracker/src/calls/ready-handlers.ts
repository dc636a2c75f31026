import type { AccessIndex } from '@tributary/database'
import type { CallHandlers } from './call-dispatcher.ts'
import type { CallName } from '@tributary/calls'

/** Handlers that answer once the database has the tables of access. */
export function whenReady<N extends CallName>(
  access: AccessIndex,
  handlers: CallHandlers<N>
): CallHandlers<N> {
  const gated = Object.entries(handlers).map(([name, handler]) => [
    name,
    async (args: never) => {
      await access.ready()
      return (handler as (args: never) => Promise<unknown>)(args)
    }
  ])
  return Object.fromEntries(gated) as CallHandlers<N>
}
