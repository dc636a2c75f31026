import { deepEqual, equal, match, ok, throws } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import {
  AllowList,
  ConfigError,
  defineConfig,
  describeConfig,
  explainConfig,
  helpText,
  loadConfig,
  parseConfigFlags,
  type ConfigOf,
  type ConfigSources
} from '../src/index.ts'

const definition = defineConfig(
  'tracker',
  {
    host: { type: 'string', default: '127.0.0.1', describe: 'Address to listen on' },
    port: { type: 'port', default: 21_000, describe: 'Port to listen on' },
    check_interval_s: {
      type: 'integer',
      default: 30,
      min: 1,
      max: 3_600,
      flag: '--check-interval',
      describe: 'Seconds without a heartbeat until a server is offline'
    },
    idle_s: { type: 'number', default: 60, min: 0.5, describe: 'Silence allowed on a connection' },
    cache_bytes: { type: 'bytes', default: 64 * 1024 * 1024, max: 2 ** 40, describe: 'Memory for the cache' },
    mode: { type: 'choice', choices: ['fast', 'safe'], default: 'safe', describe: 'Fast or safe' },
    verbose: { type: 'boolean', default: false, describe: 'Say more' },
    peers: { type: 'addresses', default: [], maxCount: 3, describe: 'The other trackers' },
    allow: {
      type: 'list',
      default: ['loopback'],
      parse: text => AllowList.parse([text]).entries[0] as string,
      describe: 'Who may speak to it'
    },
    database: { type: 'url', optional: true, describe: 'Where the database is' },
    token: { type: 'secret', optional: true, describe: 'Needed for writes' }
  },
  ({ checkIntervalS, idleS }) =>
    idleS > checkIntervalS * 10 ? [{ key: 'idle_s', expected: 'at most ten check intervals' }] : []
)
type TrackerConfig = ConfigOf<typeof definition>

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tributary-config-'))
})
after(() => rm(folder, { recursive: true, force: true }))

async function file(text: string, name = 'a.toml'): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}

function problems(sources: ConfigSources): ConfigError {
  try {
    loadConfig(definition, sources)
  } catch (error) {
    ok(error instanceof ConfigError, String(error))
    return error
  }
  throw new Error('the configuration was accepted')
}

