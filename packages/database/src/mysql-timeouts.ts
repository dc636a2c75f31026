import type { OpenOptions } from './database.ts'

export interface MysqlTimeouts {
  /** To one address. */
  connectMs: number
  readMs: number
  writeMs: number
}

const CONNECT_TIMEOUT_MS = 2_000
const QUERY_TIMEOUT_MS = 2_000
/** A Galera cluster that loses a node stalls its commits for some 6 s. */
const WRITE_TIMEOUTS = 5

export function mysqlTimeoutsOf(options: OpenOptions): MysqlTimeouts {
  const readMs = options.queryTimeoutMs ?? QUERY_TIMEOUT_MS
  return {
    connectMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    readMs,
    writeMs: options.writeTimeoutMs ?? readMs * WRITE_TIMEOUTS
  }
}
