import { connect as connectSocket, type Socket } from 'node:net'
import { createConnection, type Connection, type ResultSetHeader } from 'mysql2'
import { ConnectionLostError, errnoOf, UnfitNodeError } from './mysql-error.ts'
import type { MysqlAddress } from './mysql-address.ts'

// The only importer of mysql2.

export type MysqlValue = string | number | bigint | Buffer
export type MysqlRecord = Record<string, unknown>

const GALERA_SYNCED = '4'

/**
 * Strict: a value that does not fit is an error, never cut. READ COMMITTED: fewer locks, and a second look in
 * a transaction sees what the first one waited for. Lock waits end before our own deadline does.
 */
const SESSION = [
  `SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', time_zone='+00:00',
     innodb_lock_wait_timeout=5, autocommit=1`,
  'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED'
]

/** One connection that was found fit for reading and writing. */
export class MysqlConnection {
  readonly address: MysqlAddress
  readonly #connection: Connection
  readonly #socket: () => Socket
  /** The pending statement's way out when the connection is cut. */
  readonly #cut = new Set<(error: Error) => void>()
  #lost: Error | undefined
  isGalera = false

  /** Use `MysqlConnection.open`. */
  constructor(address: MysqlAddress) {
    this.address = address
    let socket: Socket | undefined
    this.#connection = createConnection({
      stream: () => {
        socket = connectSocket({ host: address.host, port: address.port, noDelay: true, keepAlive: true })
        return socket
      },
      user: address.user,
      password: address.password,
      database: address.database,
      ...(address.tls ? { ssl: {} } : {}),
      charset: 'utf8mb4_bin',
      timezone: 'Z',
      supportBigNumbers: true,
      // An update that changes nothing counts nothing: that is how taken rows are told from new ones.
      flags: ['-FOUND_ROWS'],
      multipleStatements: false
    })
    this.#socket = () => socket!
    this.#connection.on('error', error => this.destroy(error))
    this.#socket().on('close', () => this.destroy(new Error('closed by the server')))
  }

  get isLost(): boolean {
    return this.#lost !== undefined
  }

  /** Prepares this session. @throws {UnfitNodeError} @throws {ConnectionLostError} @throws the server's error */
  async open(): Promise<void> {
    await this.connect()
    for (const statement of SESSION) await this.command(statement)
    await this.#checkFitness()
  }

  /** Only logs in: for whoever wants to look at a server, fit or not. */
  connect(): Promise<void> {
    return this.#call<void>(done => this.#connection.connect(error => done(error, undefined)))
  }

  async #checkFitness(): Promise<void> {
    const label = this.address.label
    const variables = await this.#settings(
      `SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'innodb_read_only', 'super_read_only', 'wsrep_on')`
    )
    const isOn = (name: string): boolean => variables.get(name) !== undefined && variables.get(name) !== 'OFF'
    if (isOn('read_only') || isOn('super_read_only') || isOn('innodb_read_only')) {
      throw new UnfitNodeError(`${label} is read-only`, true)
    }
    this.isGalera = isOn('wsrep_on')
    if (!this.isGalera) return
    const status = await this.#settings(
      `SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_local_state', 'wsrep_cluster_status')`
    )
    const isReady = status.get('wsrep_ready') === 'ON' && status.get('wsrep_cluster_status') === 'Primary'
    if (!isReady || status.get('wsrep_local_state') !== GALERA_SYNCED) {
      throw new UnfitNodeError(`${label} is not in step with its Galera cluster`, false)
    }
  }

  async #settings(statement: string): Promise<Map<string, string>> {
    const rows = (await this.command(statement)) as unknown as { Variable_name: string; Value: string }[]
    return new Map(rows.map(row => [row.Variable_name, row.Value]))
  }

  /** A statement without values. */
  command(statement: string): Promise<MysqlRecord[]> {
    return this.#call<MysqlRecord[]>(done => this.#connection.query(statement, done as never))
  }

  /** Rows of a prepared statement. */
  select(statement: string, values: readonly MysqlValue[]): Promise<MysqlRecord[]> {
    return this.#call<MysqlRecord[]>(done => this.#connection.execute(statement, [...values], done as never))
  }

  /** Effect of a prepared statement. */
  change(statement: string, values: readonly MysqlValue[]): Promise<ResultSetHeader> {
    return this.#call<ResultSetHeader>(done =>
      this.#connection.execute(statement, [...values], done as never)
    )
  }

  /** As `select`, after everything that the cluster had committed when it was asked. */
  async selectCausally(statement: string, values: readonly MysqlValue[]): Promise<MysqlRecord[]> {
    if (!this.isGalera) return this.select(statement, values)
    await this.command('SET SESSION wsrep_sync_wait=1')
    const rows = await this.select(statement, values)
    await this.command('SET SESSION wsrep_sync_wait=0')
    return rows
  }

  /** All or nothing; a failure rolls back. */
  async transact<T>(work: () => Promise<T>): Promise<T> {
    await this.command('START TRANSACTION')
    try {
      const result = await work()
      await this.command('COMMIT')
      return result
    } catch (error) {
      if (!this.isLost) await this.command('ROLLBACK').catch((cause: Error) => this.destroy(cause))
      throw error
    }
  }

  /** Cuts the connection at once; what was asked of it rejects with ConnectionLostError. */
  destroy(reason: Error): void {
    if (this.#lost) return
    this.#lost = new ConnectionLostError(`connection to ${this.address.label} lost: ${reason.message}`, {
      cause: reason
    })
    this.#connection.destroy()
    this.#socket().destroy()
    for (const cut of this.#cut) cut(this.#lost)
    this.#cut.clear()
  }

  /** Says goodbye; nothing may be in progress. */
  end(): void {
    if (this.#lost) return
    this.#lost = new ConnectionLostError('closed')
    this.#connection.end(() => this.#socket().destroy())
  }

  #call<T>(start: (done: (error: unknown, result: T) => void) => void): Promise<T> {
    if (this.#lost) return Promise.reject(this.#lost)
    return new Promise<T>((resolve, reject) => {
      this.#cut.add(reject)
      start((error, result) => {
        this.#cut.delete(reject)
        if (!error) return resolve(result)
        if (errnoOf(error) !== undefined) return reject(error)
        this.destroy(error as Error)
        reject(this.#lost!)
      })
    })
  }
}
