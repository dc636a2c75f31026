/**
 * Where files are: asked from the trackers, remembered for a moment. A place may be stale at any time; whoever uses
 * one that was remembered asks again before it believes that a file is not there.
 */
import { checkFileKey, mapKeyOf, type FileFacts, type FileKey } from '@tributary/protocol'
import type { KnownFile } from './kept-contents.ts'
import type { Member, Members } from './members.ts'
import type { TrackerCalls } from './tracker-calls.ts'

/** A place is believed for so long: a server that joined or left is noticed within it. */
const FRESH_MS = 5_000
/** Files whose place, size and last facts are remembered; about 1 KiB each. */
const LOCATIONS_MAX = 20_000

export interface Location extends KnownFile {
  readonly key: FileKey
  group: string
  /** undefined: a legacy tracker did not say. */
  exists: boolean | undefined
  members: readonly Member[]
  untilMs: number
  /** The request for the whole file if it is small, made once. */
  wholeFrame: Buffer | undefined
  /** Facts as they came last, and their bytes, to be compared before they are decoded again. */
  factsBytes: Buffer | undefined
  facts: FileFacts | undefined
}

export class Locations {
  readonly #trackers: TrackerCalls
  readonly #members: Members
  readonly #byKey = new Map<string, Location>()
  readonly #asking = new Map<string, Promise<Location>>()

  constructor(trackers: TrackerCalls, members: Members) {
    this.#trackers = trackers
    this.#members = members
  }

  /** What is remembered and still fresh. */
  remembered(key: FileKey): Location | undefined {
    const location = this.#byKey.get(mapKeyOf(key))
    return location && location.untilMs > performance.now() ? location : undefined
  }

  /**
   * Asks a tracker; callers of one moment share the question.
   *
   * @param forUpload Only uploads tie a user to a group.
   * @throws {RejectedError} BAD_FIELD, UNKNOWN_APPLICATION. {UnavailableError} NO_STORAGE_READY, …
   */
  ask(key: FileKey, forUpload = false): Promise<Location> {
    const name = mapKeyOf(key)
    const question = forUpload ? `${name}\0upload` : name
    const asked = this.#asking.get(question)
    if (asked) return asked
    const asking = this.#locate(name, key, forUpload).finally(() => this.#asking.delete(question))
    this.#asking.set(question, asking)
    return asking
  }

  forget(key: FileKey): void {
    this.#byKey.delete(mapKeyOf(key))
  }

  async #locate(name: string, key: FileKey, forUpload: boolean): Promise<Location> {
    checkFileKey(key)
    const { group, exists, addresses } = await this.#trackers.locate(key, forUpload, undefined)
    const members = addresses.map(({ host, port }) => this.#members.of({ host, port }))
    const untilMs = performance.now() + FRESH_MS
    const known = this.#byKey.get(name)
    if (exists === false) {
      // The next moment it may be there: nothing to remember.
      this.#byKey.delete(name)
      return newLocation(key, group, exists, members, 0)
    }
    if (known) return Object.assign(known, { group, exists, members, untilMs })
    const location = newLocation({ ...key }, group, exists, members, untilMs)
    if (this.#byKey.size >= LOCATIONS_MAX) this.#byKey.delete(this.#byKey.keys().next().value!)
    this.#byKey.set(name, location)
    return location
  }
}

function newLocation(
  key: FileKey,
  group: string,
  exists: boolean | undefined,
  members: readonly Member[],
  untilMs: number
): Location {
  return {
    key,
    group,
    exists,
    members,
    untilMs,
    wholeFrame: undefined,
    factsBytes: undefined,
    facts: undefined,
    kept: undefined
  }
}
