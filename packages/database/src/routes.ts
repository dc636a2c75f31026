export interface UserKey {
  application: string
  user: string
}

/** The column's width on MySQL. */
export const REGION_BYTES_MAX = 64

export interface GroupRow {
  name: string
  /** '' where none was set. */
  region: string
  /** Serves what it has, gets no new users and no new files. */
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
  /** @param region 0..REGION_BYTES_MAX bytes; '' = none. False: there is no such group. */
  setRegion(name: string, region: string): Promise<boolean>
  /** False: there is no such group. */
  setDraining(name: string, draining: boolean): Promise<boolean>
  /**
   * Removes a group that no user is tied to; whether it has files is the caller's to know.
   *
   * @returns False: there is none, or users are tied to it.
   */
  removeGroup(name: string): Promise<boolean>

  /** SQLite answers at once, MySQL (and a cache) with a promise. */
  groupOf(application: string, user: string): string | undefined | Promise<string | undefined>

  /** Ties a user to a group and returns the group: if another tracker was first, its choice. */
  tie(application: string, user: string, group: string): Promise<string>

  /** Ties a user of group `from` to another one, and returns the group: if somebody else was first, that one's choice. */
  retie(application: string, user: string, from: string, to: string): Promise<string>

  /** Users of a group, a page in byte order of (application, user); `after` is the last one of the page before. */
  usersOf(group: string, limit: number, after?: UserKey): Promise<UserKey[]>

  countUsers(group: string): Promise<number>
}
