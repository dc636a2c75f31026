/**
 * Which group a request is for: that of the file's own row where the file exists, else that of its user, who gets one
 * where there is none. Answers at once from memory or from SQLite, with a promise where a database is asked over the
 * network or written to.
 *
 * What is remembered may be stale for LOCATION_TTL_MS, and is used beyond it only while the database is away. That
 * does no harm: a storage server looks the file up for itself, and serves nothing on a tracker's word.
 */
import { LRUCache } from 'lru-cache'
import { wireErrorOf, type Database, type FileRow } from '@tributary/database'
import { mapKeyOf, RejectedError, UnavailableError, type FileKey } from '@tributary/protocol'
import type { Clock } from '@tributary/runtime'
import type { Catalog } from './catalog.ts'

export const LOCATION_TTL_MS = 5_000
/** Files whose group is remembered, some 300 bytes each. */
const LOCATIONS_MAX = 100_000
/** A user's group changes only by an operator's hand. */
export const ROUTE_TTL_MS = 60_000
const ROUTES_MAX = 100_000
/** Users that are being tied to a group; a further one is refused as OVERLOADED. */
const TIES_MAX = 1_000

export interface Location {
  readonly group: string
  /** A file that is stored. */
  readonly exists: boolean
}

export interface LocatorOptions {
  database: Pick<Database, 'files' | 'routes' | 'engine'>
  catalog: Catalog
  /** Whether the database is worth asking. */
  isUp: () => boolean
  /** A group for a new user that `takes` new files, or that at least serves; undefined where there is none. */
  chooseGroup: (takes: boolean) => string | undefined
  clock: Clock
}

interface Remembered extends Location {
  readonly untilMs: number
}

export class Locator {
  readonly #files: Database['files']
  readonly #routes: Database['routes']
  readonly #isNetworked: boolean
  readonly #catalog: Catalog
  readonly #isUp: () => boolean
  readonly #chooseGroup: LocatorOptions['chooseGroup']
  readonly #clock: Clock
  readonly #locations = new LRUCache<string, Remembered>({ max: LOCATIONS_MAX })
  readonly #groups = new LRUCache<string, Remembered>({ max: ROUTES_MAX })
  readonly #ties = new Map<string, Promise<Location>>()

  constructor({ database, catalog, isUp, chooseGroup, clock }: LocatorOptions) {
    this.#files = database.files
    this.#routes = database.routes
    this.#isNetworked = database.engine !== 'sqlite'
    this.#catalog = catalog
    this.#isUp = isUp
    this.#chooseGroup = chooseGroup
    this.#clock = clock
  }

  /** Files and users remembered. */
  get remembered(): number {
    return this.#locations.size + this.#groups.size
  }

