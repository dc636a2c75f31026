import { invariant } from './invariant.ts'

/** Locks that end by themselves: a row with a time, because GET_LOCK does not reach across a Galera cluster. */
export interface Leases {
  /**
   * Takes or renews a lease. Time is the database's, on SQLite the machine's.
   *
   * @returns a fencing token: it grows with every change of holder and stays while one holder renews;
   *          undefined while another one holds the lease.
   */
  take(name: string, holder: string, ttlMs: number): Promise<bigint | undefined>

  /** Gives the lease back if this holder has it; otherwise nothing happens. */
  release(name: string, holder: string): Promise<void>
}

export const LEASE_NAME_BYTES_MAX = 64
export const LEASE_HOLDER_BYTES_MAX = 255
/** A day: whoever needs longer renews. */
export const LEASE_TTL_MS_MAX = 86_400_000

export function assertLease(name: string, holder: string, ttlMs: number): void {
  invariant(
    name !== '' && Buffer.byteLength(name) <= LEASE_NAME_BYTES_MAX,
    'a lease has a name of 1..64 bytes'
  )
  const holderBytes = Buffer.byteLength(holder)
  invariant(holderBytes >= 1 && holderBytes <= LEASE_HOLDER_BYTES_MAX, 'a holder has 1..255 bytes')
  invariant(Number.isInteger(ttlMs) && ttlMs >= 1 && ttlMs <= LEASE_TTL_MS_MAX, 'a lease ends within a day')
}
