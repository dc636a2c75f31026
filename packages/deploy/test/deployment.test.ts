import { deepEqual, doesNotMatch, equal, match, ok, rejects } from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { deployCluster } from '@tributary/deploy'
import { changed, EXAMPLES, exampleText } from './example.ts'

interface Place {
  folder: string
  file: string
  out: string
  describe(text: string): Promise<void>
}

async function place(t: TestContext, text = exampleText('three')): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'tributary-deploy-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'cluster.toml')
  await writeFile(file, text)
  return { folder, file, out: join(folder, 'out'), describe: text => writeFile(file, text) }
}

/** Path → text and mode, of everything in a folder. */
async function contentOf(folder: string): Promise<Map<string, string>> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = names.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
  const rows = await Promise.all(
    files.map(async file => {
      const { mode } = await stat(file)
      return [
        file.slice(folder.length + 1),
        `${(mode & 0o777).toString(8)} ${await readFile(file, 'utf8')}`
      ] as const
    })
  )
  return new Map(rows.sort(([a], [b]) => (a < b ? -1 : 1)))
}

describe('rendering a description', () => {
  for (const name of EXAMPLES) {
    it(`writes the same bytes each time, of the example ${name}`, async t => {
      const { file, out, folder } = await place(t, exampleText(name))
      const first = await deployCluster(file, out)
      ok(first.written.created.length > 40)
      const content = await contentOf(out)
      const again = await deployCluster(file, out)
      deepEqual(again.written, { created: [], changed: [], removed: [] })
      deepEqual([again.scripts, again.notes, again.secretsFile], [[], [], undefined])
      deepEqual(await contentOf(out), content)
      await deployCluster(file, join(folder, 'elsewhere'))
      deepEqual(await contentOf(join(folder, 'elsewhere')), content)
    })
  }

  it('makes secrets once, for its owner alone, and takes those that are there', async t => {
    const { file, out, folder } = await place(t)
    const { secretsFile } = await deployCluster(file, out)
    equal(secretsFile, join(folder, 'cluster.secrets.toml'))
    equal((await stat(secretsFile)).mode & 0o777, 0o600)
    const own = (await readFile(secretsFile, 'utf8')).replace(
      /^write_token = .*$/m,
      'write_token = "my-own-token"'
    )
    await writeFile(secretsFile, own)
    await deployCluster(file, out)
    equal(await readFile(secretsFile, 'utf8'), own)
    equal(await readFile(join(out, 'hosts/a/etc/tributary/write-token'), 'utf8'), 'my-own-token\n')
    await chmod(secretsFile, 0o644)
    await rejects(deployCluster(file, out), /chmod 600/)
    await chmod(secretsFile, 0o600)
    await writeFile(secretsFile, 'write_token = "\'; DROP TABLE films; --"\nsurplus = 1\n')
    await rejects(deployCluster(file, out), (error: Error) => {
      match(error.message, /surplus/)
      return !error.message.includes('DROP')
    })
  })

  it('lets nobody but its owner into the folder, and shows secrets in no plain file', async t => {
    const { file, out, folder } = await place(t, exampleText('wide'))
    await deployCluster(file, out)
    equal((await stat(out)).mode & 0o777, 0o700)
    const secrets = [...(await readFile(join(folder, 'cluster.secrets.toml'), 'utf8')).matchAll(/= "(.*)"/g)]
    equal(secrets.length, 5)
    for (const [path, text] of await contentOf(out)) {
      const holds = secrets.some(([, secret = '']) => text.includes(secret))
      if (holds) match(text, /^6[04]0 /, path)
    }
    equal((await stat(join(out, 'hosts/films1'))).mode & 0o777, 0o755)
  })

  it('removes what is no longer wanted, and nothing that it did not write', async t => {
    const { file, out, describe } = await place(t)
    await deployCluster(file, out)
    await writeFile(join(out, 'notes.txt'), 'mine')
    await writeFile(join(out, 'hosts/a/notes.txt'), 'mine')
    await describe(
      changed('three', [
        ['for = "tracker"\naddress = "10.77.0.101"', 'for = "tracker"\naddress = "10.77.0.111"'],
        ['roles = ["tracker", "id", "gateway", "database"]', 'roles = ["tracker", "id", "database"]']
      ])
    )
    const { written } = await deployCluster(file, out)
    ok(written.removed.includes('hosts/a/etc/systemd/system/tributary-gateway.service'))
    ok(written.changed.includes('hosts/b/etc/keepalived/keepalived.conf'))
    equal(await readFile(join(out, 'hosts/a/notes.txt'), 'utf8'), 'mine')
    equal(await readFile(join(out, 'notes.txt'), 'utf8'), 'mine')
  })

  it('writes nothing into a folder whose files are not its own, or lie behind a link', async t => {
    const { file, out, folder } = await place(t)
    await mkdir(out)
    await writeFile(join(out, 'README.md'), 'mine')
    await rejects(deployCluster(file, out), /README\.md is there already/)
    equal((await readdir(out)).length, 1)
    await rm(join(out, 'README.md'))
    await mkdir(join(folder, 'other'))
    await symlink(join(folder, 'other'), join(out, 'hosts'))
    await rejects(deployCluster(file, out), /hosts in the output folder is no folder of ours/)
    deepEqual(await readdir(join(folder, 'other')), [])
    await rm(join(out, 'hosts'))
    await writeFile(join(out, '.rendered.json'), JSON.stringify({ version: 1, files: ['../cluster.toml'] }))
    await rejects(deployCluster(file, out), /damaged/)
    await writeFile(join(out, '.rendered.json'), JSON.stringify({ version: 1, files: [] }))
    await writeFile(
      join(out, 'plan.json'),
      JSON.stringify({ version: 1, hosts: [{ name: '$(reboot)' }], groups: [] })
    )
    await rejects(deployCluster(file, out), /plan\.json is damaged/)
  })

  it('refuses what cannot work, and writes nothing', async t => {
    const { file, out, folder } = await place(t, changed('three', [['["a", "b", "c"]', '["a", "b"]']]))
    await rejects(deployCluster(file, out), /groups\.group001\.members/)
    deepEqual(await readdir(folder), ['cluster.toml'])
  })
})

