import { equal, ok } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { describeConfig } from '@tributary/runtime'
import { DEFINITIONS, OPERATIONS, operationsTables, withTables } from './operations-tables.ts'

describe('docs/OPERATIONS.md', () => {
  it('has every key, metric and exit code as the code has them', () => {
    const document = readFileSync(OPERATIONS, 'utf8')
    const hint = 'node scripts/run.mjs packages/cli/test/operations-tables.ts writes the tables anew'
    equal(document, withTables(document), hint)
  })

  it('may say that variables and flags follow from the names of keys', () => {
    for (const definition of DEFINITIONS) {
      for (const { section, key, env, flag, secret } of describeConfig(definition)) {
        equal(env, `TRIBUTARY_${section}_${key}`.toUpperCase())
        equal(flag, `--${key.replaceAll('_', '-')}${secret ? '-file' : ''}`)
      }
    }
  })

  it('finds metrics of every kind', () => {
    const tables = operationsTables()
    for (const [name, metric] of [
      ['metrics all', 'tributary_ROLE_requests_total'],
      ['metrics all', 'tributary_ROLE_request_duration_seconds'],
      ['metrics all', 'tributary_ROLE_connections_open'],
      ['metrics all', 'process_cpu_seconds_total'],
      ['metrics all', 'nodejs_eventloop_lag_seconds'],
      ['metrics tracker', 'tributary_tracker_heartbeat_age_seconds'],
      ['metrics id', 'tributary_id_ids_total'],
      ['metrics storage', 'tributary_storage_store_free_bytes'],
      ['metrics gateway', 'tributary_gateway_responses_total']
    ] as const) {
      ok(tables.get(name)?.includes(`\`${metric}\``), metric)
    }
  })
})
