import { parseByteSize, formatByteSize } from './byte-size.ts'
import { ConfigFile, readBounded } from './config-file.ts'
import type { ConfigKey } from './config-key.ts'
import { formatHostPort, parseHostPort, type HostPort } from './host-port.ts'
import { REDACTED, redactText } from './redaction.ts'

/** A URL may name several hosts, with commas: `redis-sentinel://a:26379,b:26379/name`. The parser knows one. */
const FURTHER_HOSTS = /^([a-z][a-z0-9+.-]{0,20}:\/\/(?:[^/?#@]*@)?[^/?#@,]+)(?:,[^/?#@,]+)+/i

/** A value that does not fit its key; the message completes "expected …". */
class ExpectationError extends Error {}

/**
 * Reads one value as it came from the file (any TOML type), the environment or a flag (text) or a
 * program (its own types).
 *
 * @throws {Error} whose message says what was expected.
 */
export function readConfigValue(key: ConfigKey, raw: unknown): unknown {
  switch (key.type) {
    case 'boolean':
      return readBoolean(raw)
    case 'integer':
    case 'number':
    case 'port':
    case 'bytes':
      return own(key, readNumber(key, raw))
    case 'choice': {
      const text = readText(raw)
      if (!key.choices?.includes(text)) throw new ExpectationError(expectationOf(key))
      return text
    }
    case 'list':
      return Object.freeze(readList(key, raw).map(text => own(key, text)))
    case 'addresses':
      return Object.freeze(readList(key, raw).map(text => Object.freeze(parseHostPort(text))))
    case 'address':
      return Object.freeze(parseHostPort(readText(raw)))
    case 'url': {
      const text = readText(raw)
      if (!URL.canParse(text.replace(FURTHER_HOSTS, '$1'))) throw new ExpectationError(expectationOf(key))
      return own(key, text)
    }
    case 'string':
    case 'path':
    case 'secret': {
      const text = readText(raw)
      if (key.type !== 'string' && text === '') throw new ExpectationError('a text that is not empty')
      if (text.includes('\0')) throw new ExpectationError('a text without NUL')
      return own(key, text)
    }
    case 'file':
      return readFile(readText(raw))
  }
}

/** What a key takes, in words: "a whole number from 1 to 3600". */
export function expectationOf(key: ConfigKey): string {
  const range =
    key.min !== undefined && key.max !== undefined
      ? ` from ${shown(key, key.min)} to ${shown(key, key.max)}`
      : key.min !== undefined
        ? ` of at least ${shown(key, key.min)}`
        : key.max !== undefined
          ? ` of at most ${shown(key, key.max)}`
          : ''
  switch (key.type) {
    case 'integer':
      return `a whole number${range}`
    case 'number':
      return `a number${range}`
    case 'bytes':
      return `a size${range}, such as 1048576, 64KiB or 1.5GiB`
    case 'port':
      return `a port from ${key.min ?? 0} to ${key.max ?? 65_535}`
    case 'boolean':
      return 'true or false'
    case 'choice':
      return `one of ${key.choices?.join(', ')}`
    case 'list':
      return `a list of texts${countRange(key)}`
    case 'addresses':
      return `a list of host:port${countRange(key)}`
    case 'address':
      return 'host:port'
    case 'url':
      return 'a URL'
    case 'path':
      return 'a path'
    case 'file':
      return 'a file that can be read'
    case 'string':
      return 'a text'
    case 'secret':
      return 'a secret, best in a file'
  }
}

/** A value as people may see it: no secret, no credentials, sizes with their unit. */
export function showConfigValue(key: ConfigKey, value: unknown): string {
  if (value === undefined) return ''
  if (key.type === 'secret') return REDACTED
  if (key.type === 'bytes' && typeof value === 'number') return formatByteSize(value)
  if (Array.isArray(value))
    return value.map(item => showConfigValue({ ...key, type: 'string' }, item)).join(',')
  if (value instanceof ConfigFile) return value.path
  if (isHostPort(value)) return formatHostPort(value)
  if (typeof value === 'string') return redactText(value)
  return redactText(
    JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item)) ?? ''
  )
}

function own(key: ConfigKey, value: string | number): unknown {
  return key.parse ? key.parse(String(value)) : value
}

function readBoolean(raw: unknown): boolean {
  if (typeof raw === 'boolean') return raw
  const text = typeof raw === 'string' ? raw.trim().toLowerCase() : ''
  if (['true', 'yes', 'on', '1'].includes(text)) return true
  if (['false', 'no', 'off', '0'].includes(text)) return false
  throw new ExpectationError('true or false')
}

function readNumber(key: ConfigKey, raw: unknown): number {
  let value = Number.NaN
  if (typeof raw === 'number') value = raw
  else if (typeof raw === 'bigint') value = Number(raw)
  else if (typeof raw === 'string' && key.type === 'bytes') value = parseByteSize(raw)
  else if (typeof raw === 'string' && /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i.test(raw.trim()))
    value = Number(raw)
  const whole = key.type !== 'number'
  const min = key.min ?? (key.type === 'port' || key.type === 'bytes' ? 0 : -Infinity)
  const max = key.max ?? (key.type === 'port' ? 65_535 : Infinity)
  if (!Number.isFinite(value) || (whole && !Number.isSafeInteger(value)) || value < min || value > max) {
    throw new ExpectationError(expectationOf(key))
  }
  return value
}

function readText(raw: unknown): string {
  if (typeof raw !== 'string') throw new ExpectationError('a text')
  return raw
}

function readFile(path: string): ConfigFile {
  try {
    return new ConfigFile(path, readBounded(path))
  } catch (error) {
    throw new ExpectationError(`a file that can be read: ${(error as Error).message}`, { cause: error })
  }
}

function readList(key: ConfigKey, raw: unknown): string[] {
  const items = typeof raw === 'string' ? raw.split(',') : raw
  if (!Array.isArray(items) || !items.every(item => typeof item === 'string')) {
    throw new ExpectationError(expectationOf(key))
  }
  const texts = items.map(item => item.trim()).filter(item => item !== '')
  if (texts.length < (key.minCount ?? 0) || texts.length > (key.maxCount ?? Infinity)) {
    throw new ExpectationError(expectationOf(key))
  }
  return texts
}

function countRange({ minCount, maxCount }: ConfigKey): string {
  if (minCount !== undefined && maxCount !== undefined) return `, ${minCount} to ${maxCount} of them`
  if (minCount !== undefined) return `, at least ${minCount} of them`
  if (maxCount !== undefined) return `, at most ${maxCount} of them`
  return ''
}

function shown(key: ConfigKey, value: number): string {
  return key.type === 'bytes' ? formatByteSize(value) : String(value)
}

function isHostPort(value: unknown): value is HostPort {
  return typeof value === 'object' && value !== null && 'host' in value && 'port' in value
}