describe('loading a configuration', () => {
  it('yields the defaults, typed, in camelCase and frozen', () => {
    const config: TrackerConfig = loadConfig(definition)
    const seconds: number = config.checkIntervalS
    const mode: 'fast' | 'safe' = config.mode
    const token: string | undefined = config.token
    deepEqual([seconds, mode, token, config.port], [30, 'safe', undefined, 21_000])
    throws(() => {
      ;(config as { port: number }).port = 1
    }, TypeError)
    throws(() => (config.allow as string[]).push('any'), TypeError)
  })

  it('lets flags win over the environment, that over the file, that over the defaults', async () => {
    const path = await file(
      '[common]\nidle_s = 5\ncheck_interval_s = 5\nport = 5\n[tracker]\ncheck_interval_s = 6\nport = 6\n'
    )
    const config = loadConfig(definition, {
      file: path,
      env: {
        TRIBUTARY_COMMON_CHECK_INTERVAL_S: '1',
        TRIBUTARY_TRACKER_CHECK_INTERVAL_S: '7',
        TRIBUTARY_TRACKER_PORT: '7',
        TRIBUTARY_TRACKER_MODE: ''
      },
      flags: { checkInterval: '8', port: undefined }
    })
    deepEqual([config.idleS, config.port, config.checkIntervalS, config.mode], [5, 7, 8, 'safe'])
  })

  it('reads sizes, addresses, lists and booleans from text and from TOML', async () => {
    const path = await file(
      'tracker.peers = ["[fd00::1]:21000"]\ntracker.cache_bytes = "1.5GiB"\ntracker.verbose = true\n'
    )
    const fromFile = loadConfig(definition, { file: path })
    deepEqual(fromFile.peers, [{ host: 'fd00::1', port: 21_000 }])
    equal(fromFile.cacheBytes, 1.5 * 2 ** 30)
    equal(fromFile.verbose, true)
    const fromText = loadConfig(definition, {
      env: { TRIBUTARY_TRACKER_ALLOW: 'private, 1.2.3.4' },
      flags: {
        '--peers': 'a:1,[::1]:2',
        '--cache-bytes': '256MiB',
        '--no-verbose': undefined,
        verbose: 'off'
      }
    })
    deepEqual(fromText.peers, [
      { host: 'a', port: 1 },
      { host: '::1', port: 2 }
    ])
    deepEqual(fromText.allow, ['private', '1.2.3.4'])
    equal(fromText.cacheBytes, 2 ** 28)
  })

  it('reports every problem at once, with its origin and what was expected', async () => {
    const path = await file('[tracker]\ncheck_interval_s = 0\nprot = 1\nmode = "quick"\n')
    const error = problems({
      file: path,
      env: { TRIBUTARY_TRACKER_CACHE_BYTES: '5 apples', TRIBUTARY_TRACKER_CHEK_INTERVAL_S: '3' },
      flags: { port: '70000', chekInterval: 1, peers: 'a:1,b:2,c:3,d:4' }
    })
    const text = error.message
    match(
      text,
      /tracker\.check_interval_s = 0 \(.*a\.toml \[tracker\]\): expected a whole number from 1 to 3600/
    )
    match(text, /tracker\.prot \(.*did you mean 'port'/)
    match(text, /tracker\.mode = quick .*expected one of fast, safe/)
    match(text, /tracker\.cache_bytes = 5 apples \(TRIBUTARY_TRACKER_CACHE_BYTES\): expected a size/)
    match(text, /TRIBUTARY_TRACKER_CHEK_INTERVAL_S .*did you mean 'TRIBUTARY_TRACKER_CHECK_INTERVAL_S'/)
    match(text, /tracker\.port = 70000 \(--port\): expected a port from 0 to 65535/)
    match(text, /--chekInterval .*did you mean '--check-interval'/)
    match(text, /tracker\.peers = .*at most 3/)
    equal(error.problems.length, 8)
  })

  it('refuses numbers that are not quite numbers', () => {
    for (const value of [
      '',
      ' ',
      '1e',
      '0x10',
      '1,5',
      'NaN',
      'Infinity',
      '1.5',
      '9007199254740993',
      true,
      null,
      {},
      []
    ]) {
      if (value === '') continue // an empty variable is one that is not set
      const error = problems({ flags: { 'check-interval': value } })
      equal(error.problems.length, 1, JSON.stringify(value))
    }
  })

  it('checks relations between keys once each is right by itself', () => {
    const error = problems({ flags: { 'idle-s': '11', checkInterval: '1' } })
    match(error.message, /tracker\.idle_s = 11 \(--idle-s\): expected at most ten check intervals/)
  })

  it('passes over other roles in the file, unless it knows them all', async () => {
    const storage = defineConfig('storage', { trackers: { type: 'addresses', describe: 'The trackers' } })
    const path = await file(
      '[common]\ntrackers = ["a:1"]\nnonsense = 1\n[storage]\nanything = 1\n[other]\nx = 1\n'
    )
    equal(loadConfig(definition, { file: path }).port, 21_000)
    const error = problems({ file: path, siblings: [definition, storage] })
    deepEqual(
      error.problems.map(({ key }) => key),
      ['[other]', 'common.nonsense']
    )
  })

  it('notices a misspelt table and a misspelt common key even without knowing the other roles', async () => {
    const path = await file('port = 1\n[trackr]\nport = 1\n[common]\nidel_s = 3\n')
    const keys = problems({ file: path }).problems.map(({ key }) => key)
    deepEqual(keys, ['port', '[trackr]', 'common.idel_s'])
    match(
      problems({ env: { TRIBUTARY_COMMON_IDEL_S: '3' } }).message,
      /did you mean 'TRIBUTARY_COMMON_IDLE_S'/
    )
    equal(
      loadConfig(definition, { env: { TRIBUTARY_COMMON_TRACKERS: 'a:1', TRIBUTARY_COMMON_PARTS: '1' } }).port,
      21_000
    )
  })

  it('says where a TOML file is broken, without showing its lines', async () => {
    const path = await file('[tracker]\ntoken = "very secret\nport = 3\n')
    const error = problems({ file: path })
    match(error.message, /a\.toml:\d+:\d+/)
    ok(!error.message.includes('very secret'))
    match(problems({ file: join(folder, 'missing.toml') }).message, /missing\.toml.*ENOENT/)
  })

  it('is not led astray by keys that every object has', async () => {
    const path = await file('[tracker]\nconstructor = 1\ntoString = 2\n')
    equal(problems({ file: path }).problems.length >= 1, true)
    const named = await file('[tracker]\ntoString = 2\n')
    deepEqual(
      problems({ file: named, flags: { constructor: 1 } }).problems.map(({ key }) => key),
      ['tracker.toString', '--constructor']
    )
  })

  it('names a key that must be given', () => {
    const required = defineConfig('storage', { store: { type: 'path', describe: 'Where files are kept' } })
    throws(() => loadConfig(required), /storage\.store \(not set\): expected a path/)
    const store: string = loadConfig(required, { env: { TRIBUTARY_STORAGE_STORE: '/srv' } }).store
    equal(store, '/srv')
  })
})

describe('secrets in a configuration', () => {
  it('come from a file, without its line end', async () => {
    const path = await file('s3cr3t\n', 'token')
    equal(loadConfig(definition, { env: { TRIBUTARY_TRACKER_TOKEN_FILE: path } }).token, 's3cr3t')
    equal(loadConfig(definition, { flags: { tokenFile: path } }).token, 's3cr3t')
  })

  it('follow the later source, whether it has the secret or the file', async () => {
    const path = await file('from file\n', 'token')
    const toml = await file(`[tracker]\ntoken_file = ${JSON.stringify(path)}\n`)
    equal(loadConfig(definition, { file: toml }).token, 'from file')
    equal(loadConfig(definition, { file: toml, env: { TRIBUTARY_TRACKER_TOKEN: 'plain' } }).token, 'plain')
  })

  it('are refused as flags, and never shown', async () => {
    equal(problems({ flags: { token: 'abc' } }).message.includes('abc'), false)
    const toml = await file('[tracker]\ntoken = 12345678\ndatabase = "mysql://u:hunter2@[bad"\n')
    const { message } = problems({ file: toml })
    equal(message.includes('12345678') || message.includes('hunter2'), false, message)
    const rows = explainConfig(definition, {
      env: { TRIBUTARY_TRACKER_TOKEN: 'abc', TRIBUTARY_TRACKER_DATABASE: 'mysql://u:hunter2@h/db' }
    })
    const text = JSON.stringify(rows)
    ok(!text.includes('abc') && !text.includes('hunter2'), text)
    match(text, /TRIBUTARY_TRACKER_TOKEN/)
  })

  it('say why their file does not do', () => {
    match(problems({ flags: { tokenFile: '/nonexistent/token' } }).message, /token_file = .*holds the secret/)
  })
})

describe('a configuration told to people', () => {
  it('has a row for every key', () => {
    const rows = describeConfig(definition)
    equal(rows.length, Object.keys(definition.keys).length)
    deepEqual(
      rows.find(({ key }) => key === 'check_interval_s'),
      {
        section: 'tracker',
        key: 'check_interval_s',
        type: 'integer',
        default: '30',
        required: false,
        secret: false,
        reloadable: false,
        unit: 's',
        expected: 'a whole number from 1 to 3600',
        env: 'TRIBUTARY_TRACKER_CHECK_INTERVAL_S',
        flag: '--check-interval',
        describe: 'Seconds without a heartbeat until a server is offline'
      }
    )
    equal(rows.find(({ key }) => key === 'cache_bytes')?.default, '64MiB')
  })

  it('reads the arguments of a command', () => {
    const args = ['--config', 'x.toml', '--peers=a:1', '--peers', 'b:2', '--verbose', '--check-interval', '9']
    const parsed = parseConfigFlags(definition, args)
    equal(parsed.file, 'x.toml')
    const { peers, verbose, checkIntervalS } = loadConfig(definition, { flags: parsed.flags })
    deepEqual([peers.length, verbose, checkIntervalS], [2, true, 9])
    equal(
      loadConfig(definition, { flags: parseConfigFlags(definition, ['--no-verbose']).flags }).verbose,
      false
    )
    equal(parseConfigFlags(definition, ['--help']).help, true)
    match(helpText(definition), /--check-interval <integer> .*\(default 30\)/)
    match(helpText(definition), /--mode <choice> .*one of fast, safe \(default safe\)/)
    match(helpText(definition), /--token-file <path> /)
  })

  it('refuses arguments it does not know, all at once', () => {
    throws(
      () => parseConfigFlags(definition, ['--prot', '1', 'surplus', '--host']),
      (error: ConfigError) => {
        match(error.message, /did you mean '--port'/)
        match(error.message, /surplus/)
        match(error.message, /--host .*a value after it/)
        return true
      }
    )
  })
})
