import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse as parseToml } from 'smol-toml'
import { parse as parseYaml } from 'yaml'
import { gatewayConfig } from '@tributary/gateway'
import { idServerConfig } from '@tributary/idserver'
import { EXIT, loadConfig } from '@tributary/runtime'
import { storageConfig } from '@tributary/storage'
import { trackerConfig } from '@tributary/tracker'
import { workerConfig } from '@tributary/worker'
import type { RenderedFile } from '../src/rendered-file.ts'
import { renderCluster, type Rendering } from '../src/rendering.ts'
import {
  changed,
  descriptionOf,
  EXAMPLES,
  exampleText,
  findingsOf,
  SECRETS,
  type ExampleName
} from './example.ts'

const PACKAGED_UNIT = fileURLToPath(new URL('../../../packaging/tributary.service', import.meta.url))
const OPERATIONS = fileURLToPath(new URL('../../../docs/OPERATIONS.md', import.meta.url))

function rendered(text: string): Rendering {
  return renderCluster(descriptionOf(text), SECRETS)
}

function fileOf({ files }: Rendering, path: string): string {
  const file = files.find(file => file.path === path)
  ok(file, `${path} is not rendered`)
  return file.text
}

/** A host's configuration in a real file, its token where it can be read. */
async function configFile(t: TestContext, file: RenderedFile): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-deploy-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'tributary.toml')
  await writeFile(join(folder, 'write-token'), 'token-geheim-1\n')
  await writeFile(path, file.text.replace('/etc/tributary/write-token', join(folder, 'write-token')))
  return path
}

