/** The database's and the cache's settings, as far as they decide what survives a power cut. */
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { inspectDatabase, inspectRedis, type DatabaseInspection } from '@tributary/database'
import { redactText } from '@tributary/runtime'
import { Volume } from '@tributary/storage'
import { bytesText } from '../quantity-text.ts'
import { may, type Account } from './account.ts'
import type { Roles } from './configuration.ts'
import { addClock } from './clocks.ts'
import { Findings } from './finding.ts'

const DEADLINE_MS = 3_000
/** Of each tracker, ID server and data worker; see packages/database. */
const CONNECTIONS_PER_PROCESS = 6
const READ_WRITE = 6

export async function checkDatabases(
  roles: Roles,
  account: Account
): Promise<{ findings: Findings[]; clusterId: string | undefined }> {
  const findings = new Findings('database')
  const clocks = new Findings('clock')
  const lists = [roles.tracker?.database, roles.id?.database, roles.storage?.database]
  const urls = [...new Set(lists.flatMap(list => list ?? []))]
  const clusters = new Map<string, string>()
  for (const seen of await inspectDatabase(urls, DEADLINE_MS)) {
    if (seen.clusterId !== undefined) clusters.set(seen.clusterId, seen.label)
    if (seen.error !== undefined) {
      const advice = 'Start it, or correct `database`: without it nothing is stored, and little can be read.'
      findings.problem(seen.label, `does not answer: ${redactText(seen.error)}`, advice)
      continue
    }
    checkSchema(seen, findings)
    if (seen.engine === 'mysql') {
      addClock(clocks, `database ${seen.label}`, seen.clockAheadMs!)
      checkMysql(seen, roles, findings)
    } else await checkSqlite(seen, account, findings)
  }
  if (clusters.size > 1) {
    const list = [...clusters].map(([cluster, label]) => `${label} is of ${cluster}`).join(', ')
    findings.problem(
      'cluster',
      `the addresses are of different clusters: ${list}`,
      'List the nodes of one cluster only.'
    )
  }
  return {
    findings: [findings, clocks],
    clusterId: clusters.size === 1 ? [...clusters.keys()][0] : undefined
  }
}

function checkSchema(
  { label, version, schemaVersion, knownVersions, engine }: DatabaseInspection,
  findings: Findings
): void {
  const { min, max } = knownVersions
  const found = `${engine === 'sqlite' ? 'SQLite ' : ''}${version}, schema ${schemaVersion}`
  if (schemaVersion! > max)
    findings.problem(
      label,
      `${found}: newer than this program knows (${max})`,
      'Install the newer program here too.'
    )
  else if (schemaVersion! < min)
    findings.problem(label, `${found}: ${min} is needed`, 'Run tributary db migrate.')
  else findings.ok(label, found)
}

