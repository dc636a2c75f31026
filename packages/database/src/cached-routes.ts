import type { RedisCache } from './redis-cache.ts'
import type { GroupRow, Routes } from './routes.ts'

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
}
