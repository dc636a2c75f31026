/** The programs that are to read what is rendered read it. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { noMariadb, startMariadb } from '../../../test/testkit/mariadb.ts'
import { freePort } from '../../../test/testkit/ports.ts'
import { noSentinel, startRedis } from '../../../test/testkit/redis.ts'
import { missingFiles, missingPrograms, programPath } from '../../../test/testkit/service.ts'
import type { RenderedFile } from '../src/rendered-file.ts'
import { renderCluster } from '../src/rendering.ts'
import { changesBetween } from '../src/group-changes.ts'
import { changed, descriptionOf, EXAMPLES, exampleText, SECRETS } from './example.ts'

const execute = promisify(execFile)
const GALERA = '/usr/lib/galera/libgalera_smm.so'

function filesOf(text: string): RenderedFile[] {
  return renderCluster(descriptionOf(text), SECRETS).files
}

function textOf(files: readonly RenderedFile[], path: string): string {
  const file = files.find(file => file.path === path)
  ok(file, path)
  return file.text
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-deploy-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

describe('what is rendered', { timeout: 120_000 }, () => {
  it('are scripts that bash can read', async t => {
    const folder = await temporaryFolder(t)
    const replaced = changed('wide', [
      ['arbiter = "arbiter"', 'arbiter = "data1"'],
      ['["films3", "films4"]', '["films3", "data2"]'],
      ['name = "films4"\naddress = "10.77.0.34"', 'name = "films4"\naddress = "10.77.0.34"\nroles = ["id"]']
    ])
    const { plan, files } = renderCluster(descriptionOf(replaced), SECRETS)
    const { scripts } = changesBetween(
      renderCluster(descriptionOf(exampleText('wide')), SECRETS).plan,
      plan,
      files.map(({ path }) => path)
    )
    const kinds = new Set(scripts.map(({ file }) => file.split('.')[0]))
    deepEqual(kinds, new Set(['stop', 'glusterd', 'group001', 'group002', 'start', 'restart']))
    const texts = [...scripts, ...EXAMPLES.flatMap(name => filesOf(exampleText(name)))].flatMap(file =>
      file.text.startsWith('#!/bin/bash') ? [file.text] : []
    )
    ok(texts.length > 20)
    for (const [at, text] of texts.entries()) {
      const path = join(folder, `${at}.sh`)
      await writeFile(path, text)
      await execute('bash', ['-n', path])
    }
  })

  // keepalived reads the file in a network of its own, which has the interface that it names.
  it(
    'is a keepalived.conf that keepalived takes without a word',
    { skip: noKeepalived() ?? false },
    async t => {
      const folder = await temporaryFolder(t)
      for (const name of EXAMPLES) {
        for (const { path, text } of filesOf(exampleText(name)).filter(({ path }) =>
          path.endsWith('keepalived.conf')
        )) {
          const config = join(folder, 'keepalived.conf')
          await writeFile(config, text, { mode: 0o644 })
          const script = 'ip link add eth0 type veth peer name peer0 && exec "$@"'
          const { stdout, stderr } = await execute('unshare', [
            '--net',
            'bash',
            '-c',
            script,
            '-',
            programPath('keepalived')!,
            '-t',
            '-f',
            config
          ])
          equal(stdout + stderr, '', path)
        }
      }
    }
  )

  it(
    'is a Galera configuration that a first node starts with',
    { skip: noMariadb() ?? missingFiles([GALERA]) ?? false },
    async () => {
      const text = textOf(filesOf(exampleText('three')), 'hosts/a/etc/mysql/mariadb.conf.d/70-tributary.cnf')
      const [galera, incremental, transfer] = [await freePort(), await freePort(), await freePort()]
      const flags = text
        .split('\n')
        .filter(line => /^[a-z_]+ = /.test(line) && !/^(?:port|bind_address) /.test(line))
        .map(line => `--${line.replace(' = ', '=').replaceAll('"', '')}`)
        .map(flag => (flag.startsWith('--wsrep_cluster_address') ? '--wsrep_cluster_address=gcomm://' : flag))
        .map(flag =>
          flag
            .replaceAll('10.77.0.11', '127.0.0.1')
            .replace(':4567', `:${galera}`)
            .replace(':4568', `:${incremental}`)
            .replace(':4444', `:${transfer}`)
        )
      const server = await startMariadb([...flags, '--wsrep-new-cluster'])
      try {
        match(await server.sql(`SHOW STATUS LIKE 'wsrep_ready'`), /ON/)
        const options = await server.sql(`SHOW VARIABLES LIKE 'wsrep_provider_options'`)
        for (const option of ['evs.suspect_timeout = PT2S', 'evs.inactive_timeout = PT4S'])
          ok(options.includes(option), options)
        match(await server.sql(`SHOW VARIABLES LIKE 'innodb_flush_log_at_trx_commit'`), /\t1$/m)
        const grants = textOf(filesOf(exampleText('three')), 'hosts/a/etc/tributary/grants.sql').replaceAll(
          '10.77.0.0',
          '127.0.0.0'
        )
        for (let round = 0; round < 2; round++) await server.sql(grants)
        match(
          await server.sql(`SHOW GRANTS FOR 'tributary'@'127.0.0.0/255.255.255.0'`),
          /GRANT SELECT, INSERT, UPDATE, DELETE ON `tributary`\.\*/
        )
        const client = [
          '--no-defaults',
          '-h127.0.0.1',
          `-P${server.port}`,
          '-utributary',
          `-p${SECRETS.databasePassword}`,
          'tributary'
        ]
        await execute(programPath('mariadb')!, [...client, '-e', 'SELECT 1'])
      } finally {
        await server.stop()
      }
    }
  )

  it(
    'are redis.conf and sentinel.conf that Redis and Sentinel take',
    { skip: noSentinel() ?? false },
    async t => {
      const folder = await temporaryFolder(t)
      const files = filesOf(exampleText('wide'))
      const local = (text: string): string =>
        text
          .replace(/^(bind 127\.0\.0\.1) .*$/m, '$1')
          .replace(/^port .*$/m, 'port 0')
          .replace(/^dir .*$/m, `dir ${folder}`)
      const config = join(folder, 'redis.conf')
      await writeFile(config, local(textOf(files, 'hosts/data2/etc/redis/redis.conf')))
      const redis = await startRedis([], config)
      try {
        const reply = await redis.command(
          `AUTH ${SECRETS.redisPassword}\r\nINFO replication\r\nCONFIG GET maxmemory-policy`
        )
        match(reply, /role:slave[^]*master_host:10\.77\.0\.51[^]*allkeys-lru/)
      } finally {
        await redis.stop()
      }
      const sentinel = local(textOf(files, 'hosts/data1/etc/redis/sentinel.tributary.conf')).replace(
        'port 0',
        `port ${await freePort()}`
      )
      const path = join(folder, 'sentinel.conf')
      await writeFile(path, sentinel)
      // A sentinel has no dry run: it is ended by its watchdog once it has said that it watches.
      const { stdout } = await execute('timeout', [
        '--signal=TERM',
        '2',
        programPath('redis-sentinel')!,
        path
      ]).catch((error: { stdout: string }) => error)
      match(stdout, /\+monitor master tributary 10\.77\.0\.51 6379 quorum 2/)
    }
  )

  // Where systemd is not installed nobody can say; tests of units run wherever it is.
  it('are units that systemd finds nothing wrong with', async t => {
    const analyze = programPath('systemd-analyze')
    if (analyze === undefined) return
    const folder = await temporaryFolder(t)
    for (const name of EXAMPLES) {
      const program = join(folder, 'tributary')
      await writeFile(program, '#!/bin/sh\n')
      await chmod(program, 0o755)
      const units = filesOf(exampleText(name)).filter(({ path }) =>
        /system\/(?:tributary|srv)[^/]*$/.test(path)
      )
      for (const host of new Set(units.map(({ path }) => path.split('/')[1]))) {
        const paths: string[] = []
        for (const { path, text } of units.filter(({ path }) => path.startsWith(`hosts/${host}/`))) {
          const file = join(folder, path)
          await mkdir(dirname(file), { recursive: true })
          await writeFile(file, text.replace('/usr/bin/tributary', program))
          paths.push(file)
        }
        equal(await verified(analyze, paths), '')
      }
    }
  })
})

/** Everything that systemd says of these units. */
async function verified(analyze: string, paths: readonly string[]): Promise<string> {
  const { stdout, stderr } = await execute(analyze, ['verify', '--man=no', ...paths])
  return stdout + stderr
}

/** Why keepalived cannot be tried here, if so. @throws where nothing may be skipped. */
function noKeepalived(): string | undefined {
  const missing = missingPrograms(['keepalived', 'unshare', 'ip'])
  if (missing !== undefined) return missing
  if (process.getuid?.() === 0) return undefined
  if (process.env['CI'] || process.env['TRIBUTARY_NO_SKIP'])
    throw new Error('a network of its own needs root')
  return 'a network of its own needs root'
}