describe('rendering a changed description', () => {
  /** The last one that is a group's. */
  const groupScript = async (place: Place): Promise<{ path: string; text: string; notes: string[] }> => {
    const { scripts, notes } = await deployCluster(place.file, place.out)
    const path = scripts.findLast(name => name.includes('-group')) ?? ''
    return { path, text: path === '' ? '' : await readFile(join(place.out, path), 'utf8'), notes }
  }
  const HOST_D = '[[hosts]]\nname = "d"\naddress = "10.77.0.14"\n\n[[groups]]'

  it('says how a lost member is replaced', async t => {
    const here = await place(t)
    await deployCluster(here.file, here.out)
    await here.describe(
      changed('three', [
        ['name = "c"\naddress = "10.77.0.13"', 'name = "d"\naddress = "10.77.0.14"'],
        ['"b", "c"]', '"b", "d"]']
      ])
    )
    const { path, text, notes } = await groupScript(here)
    equal(path, 'changes/02-group001.a.sh')
    match(
      text,
      /replace-brick group001 10\.77\.0\.13:\/srv\/bricks\/group001\/brick 10\.77\.0\.14:\/srv\/bricks\/group001\/brick commit force/
    )
    match(text, /^probe 10\.77\.0\.14$/m)
    match(text, /peer detach 10\.77\.0\.13 force/)
    match(text, /heal group001 full/)
    match(notes.join('\n'), /takes the place/)
  })

  it('says how a member is added, and taken away again; scripts stay until somebody deletes them', async t => {
    const here = await place(t)
    await deployCluster(here.file, here.out)
    await here.describe(
      changed('three', [
        ['[[groups]]', HOST_D],
        ['"b", "c"]', '"b", "c", "d"]']
      ])
    )
    const added = await groupScript(here)
    match(added.text, /add-brick group001 replica 4 10\.77\.0\.14:/)
    const pending = [
      'changes/01-glusterd.d.sh',
      'changes/02-group001.a.sh',
      'changes/03-start.d.sh',
      'changes/04-restart.a.sh',
      'changes/05-restart.b.sh',
      'changes/06-restart.c.sh',
      'changes/07-address.d.sh'
    ]
    deepEqual((await deployCluster(here.file, here.out)).scripts, pending)
    equal(await readFile(join(here.out, added.path), 'utf8'), added.text)
    await here.describe(exampleText('three'))
    const removed = await groupScript(here)
    equal(removed.path, 'changes/08-group001.a.sh')
    match(removed.text, /remove-brick group001 replica 3 10\.77\.0\.14:.* force/)
    await rm(join(here.out, 'changes'), { recursive: true })
    deepEqual((await deployCluster(here.file, here.out)).scripts, [])
  })

  it('says which units of which host stop, start and read again, and waits until each host is ready', async t => {
    const here = await place(t)
    await deployCluster(here.file, here.out)
    const unitsOf = async (): Promise<Record<string, string[]>> => {
      const { scripts } = await deployCluster(here.file, here.out)
      const rows = await Promise.all(
        scripts.map(async path => {
          const text = await readFile(join(here.out, path), 'utf8')
          const commands = text.match(/^systemctl .*$|^for port in .*; do$/gm) ?? []
          return [path.replace('changes/', ''), commands] as const
        })
      )
      await rm(join(here.out, 'changes'), { recursive: true, force: true })
      return Object.fromEntries(rows.filter(([path]) => !path.includes('-group')))
    }
    await here.describe(
      changed('three', [
        ['name = "c"\naddress = "10.77.0.13"', 'name = "d"\naddress = "10.77.0.14"'],
        ['"b", "c"]', '"b", "d"]']
      ])
    )
    const [servers, ready] = [
      ['tracker', 'id', 'storage', 'gateway'].map(role => `tributary-${role}.service`),
      'for port in 21900 22900 23900 8080; do'
    ]
    const restarts = [
      ...['mariadb.service', 'tributary-mounts.service', ...servers].map(unit => `systemctl restart ${unit}`),
      'systemctl reload keepalived.service',
      ready
    ]
    deepEqual(await unitsOf(), {
      '01-glusterd.d.sh': ['systemctl start glusterd.service'],
      '03-start.d.sh': [
        ...[
          'mariadb.service',
          'srv-tributary-group001.mount',
          'tributary-mounts.service',
          'tributary-heal.service',
          ...servers
        ].map(unit => `systemctl start ${unit}`),
        ready
      ],
      '04-restart.a.sh': restarts,
      '05-restart.b.sh': restarts,
      '06-address.d.sh': ['systemctl start keepalived.service']
    })
    // What its storage server needs goes when that is gone; and what others need not know of, nobody restarts for.
    await here.describe(
      changed('three', [
        ['name = "c"\naddress = "10.77.0.13"', 'name = "d"\naddress = "10.77.0.14"'],
        ['[[groups]]', '[[hosts]]\nname = "e"\naddress = "10.77.0.15"\n\n[[groups]]'],
        ['"a", "b", "c"]', '"a", "b", "e"]']
      ])
    )
    const { '02-glusterd.e.sh': _, ...others } = await unitsOf()
    deepEqual(others['01-stop.d.sh'], [
      'systemctl disable --quiet --now tributary-storage.service tributary-heal.service tributary-mounts.service'
    ])
    deepEqual(others['07-restart.d.sh']?.slice(-3), [
      'systemctl disable --quiet --now srv-tributary-group001.mount',
      'systemctl disable --quiet --now glusterd.service',
      'for port in 21900 22900 8080; do'
    ])
    deepEqual(others['05-restart.a.sh'], [
      'systemctl restart tributary-mounts.service',
      'systemctl reload keepalived.service',
      ready
    ])
    await here.describe(await readFile(here.file, 'utf8'))
    deepEqual(await unitsOf(), {}, 'nothing is to be done twice')
  })

  it('has bricks on a disk of their own, unless the description says otherwise', async t => {
    const prepare = async (text: string): Promise<string> => {
      const here = await place(t, text)
      await deployCluster(here.file, here.out)
      return readFile(join(here.out, 'steps/05-prepare.a.sh'), 'utf8')
    }
    doesNotMatch(await prepare(exampleText('three')), /disk of their own/)
    const text = await prepare(changed('three', [['on_root_disk = true', 'on_root_disk = false']]))
    ok(text.indexOf('disk of their own') < text.indexOf('mkdir -p /srv/bricks/group001'))
  })

  it('tells the operator the same in README.md and in OPERATIONS.md, word by word', async t => {
    const here = await place(t)
    await deployCluster(here.file, here.out)
    const manual = await readFile(new URL('../../../docs/OPERATIONS.md', import.meta.url), 'utf8')
    const chapter = (text: string, title: string): string => {
      const from = text.indexOf(title)
      ok(from >= 0, title)
      const [body = ''] = text.slice(from + title.length).split(/^#/m)
      return body
    }
    /** What only one of them can say stands in brackets. */
    const words = (text: string): string =>
      text
        .replace(/\s*\([^)]*\)/g, '')
        .replace(/\s+/g, ' ')
        .trim()
    const readme = chapter(
      await readFile(join(here.out, 'README.md'), 'utf8'),
      'After a change of the description'
    )
    const told = words(chapter(manual, 'Grow, and replace a member'))
    const parts = readme
      .split('\n\n')
      .map(words)
      .filter(part => part !== '')
    equal(parts.length, 5)
    const first = parts.shift()!.slice('Render into this same folder. '.length)
    for (const part of [first, ...parts]) ok(told.includes(part), part)
  })

  it('says how an arbiter is replaced, and gives way to a third member', async t => {
    const here = await place(t, exampleText('wide'))
    await deployCluster(here.file, here.out)
    await here.describe(changed('wide', [['arbiter = "arbiter"', 'arbiter = "data1"']]))
    match(
      (await groupScript(here)).text,
      /replace-brick group001 10\.77\.0\.35:\S+ 10\.77\.0\.51:\S+ commit force/
    )
    await here.describe(
      changed('wide', [['["films1", "films2"]\narbiter = "arbiter"', '["films1", "films2", "data2"]']])
    )
    const { text } = await groupScript(here)
    ok(
      text.indexOf('remove-brick group001 replica 2 10.77.0.51:') <
        text.indexOf('add-brick group001 replica 3 10.77.0.52:')
    )
    ok(text.includes('remove-brick group001 replica 2'))
  })

  it('refuses a change that leaves no member, and knows what is there when it comes again', async t => {
    const here = await place(t)
    await deployCluster(here.file, here.out)
    const rendered = await contentOf(here.out)
    const more = ['d', 'e', 'f'].map(
      (name, at) => `[[hosts]]\nname = "${name}"\naddress = "10.77.0.2${at}"\n`
    )
    const others = changed('three', [['[[groups]]', `${more.join('\n')}\n[[groups]]`]])
    await here.describe(others.replace('["a", "b", "c"]', '["d", "e", "f"]'))
    await rejects(
      deployCluster(here.file, here.out),
      /groups\.group001\.members = d, e, f: expected one of a, b, c, /
    )
    deepEqual(await contentOf(here.out), rendered, 'nothing was written')
    await here.describe(
      changed('three', [
        ['[[groups]]', `${more[0]}\n[[groups]]`],
        ['["a", "b", "c"]', '["a", "b", "d"]']
      ])
    )
    match((await groupScript(here)).text, /replace-brick group001 10\.77\.0\.13:\S+ 10\.77\.0\.20:/)
  })

  it('leaves the films of a group that is gone', async t => {
    const here = await place(t, exampleText('wide'))
    await deployCluster(here.file, here.out)
    const idle = ['films3', 'films4'].map((name, at): [string, string] => {
      const host = `name = "${name}"\naddress = "10.77.0.3${3 + at}"`
      return [host, `${host}\nroles = ["tracker"]`]
    })
    const group = '[[groups]]\nname = "group002"\nmembers = ["films3", "films4"]\narbiter = "arbiter"\n'
    await here.describe(changed('wide', [...idle, [group, '']]))
    const { path, notes } = await groupScript(here)
    equal(path, '')
    match(notes.join('\n'), /group002 is gone/)
  })
})
