/**
 * Where the cluster is and whose files are meant: flags over environment over configuration file over what an `up` in
 * ./data has noted over defaults.
 */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse as parseToml } from 'smol-toml'
import { parseAddress } from '@tributary/protocol'
import { UsageError } from './exit-code.ts'
import { DATA_FOLDER_DEFAULT, findRunningCluster } from './running-cluster.ts'
import { sentenceOf, type Terminal } from './terminal.ts'
import { WIRE_FILE_KEYS, wireSettings, type WireFileSettings, type WireSettings } from './wire-settings.ts'

export interface ClientFlags {
  trackers?: string
  app?: string
  user?: string
  httpUrl?: string
  config?: string
  timeout?: string
}

export interface ClientSettings {
  trackers: string[]
  application: string
  user: string
  /** Without a slash at its end. */
  httpUrl: string
  callTimeoutMs: number | undefined
  /** Cluster key and TLS. */
  wire: WireSettings
}

/** Keys of the file, as they are written there. */
const FILE_KEYS = ['trackers', 'app', 'user', 'http_url', ...WIRE_FILE_KEYS] as const

/** @throws {UsageError} a file that cannot be read, an unknown key, an address that is none. */
export function clientSettings(flags: ClientFlags, terminal: Terminal): ClientSettings {
  const { env } = terminal.port
  const file = readSettingsFile(flags.config ?? nonEmpty(env['TRIBUTARY_CONFIG']), terminal)
  const running = findRunningCluster(join(terminal.folder, DATA_FOLDER_DEFAULT), terminal.isAlive)
  const trackers = listOf(flags.trackers ?? nonEmpty(env['TRIBUTARY_TRACKERS']) ?? file.trackers)
  const chosen = trackers ?? running?.trackers ?? ['127.0.0.1:21000']
  for (const tracker of chosen) {
    try {
      parseAddress(tracker, 1)
    } catch (error) {
      throw new UsageError(`trackers: ${sentenceOf(error)}`)
    }
  }
  // A note about the cluster of this folder says nothing about another cluster.
  const noted = trackers ? undefined : running
  const httpUrl = flags.httpUrl ?? nonEmpty(env['TRIBUTARY_HTTP_URL']) ?? file.http_url ?? noted?.httpUrl
  return {
    trackers: chosen,
    application: flags.app ?? nonEmpty(env['TRIBUTARY_APP']) ?? file.app ?? noted?.application ?? 'media',
    user: flags.user ?? nonEmpty(env['TRIBUTARY_USER']) ?? file.user ?? 'public',
    httpUrl: checkedUrl(httpUrl ?? 'http://127.0.0.1:8080'),
    callTimeoutMs: flags.timeout === undefined ? undefined : secondsOf(flags.timeout) * 1000,
    wire: wireSettings(file, terminal)
  }
}

interface FileSettings extends WireFileSettings {
  trackers?: string | string[]
  app?: string
  user?: string
  http_url?: string
}

function readSettingsFile(named: string | undefined, { homeFolder, folder, port }: Terminal): FileSettings {
  const base = nonEmpty(port.env['XDG_CONFIG_HOME']) ?? join(homeFolder, '.config')
  const path = named === undefined ? join(base, 'tributary', 'config.toml') : resolve(folder, named)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (named === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw new UsageError(`the configuration file cannot be read: ${sentenceOf(error)}`)
  }
  let content: Record<string, unknown>
  try {
    content = parseToml(text)
  } catch (error) {
    throw new UsageError(`${path} is not TOML: ${sentenceOf(error).split('\n')[0]}`)
  }
  for (const [key, value] of Object.entries(content)) {
    if (!(FILE_KEYS as readonly string[]).includes(key)) {
      throw new UsageError(`${path}: unknown key '${key}'; known are ${FILE_KEYS.join(', ')}`)
    }
    const isList =
      key === 'trackers' && Array.isArray(value) && value.every(entry => typeof entry === 'string')
    if (typeof value !== 'string' && !isList) throw new UsageError(`${path}: '${key}' must be a text`)
  }
  return content
}

function listOf(value: string | string[] | undefined): string[] | undefined {
  if (value === undefined) return undefined
  const list = (typeof value === 'string' ? value.split(',') : value)
    .map(entry => entry.trim())
    .filter(Boolean)
  if (list.length === 0) throw new UsageError('trackers: host:port,… is expected')
  return list
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}

function checkedUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new UsageError(`'${text}' is not an http:// or https:// address`)
  }
  return text.replace(/\/+$/, '')
}

function secondsOf(text: string): number {
  const seconds = Number(text)
  if (!(seconds > 0 && seconds <= 3_600))
    throw new UsageError(`--timeout: seconds up to 3600 are expected, not '${text}'`)
  return seconds
}
