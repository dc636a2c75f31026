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
import type { GroupChoice } from './group-choice.ts'

export const LOCATION_TTL_MS = 5_000
/** Files whose group is remembered, some 300 bytes each. */
const LOCATIONS_MAX = 100_000
/** A user's group changes only when it is drained, and whoever then still remembers it sees that it is. */
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
  choice: GroupChoice
  clock: Clock
}

/** What is asked, beside the key. */
interface Question {
  readonly isLegacy: boolean
  /** A new file is to go there: a user without a group is tied to one. */
  readonly ties: boolean
  /** Of the client, where the region of its group comes from. */
  readonly ip: string
  /** What is remembered of the file proved to be wrong. */
  readonly isFresh: boolean
}

/** A user on the way to its group. */
interface Route {
  readonly name: string
  readonly application: string
  readonly user: string
  readonly ip: string
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
  readonly #choice: GroupChoice
  readonly #clock: Clock
  readonly #locations = new LRUCache<string, Remembered>({ max: LOCATIONS_MAX })
  readonly #groups = new LRUCache<string, Remembered>({ max: ROUTES_MAX })
  readonly #ties = new Map<string, Promise<Location>>()

  constructor({ database, catalog, isUp, choice, clock }: LocatorOptions) {
    this.#files = database.files
    this.#routes = database.routes
    this.#isNetworked = database.engine !== 'sqlite'
    this.#catalog = catalog
    this.#isUp = isUp
    this.#choice = choice
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
   * @param ip  Of the client.
   * @throws {RejectedError} UNKNOWN_APPLICATION
   * @throws {UnavailableError} DATABASE_UNAVAILABLE, NO_STORAGE_READY, OVERLOADED
   */
  forLegacy(key: FileKey, ip: string): Location | Promise<Location> {
    const question = { isLegacy: true, ties: true, ip, isFresh: false }
    if (this.#catalog.hasApplication(key.application)) return this.#locate(key, question)
    return this.#confirmApplication(key).then(() => this.#locate(key, question))
  }

  /**
   * For LOCATE, which says whether the file exists: that is never guessed. Whoever types addresses into a browser asks
   * for users that nobody knows, so a user is tied for an upload only; the others are told of a group.
   *
   * @param isFresh The index is asked, and causally: a place that was told before proved to be wrong.
   * @throws as forLegacy.
   */
  forOurs(key: FileKey, ties: boolean, ip: string, isFresh: boolean): Location | Promise<Location> {
    const question = { isLegacy: false, ties, ip, isFresh }
    if (this.#catalog.hasApplication(key.application)) return this.#locate(key, question)
    return this.#confirmApplication(key).then(() => this.#locate(key, question))
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

  #locate(key: FileKey, question: Question): Location | Promise<Location> {
    if (key.file === '') return this.#groupOfUser(key, { ...question, ties: true })
    const name = mapKeyOf(key)
    const known = this.#locations.get(name)
    if (known && !question.isFresh && this.#clock.monotonicMs() < known.untilMs) return known
    if (!this.#isUp()) return this.#withoutDatabase(key, known, question.isLegacy, databaseAway())
    const failed = (error: unknown): Location =>
      this.#withoutDatabase(key, known, question.isLegacy, wireErrorOf(error, 'safe'))
    let row: ReturnType<Database['files']['find']>
    try {
      row = question.isFresh ? this.#files.find(key, { causal: true }) : this.#files.find(key)
    } catch (error) {
      return failed(error)
    }
    const isCausal = question.isFresh || !this.#isNetworked
    if (!(row instanceof Promise)) return this.#found(key, name, row, question, isCausal)
    return row.then(
      row => this.#found(key, name, row, question, isCausal),
      error => failed(error)
    )
  }

  #found(
    key: FileKey,
    name: string,
    row: FileRow | undefined,
    question: Question,
    isCausal: boolean
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
    if (question.isLegacy || isCausal) {
      this.#locations.delete(name)
      return this.#groupOfUser(key, question)
    }
    // "Does not exist" is believed by whoever asked: another member of the database may know better.
    return this.#confirmAbsence(key, name, question)
  }

  async #confirmAbsence(key: FileKey, name: string, question: Question): Promise<Location> {
    let row: FileRow | undefined
    try {
      row = await this.#files.find(key, { causal: true })
    } catch (error) {
      throw wireErrorOf(error, 'safe')
    }
    return this.#found(key, name, row, question, true)
  }

  #groupOfUser({ application, user }: FileKey, question: Question): Location | Promise<Location> {
    const route: Route = { name: `${application}\0${user}`, application, user, ip: question.ip }
    const known = this.#groups.get(route.name)
    const isKnown = known && this.#clock.monotonicMs() < known.untilMs
    if (isKnown) return question.ties ? this.#forNewFile(route, known) : known
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
      if (group !== undefined) {
        const location = this.#remember(route.name, group)
        return question.ties ? this.#forNewFile(route, location) : location
      }
      if (!question.ties) return { group: this.#newGroup(route, false), exists: false }
      const chosen = this.#newGroup(route, true)
      return this.#tie(route, () => this.#routes.tie(application, user, chosen))
    }
    let group: string | undefined | Promise<string | undefined>
    try {
      group = this.#routes.groupOf(application, user)
    } catch (error) {
      return failed(error)
    }
    return group instanceof Promise ? group.then(settle, failed) : settle(group)
  }

  /**
   * Where a new file of a user goes that is tied to a group: there, while it takes files.
   *
   * Of a group in drain the tie is rewritten, once and for all; whoever is first decides, and every other tracker reads
   * it when it tries the same. A full group keeps its users: their next files go elsewhere until there is room again.
   * Where, follows from the user and what the trackers know of the groups. Two trackers may for a moment choose
   * differently, which harms nobody, as a file is found by its own row.
   */
  #forNewFile(route: Route, location: Location): Location | Promise<Location> {
    const { group } = location
    const state = this.#choice.stateOf(group)
    if (state === 'takes') return location
    const { application, user, ip } = route
    if (state === 'draining') {
      const to = this.#choice.forNewUser(true, application, ip, group)
      if (to === undefined) throw noSpace()
      return this.#tie(route, () => this.#routes.retie(application, user, group, to))
    }
    const other = this.#choice.forNewFile(route.name, application, ip, group)
    return other === undefined ? location : { group: other, exists: false }
  }

  /** Several requests for one user share one tie; of several trackers the first one's choice counts. */
  #tie({ name }: Route, tie: () => Promise<string>): Promise<Location> {
    const tying = this.#ties.get(name)
    if (tying) return tying
    if (this.#ties.size >= TIES_MAX) {
      throw new UnavailableError('OVERLOADED', `${TIES_MAX} users are being given a group`)
    }
    const tied = tie()
      .then(
        group => this.#remember(name, group),
        error => {
          throw wireErrorOf(error, 'safe')
        }
      )
      .finally(() => this.#ties.delete(name))
    this.#ties.set(name, tied)
    return tied
  }

  /** @param takes It is for an upload: where all are full, looking for a file still finds that it is not there. */
  #newGroup({ application, ip }: Route, takes: boolean): string {
    const taking = this.#choice.forNewUser(true, application, ip)
    if (taking !== undefined) return taking
    const serving = this.#choice.forNewUser(false, application, ip)
    if (serving === undefined) {
      throw new UnavailableError('NO_STORAGE_READY', 'no group has an active storage server')
    }
    if (takes) throw noSpace()
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

function noSpace(): UnavailableError {
  return new UnavailableError('NO_SPACE', 'no storage server has space for new files')
}

function databaseAway(): UnavailableError {
  return new UnavailableError('DATABASE_UNAVAILABLE', 'the database does not answer')
}

/** The database cannot be asked right now, so what is remembered may answer in its place. */
function isUnavailable(error: unknown): boolean {
  return error instanceof UnavailableError && error.code === 'DATABASE_UNAVAILABLE'
}
