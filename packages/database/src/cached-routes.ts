import type { RedisCache } from './redis-cache.ts'
import type { GroupRow, Routes, UserKey } from './routes.ts'

/** Of the text that is kept: the version, a space, the group's name. */
const FORMAT = /^1 ([A-Za-z0-9]{1,16})$/

/** A cache in front of `groupOf`; it never holds that a user has no group. */
export class CachedRoutes implements Routes {
  readonly #routes: Routes
  readonly #cache: RedisCache
  readonly #prefix: string

  constructor(routes: Routes, cache: RedisCache, prefix: string) {
    this.#routes = routes
    this.#cache = cache
    this.#prefix = `${prefix}:route:`
  }

  applications(): Promise<string[]> {
    return this.#routes.applications()
  }

  addApplication(name: string): Promise<void> {
    return this.#routes.addApplication(name)
  }

  groups(): Promise<GroupRow[]> {
    return this.#routes.groups()
  }

  addGroup(name: string): Promise<void> {
    return this.#routes.addGroup(name)
  }

  setRegion(name: string, region: string): Promise<boolean> {
    return this.#routes.setRegion(name, region)
  }

  setDraining(name: string, draining: boolean): Promise<boolean> {
    return this.#routes.setDraining(name, draining)
  }

  removeGroup(name: string): Promise<boolean> {
    return this.#routes.removeGroup(name)
  }

  usersOf(group: string, limit: number, after?: UserKey): Promise<UserKey[]> {
    return this.#routes.usersOf(group, limit, after)
  }

  countUsers(group: string): Promise<number> {
    return this.#routes.countUsers(group)
  }

  async groupOf(application: string, user: string): Promise<string | undefined> {
    const key = `${this.#prefix}${application}\0${user}`
    const cached = FORMAT.exec((await this.#cache.get(key)) ?? '')?.[1]
    if (cached !== undefined) return cached
    const group = await this.#routes.groupOf(application, user)
    if (group !== undefined) this.#cache.set(key, `1 ${group}`)
    return group
  }

  async tie(application: string, user: string, group: string): Promise<string> {
    const tied = await this.#routes.tie(application, user, group)
    this.#cache.set(`${this.#prefix}${application}\0${user}`, `1 ${tied}`)
    return tied
  }

  /** What is cached goes before and after, as a reader may put the old group back meanwhile. */
  async retie(application: string, user: string, from: string, to: string): Promise<string> {
    const key = `${this.#prefix}${application}\0${user}`
    await this.#cache.remove(key)
    try {
      return await this.#routes.retie(application, user, from, to)
    } finally {
      await this.#cache.remove(key)
    }
  }
}
