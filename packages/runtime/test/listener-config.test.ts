import { deepEqual, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  addressKeys,
  allowListOf,
  ConfigError,
  defineConfig,
  LISTENER_KEYS,
  listenerConflicts,
  loadConfig
} from '../src/index.ts'

const definition = defineConfig('sample', { ...addressKeys(24_000), ...LISTENER_KEYS }, listenerConflicts)
const load = (flags: Record<string, unknown> = {}) => loadConfig(definition, { flags })

describe('the configuration of a listener', () => {
  it('stays on this machine by default, with the port of its server', () => {
    const config = load()
    const host: string = config.host
    const port: number = config.port
    const level: 'info' | 'debug' | 'trace' | 'warn' | 'error' | 'fatal' | 'silent' = config.logLevel
    deepEqual(
      [host, port, level, config.adminPort, config.allow],
      ['127.0.0.1', 24_000, 'info', 0, undefined]
    )
  })

  it('goes beyond it only with an allow list or an explicit insecure, health and metrics too', () => {
    const beyond = [
      { '--host': '0.0.0.0' },
      { '--host': '192.0.2.1' },
      { '--host': 'films.example' },
      { '--admin-host': '::', '--admin-port': '9100' }
    ]
    for (const flags of beyond) {
      throws(
        () => load(flags),
        (error: Error) => error instanceof ConfigError && /allow/.test(error.message)
      )
      load({ ...flags, '--allow': 'private' })
      load({ ...flags, '--insecure': true })
    }
    load({ '--admin-host': '::' }) // nothing listens there
    load({ '--host': '::1', '--admin-host': 'localhost', '--admin-port': '9100' })
  })

  it('says what an allow list may hold', () => {
    throws(() => load({ '--allow': 'loopback,everybody' }), /expected .*an address, a network or its name/)
  })

  it('lets in this machine, those in the list, or under insecure everybody', () => {
    const allows = (flags: Record<string, unknown>): boolean[] => {
      const list = allowListOf(load(flags))
      return ['127.0.0.1', '10.0.0.1', '192.0.2.1'].map(ip => list.allows(ip))
    }
    deepEqual(allows({}), [true, false, false])
    deepEqual(allows({ '--allow': '10.0.0.0/8' }), [false, true, false])
    deepEqual(allows({ '--allow': '10.0.0.0/8', '--insecure': true }), [false, true, false])
    deepEqual(allows({ '--insecure': true }), [true, true, true])
  })
})