describe('what is rendered for Tributary', () => {
  for (const name of EXAMPLES) {
    it(`is a configuration that every server of the example ${name} takes, and no server has a key too many`, async t => {
      const { files } = rendered(exampleText(name))
      const siblings = [trackerConfig, idServerConfig, storageConfig, gatewayConfig]
      let servers = 0
      for (const config of files.filter(({ path }) => path.endsWith('/tributary.toml'))) {
        const file = await configFile(t, config)
        const load = (section: string, load: () => { host: string; port: number }): void => {
          if (!config.text.includes(`[${section}]`)) return
          const { host, port } = load()
          ok(host !== '127.0.0.1' && port > 0)
          servers++
        }
        load('tracker', () => loadConfig(trackerConfig, { file, siblings }))
        load('id', () => loadConfig(idServerConfig, { file, siblings }))
        load('storage', () => loadConfig(storageConfig, { file, siblings }))
        load('gateway', () => loadConfig(gatewayConfig, { file, siblings }))
      }
      equal(servers, name === 'three' ? 12 : 10)
    })
  }

  it('names all trackers, ID servers and databases on each host, in one order', async t => {
    const { files } = rendered(exampleText('three'))
    for (const host of ['a', 'b', 'c']) {
      const file = await configFile(
        t,
        files.find(({ path }) => path === `hosts/${host}/etc/tributary/tributary.toml`)!
      )
      const config = loadConfig(storageConfig, { file })
      const { trackers, idServers, database, member, allow, advertise } = config
      deepEqual(
        [config.mount, config.replication, config.healReports],
        [['fuse.glusterfs'], 'glusterfs', '/run/tributary/heal']
      )
      ok(config.volumeDeadlineS > 5) // network.ping-timeout
      deepEqual(
        trackers.map(({ host }) => host),
        ['10.77.0.11', '10.77.0.12', '10.77.0.13']
      )
      deepEqual(
        idServers.map(({ port }) => port),
        [22_000, 22_000, 22_000]
      )
      deepEqual(
        database.map(url => new URL(url).hostname),
        ['10.77.0.11', '10.77.0.12', '10.77.0.13']
      )
      deepEqual([member, advertise?.length, allow?.includes('10.77.0.0/24')], [host, 1, true])
    }
  })

  it('listens on every address only where a virtual one may arrive', () => {
    const three = rendered(exampleText('three'))
    match(fileOf(three, 'hosts/a/etc/tributary/tributary.toml'), /\[storage\]\nhost = "0\.0\.0\.0"/)
    match(fileOf(three, 'hosts/a/etc/tributary/tributary.toml'), /\[id\]\nhost = "10\.77\.0\.11"/)
    match(
      fileOf(rendered(exampleText('wide')), 'hosts/films1/etc/tributary/tributary.toml'),
      /\[storage\]\nhost = "10\.77\.0\.31"/
    )
  })

  it('gives a host of two groups two servers, with ports, stores and units of their own', async t => {
    const both = changed('wide', [
      ['members = ["films3", "films4"]', 'members = ["films1", "films2"]'],
      ['name = "films3"\naddress = "10.77.0.33"', 'name = "films3"\naddress = "10.77.0.33"\nroles = ["id"]'],
      ['name = "films4"\naddress = "10.77.0.34"', 'name = "films4"\naddress = "10.77.0.34"\nroles = ["id"]']
    ])
    const rendering = rendered(both)
    const unit = fileOf(rendering, 'hosts/films1/etc/systemd/system/tributary-storage-group002.service')
    const [, flags = ''] = /^ExecStart=\/usr\/bin\/tributary storage --config \S+ (.*)$/m.exec(unit) ?? []
    const words = flags.split(' ')
    const given = Object.fromEntries(
      words.flatMap((word, at) => (at % 2 === 0 ? [[word, words[at + 1]]] : []))
    )
    const file = await configFile(
      t,
      rendering.files.find(({ path }) => path === 'hosts/films1/etc/tributary/tributary.toml')!
    )
    const config = loadConfig(storageConfig, { file, flags: given })
    deepEqual(
      [config.group, config.port, config.adminPort, config.stores, config.member],
      ['group002', 23_001, 23_901, ['/srv/tributary/group002/store'], 'films1']
    )
    match(unit, /After=.*srv-tributary-group002\.mount/)
  })

  it('makes a worker of the hosts with that role, with the profiles of the description', async t => {
    const text = changed('three', [
      [
        'roles = ["tracker", "id", "gateway", "database"]',
        'roles = ["tracker", "id", "gateway", "database", "worker"]'
      ]
    ]).concat('\n[worker]\nprofiles = ["720p", "540p:540:2000:128"]\n')
    const { files } = rendered(text)
    const [first, ...others] = files.filter(({ path }) => path.endsWith('/tributary.toml'))
    const file = await configFile(t, first!)
    ok(first!.text.includes('[worker]'))
    for (const other of others) ok(!other.text.includes('[worker]'))
    const siblings = [trackerConfig, idServerConfig, storageConfig, gatewayConfig]
    const { adminPort, profiles, trackers } = loadConfig(workerConfig, { file, siblings })
    deepEqual(
      [adminPort, profiles.map(({ name, height }) => `${name} ${height}`)],
      [24_900, ['720p 720', '540p 540']]
    )
    ok(trackers.length > 0)
    const units = files.filter(({ path }) => path.endsWith('/tributary-worker.service'))
    equal(units.length, 1)
    ok(units[0]!.text.includes('ExecStart=/usr/bin/tributary worker --config /etc/tributary/tributary.toml'))
    ok(findingsOf(text.replace('720p', 'HD')).some(line => line.includes('worker.profiles')))
  })

  it('gives every host the cluster key where one is wanted, and none otherwise', () => {
    const plain = rendered(exampleText('three'))
    ok(
      !plain.files.some(
        ({ text, path }) => path.endsWith('/cluster-key') || text.includes('cluster_key_file')
      )
    )
    const text = exampleText('three').concat(
      '\n[wire]\ncluster_key = true\nlegacy_allow = ["10.77.0.0/24"]\n'
    )
    const { files } = rendered(text)
    const hosts = files.filter(({ path }) => path.endsWith('/tributary.toml')).length
    const keys = files.filter(({ path }) => path.endsWith('/etc/tributary/cluster-key'))
    equal(keys.length, hosts)
    for (const key of keys) {
      equal(key.text, `${SECRETS.clusterKey}\n`)
      equal(key.mode, 0o640)
    }
    for (const config of files.filter(({ path }) => path.endsWith('/tributary.toml'))) {
      ok(config.text.includes('cluster_key_file = "/etc/tributary/cluster-key"'))
      ok(!config.text.includes(SECRETS.clusterKey))
    }
    ok(
      files.some(
        ({ path, text: lines }) =>
          path.endsWith('/database.env') && lines.includes('TRIBUTARY_CLUSTER_KEY_FILE=')
      )
    )
    ok(findingsOf(text.replace('cluster_key = true\n', '')).some(line => line.includes('wire.legacy_allow')))
  })

  it('tells trackers which regions clients prefer, and the index where a group is', async t => {
    const rendering = rendered(
      changed('wide', [
        ['[gateway]', '[regions]\nnetworks = ["10.1.0.0/16=eu"]\napplications = ["media=eu"]\n\n[gateway]'],
        ['name = "group002"', 'name = "group002"\nregion = "eu"']
      ])
    )
    const config = rendering.files.find(
      ({ path, text }) => path.endsWith('/tributary.toml') && text.includes('[tracker]')
    )
    const { networkRegions, applicationRegions } = loadConfig(trackerConfig, {
      file: await configFile(t, config!),
      siblings: [trackerConfig, idServerConfig, storageConfig, gatewayConfig]
    })
    deepEqual(networkRegions, [{ network: '10.1.0.0/16', region: 'eu' }])
    deepEqual(applicationRegions, [{ application: 'media', region: 'eu' }])
    const steps = rendering.files.filter(({ path }) => /store/.test(path) && path.endsWith('.sh'))
    deepEqual(
      steps.flatMap(({ text }) => text.match(/group set-region .*/g) ?? []),
      ['group set-region group002 eu']
    )
  })

  it('starts the cluster in an order in which each thing finds what it needs', () => {
    for (const name of EXAMPLES) {
      const { plan, files } = rendered(exampleText(name))
      const order = plan.firstStart.map(step => Object.values(step)[0] as string)
      const at = (pattern: RegExp): number => order.findIndex(text => pattern.test(text))
      const last = (pattern: RegExp): number => order.findLastIndex(text => pattern.test(text))
      ok(last(/05-prepare/) < at(/glusterd/) && at(/glusterd/) < at(/10-gluster/))
      ok(at(/10-gluster/) < at(/\.mount/) && last(/\.mount/) < at(/30-store/))
      ok(at(/mariadb/) < at(/20-database/) && at(/20-database/) < at(/30-store/))
      ok(last(/30-store/) < at(/tributary-tracker/) && at(/tributary-tracker/) < at(/tributary-storage/))
      equal(at(/keepalived/), order.length - 1)
      for (const step of plan.firstStart) {
        if ('run' in step)
          ok(
            files.some(({ path, mode }) => path === step.run && mode === 0o755),
            step.run
          )
      }
      // Whatever a unit's name, it is a file of ours or the distribution's.
      for (const host of plan.hosts) {
        for (const unit of host.units.filter(unit => /^(?:tributary|srv)-/.test(unit))) {
          ok(
            files.some(({ path }) => path === `hosts/${host.name}/etc/systemd/system/${unit}`),
            unit
          )
        }
        ok(host.roles.length > 0 && host.units.length > 0)
      }
    }
  })

  it('serves an external database, a lone Redis and a group without virtual addresses as well', () => {
    const text = exampleText('three')
      .replaceAll('"gateway", "database"]', '"gateway"]')
      .replace(
        '[gateway]',
        '[database]\nexternal = ["db1.example.org:3306", "db2.example.org:3306"]\ntls = true\n[redis]\nprimary = "a"\n[gateway]'
      )
    const { files, plan } = rendered(text)
    const config = files.find(({ path }) => path === 'hosts/a/etc/tributary/tributary.toml')!.text
    match(config, /db1\.example\.org:3306\/tributary\?tls=true/)
    match(config, /redis = "redis:\/\/:redis-geheim%2B%2F%3D@10\.77\.0\.11:6379"/)
    ok(!files.some(({ path }) => path.endsWith('70-tributary.cnf')))
    ok(!plan.firstStart.some(step => 'bootstrap' in step))
  })

  it('says how the disk of the bricks is made and mounted, before the first script, where there is to be one', () => {
    const text = fileOf(
      rendered(changed('three', [['on_root_disk = true', 'on_root_disk = false']])),
      'README.md'
    )
    match(text, /once on each of a, b, c/)
    for (const step of ['mkfs.xfs /dev/DISK', 'blkid -s UUID', '>> /etc/fstab', 'mount /srv/bricks']) {
      ok(text.includes(step), step)
      ok(
        text.indexOf(step) < text.indexOf('05-prepare'),
        'a folder made earlier would be hidden by the mount'
      )
    }
    match(text, /Install on each host .*xfsprogs/)
    ok(!fileOf(rendered(exampleText('three')), 'README.md').includes('mkfs'))
  })
})

