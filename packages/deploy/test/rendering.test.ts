import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse as parseYaml } from 'yaml'
import { gatewayConfig } from '@tributary/gateway'
import { idServerConfig } from '@tributary/idserver'
import { loadConfig } from '@tributary/runtime'
import { storageConfig } from '@tributary/storage'
import { trackerConfig } from '@tributary/tracker'
import type { RenderedFile } from '../src/rendered-file.ts'
import { renderCluster, type Rendering } from '../src/rendering.ts'
import { changed, descriptionOf, EXAMPLES, exampleText, SECRETS, type ExampleName } from './example.ts'

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
