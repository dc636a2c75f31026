import { SchemaVersionError, type AccessIndex } from '@tributary/database'
import { UnavailableError } from '@tributary/protocol'
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
      if (!(await isReady(access))) {
        throw new UnavailableError(
          'DATABASE_UNAVAILABLE',
          'the database has no tables of access yet: run `tributary db migrate`'
        )
      }
      return (handler as (args: never) => Promise<unknown>)(args)
    }
  ])
  return Object.fromEntries(gated) as CallHandlers<N>
}

/** Whether the database was migrated far enough: programs are renewed before it. */
export async function isReady(access: AccessIndex): Promise<boolean> {
  try {
    await access.ready()
    return true
  } catch (error) {
    if (error instanceof SchemaVersionError) return false
    throw error
  }
}