describe('what is rendered for gateways with a certificate', () => {
  const withCertificate = changed('three', [
    [
      '[gateway]',
      '[gateway]\ncertificate = "/etc/tributary/fullchain.pem"\nprivate_key = "/etc/tributary/privkey.pem"'
    ]
  ])

  it('names the files in the configuration, and has nothing of what is in them', () => {
    const rendering = rendered(withCertificate)
    const { gateway } = parseToml(fileOf(rendering, 'hosts/b/etc/tributary/tributary.toml')) as {
      gateway: Record<string, unknown>
    }
    deepEqual(
      [gateway['certificate'], gateway['private_key'], gateway['port'], gateway['admin_port']],
      ['/etc/tributary/fullchain.pem', '/etc/tributary/privkey.pem', 8_080, 8_980]
    )
    ok(!rendering.files.some(({ path }) => path.endsWith('.pem')))
  })

  it('asks their health where it is told without TLS', () => {
    const rendering = rendered(withCertificate)
    match(fileOf(rendering, 'hosts/a/etc/keepalived/keepalived.conf'), /http:\/\/10\.77\.0\.11:8980\/readyz/)
    const scrape = fileOf(rendering, 'monitoring/prometheus.yml')
    ok(scrape.includes('10.77.0.11:8980') && !scrape.includes('10.77.0.11:8080'))
    const without = rendered(exampleText('three'))
    match(fileOf(without, 'hosts/a/etc/keepalived/keepalived.conf'), /http:\/\/10\.77\.0\.11:8080\/readyz/)
    ok(!fileOf(without, 'hosts/a/etc/tributary/tributary.toml').includes('admin_port = 8980'))
  })

  it('says where the files belong, with what owner and mode, and looks whether they are there', async t => {
    const rendering = rendered(withCertificate)
    const readme = fileOf(rendering, 'README.md')
    match(readme, /install -D -o root -g tributary -m 0640 privkey\.pem \/etc\/tributary\/privkey\.pem/)
    ok(!fileOf(rendered(exampleText('three')), 'README.md').includes('privkey'))
    const step = fileOf(rendering, 'steps/05-prepare.c.sh')
    match(step, /chown root:tributary \/etc\/tributary\/privkey\.pem/)
    const folder = await mkdtemp(join(tmpdir(), 'tributary-deploy-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const [part = ''] = /^for file in \/etc\/tributary\/fullchain[^]*?^done$/m.exec(step) ?? []
    await writeFile(join(folder, 'here.pem'), '')
    const tried = part
      .replace('/etc/tributary/fullchain.pem', join(folder, 'here.pem'))
      .replace('/etc/tributary/privkey.pem', join(folder, 'none.pem'))
      .replace('runuser -u tributary --', '')
    const { stderr } = await promisify(execFile)('bash', ['--norc', '-euo', 'pipefail', '-c', tried])
    match(stderr, /^\S+none\.pem is missing: put it there[^\n]*\n$/)
  })

  it('has none of it on a host that is no gateway', () => {
    const text = changed('wide', [
      ['[gateway]', '[gateway]\ncertificate = "/srv/tls/a.pem"\nprivate_key = "/srv/tls/a.key"']
    ])
    const rendering = rendered(text)
    ok(!fileOf(rendering, 'steps/05-prepare.films1.sh').includes('/srv/tls'))
    const step = fileOf(rendering, 'steps/05-prepare.gateway1.sh')
    ok(step.includes('/srv/tls/a.key') && !step.includes('chown root:tributary /srv/tls'))
  })
})

describe('the units of the servers', () => {
  it('reload by SIGHUP, as those of the package do, and are not started again with a wrong configuration', () => {
    const packaged = readFileSync(PACKAGED_UNIT, 'utf8')
    const { files } = rendered(exampleText('wide'))
    const units = files.filter(({ path }) =>
      /\/tributary-(?:tracker|id|storage|gateway)\.service$/.test(path)
    )
    equal(units.length, 10)
    for (const { path, text } of units) {
      for (const line of [
        'ExecReload=/bin/kill -HUP $MAINPID',
        `RestartPreventExitStatus=${EXIT.misconfigured} ${EXIT.left}`
      ]) {
        ok(text.split('\n').includes(line), `${path}: ${line}`)
        ok(packaged.split('\n').includes(line), line)
      }
    }
  })
})

describe('what is rendered for watching', () => {
  const monitoring = (name: ExampleName): Record<string, string> => {
    const rendering = rendered(exampleText(name))
    return {
      scrape: fileOf(rendering, 'monitoring/prometheus.yml'),
      rules: fileOf(rendering, 'monitoring/tributary.rules.yml'),
      dashboard: fileOf(rendering, 'monitoring/grafana-dashboard.json')
    }
  }

  it('asks every server', () => {
    for (const [name, count] of [
      ['three', 12],
      ['wide', 10]
    ] as const) {
      const { scrape_configs: jobs } = parseYaml(monitoring(name)['scrape']!)
      const targets = jobs[0].static_configs.map(({ targets }: { targets: string[] }) => targets[0])
      equal(targets.length, count)
      equal(new Set(targets).size, count)
    }
  })

  it('speaks of metrics that there are, in rules and dashboard that can be parsed', () => {
    const documented = readFileSync(OPERATIONS, 'utf8')
    const { rules, dashboard } = monitoring('wide')
    const expressions = [
      ...parseYaml(rules!).groups[0].rules.map(({ expr }: { expr: string }) => expr),
      ...JSON.parse(dashboard!).panels.flatMap(({ targets }: { targets: { expr: string }[] }) =>
        targets.map(({ expr }) => expr)
      )
    ] as string[]
    ok(expressions.length > 25)
    for (const expression of expressions) {
      const names = expression.match(/\b(?:tributary|nodejs|process)_[a-z_]+/g) ?? []
      ok(names.length > 0 || expression.includes('up{'), expression)
      for (const name of names) {
        const common = name
          .replace(/^tributary_(?:tracker|id|storage|gateway)_/, 'tributary_ROLE_')
          .replace(/_bucket$/, '')
        ok(documented.includes(`\`${name}\``) || documented.includes(`\`${common}\``), name)
      }
    }
  })
})
