/** The user that the servers run under, and what the rights of a file mean to it. */
import { readFileSync, realpathSync, statSync, type Stats } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, resolve } from 'node:path'

export interface Account {
  name: string
  uid: number
  gids: ReadonlySet<number>
}

/** Made by the Debian package. */
const SERVICE_USER = 'tributary'
const ROOT_UID = 0

/**
 * @param name As given; default: the service's own user where root asks and there is one, else whoever asks.
 * @returns undefined: there is no such user.
 */
export function accountOf(name: string | undefined): Account | undefined {
  const own = userInfo()
  if (name === undefined && own.uid === ROOT_UID) return find(SERVICE_USER) ?? find(own.username)
  return (
    find(name ?? own.username) ??
    (name === undefined ? { name: own.username, uid: own.uid, gids: new Set([own.gid]) } : undefined)
  )
}

/** @param right 4 read, 2 write, 1 enter or execute; or their sum. Access control lists are not looked at. */
export function may({ uid, gids }: Account, { uid: owner, gid, mode }: Stats, right: number): boolean {
  if (uid === ROOT_UID) return true
  const bits = uid === owner ? mode >> 6 : gids.has(gid) ? mode >> 3 : mode
  return (bits & right) === right
}

/**
 * Why an account cannot read a file: its own rights, or a folder on the way, also where links lead elsewhere.
 *
 * @returns a sentence and what to do about it; undefined: it can.
 * @throws the file is not there.
 */
export function whyUnreadable(account: Account, path: string): { found: string; advice: string } | undefined {
  for (const start of [resolve(path), realpathSync(path)]) {
    for (let folder = dirname(start); ; folder = dirname(folder)) {
      if (!may(account, statSync(folder), 1)) {
        const advice = `Run chmod a+x ${folder}, or put the file where ${account.name} may look.`
        return { found: `${account.name} may not enter ${folder}`, advice }
      }
      if (folder === dirname(folder)) break
    }
  }
  if (may(account, statSync(path), 4)) return undefined
  const advice = `Give it to ${account.name}, with mode 0600, or to its group, with 0640.`
  return { found: `${account.name} may not read it`, advice }
}

function find(name: string): Account | undefined {
  const user = linesOf('/etc/passwd').find(([login]) => login === name)
  if (!user) return undefined
  const groups = linesOf('/etc/group').filter(([, , , members = '']) => members.split(',').includes(name))
  return {
    name,
    uid: Number(user[2]),
    gids: new Set([Number(user[3]), ...groups.map(([, , gid]) => Number(gid))])
  }
}

function linesOf(path: string): string[][] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map(line => line.split(':'))
  } catch {
    return []
  }
}
