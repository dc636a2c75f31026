/** Starts a unit's command the way systemd would: its user, limits, environment, folder and log. */
import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, openSync, closeSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import {
  expandSpecifiers,
  parseCommandLine,
  parseEnvironmentFile,
  splitWords,
  type CommandLine
} from './command-line.ts'
import type { UnitFile } from './unit-file.ts'

export const LOG_FOLDER = '/var/log/units'
const SEARCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
/** Key → where such folders are, and the variable that names them to the program. */
const FOLDER_KEYS: readonly [key: string, root: string, variable: string][] = [
  ['Service.RuntimeDirectory', '/run', 'RUNTIME_DIRECTORY'],
  ['Service.StateDirectory', '/var/lib', 'STATE_DIRECTORY'],
  ['Service.CacheDirectory', '/var/cache', 'CACHE_DIRECTORY'],
  ['Service.LogsDirectory', '/var/log', 'LOGS_DIRECTORY'],
  ['Service.ConfigurationDirectory', '/etc', 'CONFIGURATION_DIRECTORY']
]
/** Key → prlimit's flag, and the name in /proc/self/limits. */
const LIMITS: readonly [key: string, flag: string, title: string][] = [
  ['Service.LimitNOFILE', 'nofile', 'Max open files'],
  ['Service.LimitMEMLOCK', 'memlock', 'Max locked memory'],
  ['Service.LimitCORE', 'core', 'Max core file size'],
  ['Service.LimitNPROC', 'nproc', 'Max processes']
]
// As root first: limits and the mask are inherited by what then becomes another user. The process id stays through all of it.
const SHELL = 'umask "$1"; shift; exec "$@"'

export interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** @throws nobody of that name is in /etc/passwd */
export function accountOf(user: string, group?: string): Account {
  const lineOf = (file: string, name: string): string[] => {
    const lines = readFileSync(file, 'utf8')
      .split('\n')
      .map(line => line.split(':'))
    const found = lines.find(fields => fields[0] === name || fields[2] === name)
    if (!found) throw new Error(`${file} has no ${name}`)
    return found
  }
  const [name, , uid, gid] = lineOf('/etc/passwd', user)
  const groupId = group === undefined ? gid : lineOf('/etc/group', group)[2]
  return { name: name!, uid: Number(uid), gid: Number(groupId) }
}

export const logPathOf = (unit: string): string => join(LOG_FOLDER, `${unit}.log`)

/** Everything of a unit's environment that is the same for all of its commands of one start. */
export interface Setting {
  readonly account: Account
  readonly values: Readonly<Record<string, string>>
  readonly specifiers: Readonly<Record<string, string>>
}

/** Makes the unit's folders, and reads its environment. @throws a file or an account is missing */
export async function prepare(
  unit: UnitFile,
  invocation: string,
  extra: Readonly<Record<string, string>>
): Promise<Setting> {
  const user = unit.text('Service.User') ?? 'root'
  const account = accountOf(user, unit.text('Service.Group'))
  const stem = unit.name.replace(/\.\w+$/, '')
  const specifiers = {
    n: unit.name,
    N: stem,
    p: stem.split('@')[0]!,
    i: stem.split('@')[1] ?? '',
    H: hostname(),
    l: hostname().split('.')[0]!,
    u: account.name,
    U: String(account.uid),
    t: '/run',
    S: '/var/lib',
    C: '/var/cache',
    L: '/var/log',
    E: '/etc',
    T: '/tmp',
    V: '/var/tmp'
  }
  const values: Record<string, string> = {
    PATH: SEARCH_PATH,
    LANG: 'C.UTF-8',
    INVOCATION_ID: invocation,
    ...(user === 'root' ? {} : { USER: account.name, LOGNAME: account.name })
  }
  for (const text of unit.list('Service.Environment'))
    for (const word of splitWords(text))
      Object.assign(values, parseEnvironmentFile(expandSpecifiers(word, specifiers)))
  for (const named of unit.list('Service.EnvironmentFile')) {
    const path = named.replace(/^-/, '')
    const text = await readFile(path, 'utf8').catch(error => {
      if (named.startsWith('-')) return ''
      throw error
    })
    Object.assign(values, parseEnvironmentFile(text))
  }
  for (const [key, root, variable] of FOLDER_KEYS) {
    const paths = unit.words(key).map(name => join(root, name))
    const mode = Number.parseInt(unit.text(`${key}Mode`) ?? '0755', 8)
    for (const path of paths) {
      mkdirSync(path, { recursive: true })
      if (key !== 'Service.ConfigurationDirectory') chownSync(path, account.uid, account.gid)
      chmodSync(path, mode)
    }
    if (paths.length > 0) values[variable] = paths.join(':')
  }
  return { account, values: { ...values, ...extra }, specifiers }
}

/** The command of an Exec…= key in this setting. */
export function commandOf(text: string, setting: Setting): CommandLine {
  return parseCommandLine(text, setting.values, setting.specifiers)
}

/** Resolves when the program runs. What it writes goes to the unit's log. @throws there is no such program */
export async function launch(
  unit: UnitFile,
  command: CommandLine,
  setting: Setting,
  extra: Readonly<Record<string, string>> = {}
): Promise<ChildProcess> {
  const limits = LIMITS.flatMap(([key, flag, title]) => {
    const limit = unit.text(key)?.split(':').at(-1)
    if (limit === undefined) return []
    const wanted = limit === 'infinity' ? Infinity : Number(limit)
    // a machine that is itself a container may allow less, even to root
    const value = Math.min(wanted, hardLimit(title))
    return [`--${flag}=${value === Infinity ? 'unlimited:unlimited' : `${value}:${value}`}`]
  })
  const { account } = setting
  const isRoot = command.asRoot || account.uid === 0
  const words = [
    '/bin/sh',
    '-c',
    SHELL,
    'launch',
    unit.text('Service.UMask') ?? '0022',
    ...(limits.length > 0 ? ['prlimit', ...limits, '--'] : []),
    ...(isRoot ? [] : ['setpriv', `--reuid=${account.uid}`, `--regid=${account.gid}`, '--init-groups', '--']),
    ...command.words
  ]
  const folder = unit.text('Service.WorkingDirectory')?.replace(/^-/, '') ?? '/'
  mkdirSync(dirname(logPathOf(unit.name)), { recursive: true })
  const log = openSync(logPathOf(unit.name), 'a')
  try {
    const child = spawn(words[0]!, words.slice(1), {
      cwd: folder === '~' ? '/' : folder,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...setting.values, ...extra }
    })
    await new Promise((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    return child
  } finally {
    closeSync(log)
  }
}

function hardLimit(title: string): number {
  const line = readFileSync('/proc/self/limits', 'utf8')
    .split('\n')
    .find(line => line.startsWith(title))
  const hard = /^\s*\S+\s+(\S+)/.exec(line?.slice(title.length) ?? '')?.[1]
  return hard === undefined || hard === 'unlimited' ? Infinity : Number(hard)
}
