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