function checkMysql({ label, settings }: DatabaseInspection, roles: Roles, findings: Findings): void {
  const value = (name: string): string => settings.get(name) ?? ''
  const isOn = (name: string): boolean => /^(?:ON|1)$/i.test(value(name))
  const lossy = 'With less, a power cut of its machine can take rows of files that were acknowledged.'
  const before = findings.list.length
  if (value('innodb_flush_log_at_trx_commit') !== '1') {
    const found = `innodb_flush_log_at_trx_commit = ${value('innodb_flush_log_at_trx_commit')}`
    findings.problem(label, found, `Set it to 1. ${lossy}`)
  }
  if (isOn('log_bin') && value('sync_binlog') !== '1')
    findings.problem(
      label,
      `sync_binlog = ${value('sync_binlog')}, with a binary log`,
      `Set it to 1. ${lossy}`
    )
  if (/^(?:OFF|0)$/i.test(value('innodb_doublewrite')))
    findings.warning(
      label,
      'innodb_doublewrite is off',
      'Turn it on, unless its disk never writes half a page.'
    )
  for (const name of ['read_only', 'super_read_only', 'innodb_read_only']) {
    const isSet = settings.has(name) && !/^(?:OFF|0)$/i.test(value(name))
    if (isSet)
      findings.problem(
        label,
        `${name} is set`,
        'Our servers pass it over: make it writable, or leave it out.'
      )
  }
  if (isOn('wsrep_on')) {
    if (value('wsrep_cluster_status') !== 'Primary' || !isOn('wsrep_ready'))
      findings.problem(
        label,
        `its Galera cluster is ${value('wsrep_cluster_status') || 'not there'}`,
        'Bring the majority of its nodes back.'
      )
    else if (value('wsrep_local_state_comment') !== 'Synced')
      findings.warning(
        label,
        `not in step with its Galera cluster (${value('wsrep_local_state_comment')})`,
        'Wait until it is; our servers use another node meanwhile.'
      )
    const size = Number(value('wsrep_cluster_size'))
    if (size > 0 && size % 2 === 0)
      findings.warning(
        label,
        `${size} nodes are in its Galera cluster`,
        'An odd number survives more: bring the missing one back, or add an arbitrator.'
      )
    else if (size > 0) findings.ok(label, `${size} nodes are in its Galera cluster`)
  }
  const [used, most] = [Number(value('Threads_connected')), Number(value('max_connections'))]
  const ours =
    CONNECTIONS_PER_PROCESS * ((roles.tracker ? 1 : 0) + (roles.id ? 1 : 0) + (roles.storage?.workers ?? 0))
  if (used + ours > most)
    findings.warning(
      label,
      `max_connections = ${most}, ${used} are in use, this machine may want ${ours}`,
      'Raise max_connections.'
    )
  if (findings.list.length === before) findings.ok(label, 'what it acknowledges survives a power cut')
}

async function checkSqlite(
  { label, settings }: DatabaseInspection,
  account: Account,
  findings: Findings
): Promise<void> {
  if (settings.get('journal_mode') === 'wal') findings.ok(label, 'journal mode wal')
  else
    findings.problem(
      label,
      `journal mode ${settings.get('journal_mode')}`,
      'Run tributary db migrate, which sets wal.'
    )
  const folder = dirname(label)
  const volume = await Volume.open(folder, DEADLINE_MS)
  if (volume.local) findings.ok(label, 'on a local disk')
  else
    findings.problem(
      label,
      'not on a local disk',
      'Move it to one: SQLite breaks on network file systems. Several machines need MariaDB.'
    )
  if (!may(account, await stat(label), READ_WRITE) || !may(account, await stat(folder), READ_WRITE + 1))
    findings.problem(
      label,
      `${account.name} may not write it and its folder`,
      `Run chown -R ${account.name} ${folder}.`
    )
}

export async function checkRedis(roles: Roles): Promise<Findings> {
  const findings = new Findings('redis')
  const urls = new Set([roles.tracker?.redis, roles.storage?.redis].filter(url => url !== undefined))
  const usesMysql = [roles.tracker?.database, roles.storage?.database].some(list =>
    list?.[0]?.startsWith('mysql')
  )
  for (const url of urls) {
    const label = redactText(url).replace(/^(redis(?:s|-sentinel)?:\/\/)[^@/]*@/, '$1')
    if (!usesMysql) findings.ok(label, 'configured, and not used: SQLite is faster')
    const { error, version, maxmemoryBytes, policy } = await inspectRedis(url, DEADLINE_MS)
    if (error !== undefined) {
      findings.warning(
        label,
        `does not answer: ${redactText(error)}`,
        'Start it when you like: it only makes look-ups cheaper.'
      )
      continue
    }
    findings.ok(label, `Redis ${version}`)
    if (maxmemoryBytes === 0) findings.warning(label, 'its memory has no bound', 'Set maxmemory 256mb.')
    else if (policy === 'noeviction')
      findings.warning(
        label,
        `${bytesText(maxmemoryBytes!)}, and refuses what does not fit`,
        'Set maxmemory-policy allkeys-lru.'
      )
    else findings.ok(label, `at most ${bytesText(maxmemoryBytes!)}, ${policy}`)
  }
  return findings
}
