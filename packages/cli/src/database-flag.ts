import { resolve } from 'node:path'
import { UsageError } from './exit-code.ts'
import type { Terminal } from './terminal.ts'

/**
 * The database that a command of upkeep works on: its flag, else the environment; never guessed.
 *
 * @returns URLs as the database package takes them; a path of SQLite made absolute.
 */
export function databaseUrls(
  flag: string | undefined,
  { port, folder }: Terminal,
  variable: string
): string[] {
  const text = flag ?? port.env[variable] ?? port.env['TRIBUTARY_COMMON_DATABASE']
  const urls = (text ?? '').split(',').filter(url => url !== '')
  if (urls.length === 0) throw new UsageError(`which database? Give --database URL or set ${variable}`)
  return urls.map(url => absoluteUrl(url, folder))
}

/** @throws {UsageError} neither sqlite: nor mysql: */
export function absoluteUrl(url: string, folder: string): string {
  if (url.startsWith('sqlite:'))
    return `sqlite:${resolve(folder, url.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, ''))}`
  if (/^(?:mysql|mariadb):\/\/./.test(url)) return url.replace(/^mariadb:/, 'mysql:')
  throw new UsageError('a database is sqlite:/path/index.db or mysql://user:password@host:port/name')
}
