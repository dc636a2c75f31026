import { parse as parseToml } from 'smol-toml'
import type { Finding } from './finding.ts'

/** What nobody but the cluster knows; kept beside the description, so that rendering again changes nothing. */
export interface Secrets {
  readonly databasePassword: string
  readonly migratePassword: string
  readonly redisPassword: string
  readonly writeToken: string
  readonly clusterKey: string
}

const KEYS = {
  database_password: 'databasePassword',
  migrate_password: 'migratePassword',
  redis_password: 'redisPassword',
  write_token: 'writeToken',
  cluster_key: 'clusterKey'
} as const satisfies Record<string, keyof Secrets>

/** Needs no quoting in any of the files that it is written to. */
const SECRET = /^[A-Za-z0-9_.~+/=-]{12,200}$/
const SECRET_BYTES = 24

export interface ReadSecrets {
  secrets: Secrets
  /** Names of those that were made now: the file must be written. */
  made: string[]
  findings: Finding[]
}

/**
 * Completes the secrets of a cluster.
 *
 * @param text    of the file; undefined where there is none yet.
 * @param random  bytes that nobody can guess.
 */
export function readSecrets(text: string | undefined, random: (bytes: number) => Uint8Array): ReadSecrets {
  const findings: Finding[] = []
  const error = (key: string, expected: string): void =>
    void findings.push({ severity: 'error', key: `secrets.${key}`, value: '', expected })
  let table: Record<string, unknown> = {}
  try {
    table = text === undefined ? {} : parseToml(text)
  } catch {
    error('file', 'TOML with a text for each secret') // the parser's message would show the lines around
  }
  for (const key of Object.keys(table)) {
    if (!Object.hasOwn(KEYS, key)) error(key, `a known key: ${Object.keys(KEYS).join(', ')}`)
  }
  const made: string[] = []
  const value = (key: keyof typeof KEYS): string => {
    const given = table[key]
    if (given === undefined) {
      made.push(key)
      return Buffer.from(random(SECRET_BYTES)).toString('base64url')
    }
    if (typeof given === 'string' && SECRET.test(given)) return given
    error(key, '12 to 200 letters, digits and _ . ~ + / = -')
    return ''
  }
  const secrets = {
    databasePassword: value('database_password'),
    migratePassword: value('migrate_password'),
    redisPassword: value('redis_password'),
    writeToken: value('write_token'),
    clusterKey: value('cluster_key')
  }
  return { secrets, made, findings }
}

/** The file's text. */
export function secretsText(secrets: Secrets): string {
  const lines = Object.entries(KEYS).map(([key, name]) => `${key} = "${secrets[name]}"`)
  return `# Made by 'tributary deploy render'. Keep it secret, and keep it: rendering without it makes new ones.\n${lines.join('\n')}\n`
}
