export interface GroupRow {
  name: string
  /** '' where none was set. */
  region: string
  /** Serves what it has, gets no new users. */
  draining: boolean
}

/** Applications, groups, and which group a user belongs to. */
export interface Routes {
  /** Names in byte order. */
  applications(): Promise<string[]>
  /** Adding one that exists changes nothing. */
  addApplication(name: string): Promise<void>

  /** In byte order of name. */
  groups(): Promise<GroupRow[]>
  /** Adding one that exists changes nothing. */
  addGroup(name: string): Promise<void>

  /** SQLite answers at once, MySQL (and a cache) with a promise. */
  groupOf(application: string, user: string): string | undefined | Promise<string | undefined>

  /** Ties a user to a group and returns the group: if another tracker was first, its choice. */
  tie(application: string, user: string, group: string): Promise<string>
}