  /**
   * For SADDRS. A user without a group is tied to one, and so is one whose file does not exist: a legacy client asks
   * in the same words before it uploads.
   *
   * @param key Its file may be empty: where would a new file go?
   * @throws {RejectedError} UNKNOWN_APPLICATION
   * @throws {UnavailableError} DATABASE_UNAVAILABLE, NO_STORAGE_READY, OVERLOADED
   */
  forLegacy(key: FileKey): Location | Promise<Location> {
    if (this.#catalog.hasApplication(key.application)) return this.#locate(key, true, true)
    return this.#confirmApplication(key).then(() => this.#locate(key, true, true))
  }

  /**
   * For LOCATE, which says whether the file exists: that is never guessed. Whoever types addresses into a browser asks
   * for users that nobody knows, so a user is tied for an upload only; the others are told of a group.
   *
   * @throws as forLegacy.
   */
  forOurs(key: FileKey, forUpload: boolean): Location | Promise<Location> {
    if (this.#catalog.hasApplication(key.application)) return this.#locate(key, false, forUpload)
    return this.#confirmApplication(key).then(() => this.#locate(key, false, forUpload))
  }

  /** @throws {RejectedError} UNKNOWN_APPLICATION; {UnavailableError} DATABASE_UNAVAILABLE: nobody can tell. */
  async confirmApplication(name: string): Promise<void> {
    if (!this.#catalog.hasApplication(name)) await this.#confirmApplication({ application: name })
  }

  async #confirmApplication({ application }: Pick<FileKey, 'application'>): Promise<void> {
    if (!this.#isUp()) throw databaseAway()
    let isKnown: boolean
    try {
      isKnown = await this.#catalog.confirmApplication(application)
    } catch (error) {
      throw wireErrorOf(error, 'safe')
    }
    if (!isKnown) throw new RejectedError('UNKNOWN_APPLICATION', `unknown appid: ${application}`)
  }

  #locate(key: FileKey, isLegacy: boolean, ties: boolean): Location | Promise<Location> {
    if (key.file === '') return this.#groupOfUser(key, true)
    const name = mapKeyOf(key)
    const known = this.#locations.get(name)
    if (known && this.#clock.monotonicMs() < known.untilMs) return known
    if (!this.#isUp()) return this.#withoutDatabase(key, known, isLegacy, databaseAway())
    const failed = (error: unknown): Location =>
      this.#withoutDatabase(key, known, isLegacy, wireErrorOf(error, 'safe'))
    let row: ReturnType<Database['files']['find']>
    try {
      row = this.#files.find(key)
    } catch (error) {
      return failed(error)
    }
    if (!(row instanceof Promise)) return this.#found(key, name, row, isLegacy, ties)
    return row.then(
      row => this.#found(key, name, row, isLegacy, ties),
      error => failed(error)
    )
  }

  #found(
    key: FileKey,
    name: string,
    row: FileRow | undefined,
    isLegacy: boolean,
    ties: boolean,
    isCausal = !this.#isNetworked
  ): Location | Promise<Location> {
    if (row) {
      const location = {
        group: row.group,
        exists: row.state === 'stored',
        untilMs: this.#clock.monotonicMs() + LOCATION_TTL_MS
      }
      if (location.exists) this.#locations.set(name, location)
      else this.#locations.delete(name)
      return location
    }
    if (isLegacy || isCausal) {
      this.#locations.delete(name)
      return this.#groupOfUser(key, ties)
    }
    // "Does not exist" is believed by whoever asked: another member of the database may know better.
    return this.#confirmAbsence(key, name, ties)
  }

  async #confirmAbsence(key: FileKey, name: string, ties: boolean): Promise<Location> {
    let row: FileRow | undefined
    try {
      row = await this.#files.find(key, { causal: true })
    } catch (error) {
      throw wireErrorOf(error, 'safe')
    }
    return this.#found(key, name, row, false, ties, true)
  }

  #groupOfUser({ application, user }: FileKey, ties: boolean): Location | Promise<Location> {
    const name = `${application}\0${user}`
    const known = this.#groups.get(name)
    if (known && this.#clock.monotonicMs() < known.untilMs) return known
    if (!this.#isUp()) {
      if (known) return known
      throw databaseAway()
    }
    const failed = (error: unknown): Location => {
      const wire = wireErrorOf(error, 'safe')
      if (known && isUnavailable(wire)) return known
      throw wire
    }
    const settle = (group: string | undefined): Location | Promise<Location> => {
      if (group !== undefined) return this.#remember(name, group)
      if (!ties) return { group: this.#newGroup(false), exists: false }
      return this.#tie(name, application, user)
    }
    let group: string | undefined | Promise<string | undefined>
    try {
      group = this.#routes.groupOf(application, user)
    } catch (error) {
      return failed(error)
    }
    return group instanceof Promise ? group.then(settle, failed) : settle(group)
  }

  /** Several requests for one new user share one tie; of several trackers the first one's choice counts. */
  #tie(name: string, application: string, user: string): Promise<Location> {
    const tying = this.#ties.get(name)
    if (tying) return tying
    if (this.#ties.size >= TIES_MAX) {
      throw new UnavailableError('OVERLOADED', `${TIES_MAX} users are being given a group`)
    }
    const tie = this.#routes
      .tie(application, user, this.#newGroup(true))
      .then(
        group => this.#remember(name, group),
        error => {
          throw wireErrorOf(error, 'safe')
        }
      )
      .finally(() => this.#ties.delete(name))
    this.#ties.set(name, tie)
    return tie
  }

  /** @param takes It is for an upload: where all are full, looking for a file still finds that it is not there. */
  #newGroup(takes: boolean): string {
    const taking = this.#chooseGroup(true)
    if (taking !== undefined) return taking
    const serving = this.#chooseGroup(false)
    if (serving === undefined) {
      throw new UnavailableError('NO_STORAGE_READY', 'no group has an active storage server')
    }
    if (takes) throw new UnavailableError('NO_SPACE', 'no storage server has space for new files')
    return serving
  }

  #remember(name: string, group: string): Location {
    const location = { group, exists: false, untilMs: this.#clock.monotonicMs() + ROUTE_TTL_MS }
    this.#groups.set(name, location)
    return location
  }

  /**
   * The database is away: what was known of the file is used, however old. A legacy client that asks for a file
   * nobody remembers is sent to its user's group, where nearly all of them are.
   */
  #withoutDatabase(
    { application, user }: FileKey,
    known: Location | undefined,
    isLegacy: boolean,
    error: unknown
  ): Location {
    if (!isUnavailable(error)) throw error
    if (known) return known
    const route = isLegacy ? this.#groups.get(`${application}\0${user}`) : undefined
    if (!route) throw error
    return { group: route.group, exists: true }
  }
}

function databaseAway(): UnavailableError {
  return new UnavailableError('DATABASE_UNAVAILABLE', 'the database does not answer')
}

/** The database cannot be asked right now, so what is remembered may answer in its place. */
function isUnavailable(error: unknown): boolean {
  return error instanceof UnavailableError && error.code === 'DATABASE_UNAVAILABLE'
}
