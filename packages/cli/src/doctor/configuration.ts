/** Which roles the configuration describes, and whether the file keeps its secrets. */
import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { parse as parseToml } from 'smol-toml'
import { gatewayConfig, type GatewayConfig } from '@tributary/gateway'
import { idServerConfig, type IdServerConfig } from '@tributary/idserver'
import {
  ConfigError,
  isLoopbackHost,
  loadConfig,
  wireSecurityOf,
  type AnyConfigDefinition,
  type ConfigDefinition
} from '@tributary/runtime'
import { storageConfig, type StorageConfig } from '@tributary/storage'
import { trackerConfig, type TrackerConfig } from '@tributary/tracker'
import { workerConfig, type WorkerConfig } from '@tributary/worker'
import { may, whyUnreadable, type Account } from './account.ts'
import { Findings } from './finding.ts'

export interface Roles {
  tracker?: TrackerConfig
  id?: IdServerConfig
  storage?: StorageConfig
  gateway?: GatewayConfig
  worker?: WorkerConfig
}

const DEFINITIONS: readonly AnyConfigDefinition[] = [
  trackerConfig,
  idServerConfig,
  storageConfig,
  gatewayConfig,
  workerConfig
]
const OTHERS_MAY_READ = 0o004
const CREDENTIALS = /:\/\/[^/\s"']*:[^@\s"']+@|^\s*(?:write_token|cluster_key)\s*=/m

/** A role of which nothing but required keys is missing is none of this machine's. */
export function readRoles(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>
): { roles: Roles; findings: Findings } {
  const findings = new Findings('configuration')
  const roles: Record<string, unknown> = {}
  const told = new Set<string>()
  for (const definition of DEFINITIONS) {
    const { section } = definition
    try {
      roles[section] = loadConfig(definition as ConfigDefinition, {
        env,
        siblings: DEFINITIONS.filter(other => other !== definition),
        ...(file !== undefined && { file })
      })
      findings.ok(section, 'complete')
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      const wrong = error.problems.filter(({ origin }) => origin !== 'not set')
      if (wrong.length === 0) {
        const missing = error.problems.map(({ key }) => key).join(', ')
        findings.ok(section, `not configured here (${missing} not set)`)
      }
      for (const { key, value, origin, expected } of wrong) {
        const found = `${key}${value === '' ? '' : ` = ${value}`} (${origin})`
        if (told.has(found)) continue // a problem of the file itself is every role's
        told.add(found)
        findings.problem(section, found, `Expected is ${expected}.`)
      }
    }
  }
  return { roles, findings }
}

export function checkSecrets(file: string, account: Account): Findings {
  const findings = new Findings('configuration')
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return findings // told by readRoles
  }
  if (!may(account, statSync(file), 4)) {
    findings.problem(
      file,
      `${account.name} may not read it`,
      `Run chgrp tributary ${file} && chmod 640 ${file}.`
    )
  }
  checkSecretFile(file, CREDENTIALS.test(text), account, findings)
  for (const { path, what, remedy } of secretFilesOf(text)) {
    try {
      const closed = whyUnreadable(account, path)
      if (closed) findings.problem(path, closed.found, closed.advice)
      checkSecretFile(path, true, account, findings, remedy)
    } catch {
      findings.problem(path, `the ${what} is not there`, 'Make it as OPERATIONS says, or take the key out.')
    }
  }
  return findings
}

function checkSecretFile(
  path: string,
  hasSecrets: boolean,
  account: Account,
  findings: Findings,
  remedy = 'change the secret'
): void {
  const { mode } = statSync(path)
  if (!hasSecrets) return findings.ok(path, 'no secret in it')
  if ((mode & OTHERS_MAY_READ) === 0) return findings.ok(path, 'its secrets are closed to other users')
  findings.problem(
    path,
    'every user of this machine can read the secret in it',
    `Run chmod o= ${path}, with ${account.name} as its owner or in its group, and ${remedy}.`
  )
}

interface SecretFile {
  path: string
  what: string
  /** What is to be done once others could read it. */
  remedy: string
}

function secretFilesOf(text: string): SecretFile[] {
  const files = new Map<string, SecretFile>()
  try {
    const tables = parseToml(text) as Record<string, Record<string, unknown> | undefined>
    for (const table of [tables['common'], tables['gateway']]) {
      const add = (key: string, what: string, remedy: string): void => {
        const path = table?.[key]
        if (typeof path === 'string') files.set(key, { path, what, remedy })
      }
      add('write_token_file', 'token file', 'change the secret')
      add('private_key', 'private key', 'have a certificate for a new one issued')
    }
  } catch {
    return [] // told by readRoles
  }
  return [...files.values()]
}

/** Cluster key and TLS, as this machine's programs speak to each other. */
export type WireSecurity = ReturnType<typeof wireSecurityOf>

export function securityOf({ storage, gateway, tracker, id, worker }: Roles): WireSecurity {
  return wireSecurityOf(storage ?? gateway ?? worker ?? tracker ?? id ?? NOTHING)
}

const NOTHING = {
  clusterKey: undefined,
  wireAuthorities: undefined,
  wireCertificate: undefined,
  wirePrivateKey: undefined
}
const EXPIRES_SOON_MS = 14 * 86_400_000

/** How far the wire protocol is closed where it leaves this machine, and whether all roles agree. */
export function checkWire(roles: Roles, nowMs: number): Findings {
  const findings = new Findings('wire')
  const { worker, ...servers } = roles
  const given = Object.entries(servers) as [
    string,
    TrackerConfig | StorageConfig | GatewayConfig | IdServerConfig
  ][]
  const keys = [...given.map(([, config]) => config), ...(worker ? [worker] : [])]
  if (new Set(keys.map(({ clusterKey }) => clusterKey)).size > 1) {
    findings.warning(
      'cluster_key',
      'the roles of this machine do not have the same one',
      'Set it once, in the table [common].'
    )
  }
  for (const [role, config] of given) {
    const { host, clusterKey, wireAuthorities, wireCertificate, insecure } = config
    if (role !== 'gateway' && !isLoopbackHost(host)) {
      if (clusterKey === undefined && insecure) {
        findings.warning(
          role,
          'whoever reaches it may read, write and administer: there is no cluster key, and insecure = true',
          'Set `cluster_key`, or at least `allow`.'
        )
      } else if (clusterKey === undefined) {
        findings.ok(role, 'believes every program of the networks in `allow`: there is no cluster key')
      } else
        findings.ok(
          role,
          wireAuthorities ? 'wants proof of the cluster key, over TLS' : 'wants proof of the cluster key'
        )
    }
    if (!wireCertificate) continue
    const renew = `Renew it, then run systemctl reload tributary-${role}.`
    const endsMs = new X509Certificate(wireCertificate.text).validToDate.getTime()
    const date = new Date(endsMs).toISOString().slice(0, 10)
    if (endsMs <= nowMs) findings.problem(role, `its wire certificate expired on ${date}`, renew)
    else if (endsMs - nowMs < EXPIRES_SOON_MS) {
      findings.warning(role, `its wire certificate expires on ${date}`, renew)
    }
  }
  return findings
}
