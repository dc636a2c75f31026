/** The Debian package, built and installed on an empty Debian that has no network. */
import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { SERVER_NODE_FLAGS } from '@tributary/runtime'
import { cleanUps } from '../testkit/clean-ups.ts'
import { DebianRoot, noDebianRoot } from './debian-root.ts'

const execute = promisify(execFile)
const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BUILD = join(ROOT, 'scripts', 'package.mjs')
const MIB = 1024 * 1024
/** Node alone is 121 MiB, and 35 MiB of the package. */
const PACKAGE_BYTES_MAX = 45 * MIB
const INSTALLED_BYTES_MAX = 160 * MIB
/** Of the two bytes in an ELF file that name its architecture. */
const ELF_MACHINE_AT = 18
const ROLES = ['tracker', 'id', 'storage', 'gateway', 'worker']

/** What is on the disk, without what no package owns. */
const LIST =
  'find / -xdev -mindepth 1 \\( -path /proc -o -path /dev -o -path /tmp -o -path /run \\) -prune -o -print | sort'
/** A process that `$1` starts is ready when its output says so. */
const FUNCTIONS = `
until_says() { # file text
  for _ in $(seq 600); do if grep -q "$2" "$1"; then return 0; fi; sleep 0.1; done
  cat "$1" >&2; echo "it never said: $2" >&2; return 1
}
`

const skip = (await noDebianRoot()) ?? false

describe('the Debian package', { skip, timeout: 300_000 }, () => {
  const endings: (() => unknown)[] = []
  const afterwards = cleanUps({ after: callback => void endings.push(callback) })
  let scratch: string
  let debian: DebianRoot
  let deb: string
  let empty: string[]

  /** @throws with what it wrote, unless it ended with 0. */
  const run = async (script: string): Promise<string> => {
    const { exitCode, out, err } = await debian.run(FUNCTIONS + script)
    equal(exitCode, 0, `${script}\n${out}\n${err}`)
    return out
  }
  const files = async (): Promise<string[]> => (await run(LIST)).trim().split('\n')

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'tributary-debian-'))
    afterwards(() => rm(scratch, { recursive: true, force: true, maxRetries: 3 }))
    // Both are waited for: one that is still under way would make the folder again that is removed.
    const [root, built] = await Promise.allSettled([
      DebianRoot.make(join(scratch, 'root')),
      execute(process.execPath, [BUILD, '--out', scratch], { maxBuffer: MIB })
    ])
    if (root.status === 'rejected') throw root.reason
    if (built.status === 'rejected') throw built.reason
    debian = root.value
    deb = (await readdir(scratch)).find(name => name.endsWith('.deb'))!
    await copyFile(join(scratch, deb), join(debian.folder, 'tmp', deb))
    empty = await files()
  })
  after(async () => {
    for (const end of endings) await end()
  })

  it('holds Node and what runs, and nothing that only developers need', async () => {
    const { stdout: size } = await execute('stat', ['-c', '%s', join(scratch, deb)])
    ok(Number(size) < PACKAGE_BYTES_MAX, `${Number(size) / MIB} MiB`)
    const { stdout: kib } = await execute('dpkg-deb', ['-f', join(scratch, deb), 'Installed-Size'])
    ok(Number(kib) * 1024 < INSTALLED_BYTES_MAX, `${kib} KiB`)
    const { stdout: content } = await execute('dpkg-deb', ['-c', join(scratch, deb)], { maxBuffer: 8 * MIB })
    const paths = content
      .trim()
      .split('\n')
      .map(line => line.replace(/^(?:\S+\s+){5}\./, ''))
    for (const dev of ['typescript', 'oxlint', 'knip', 'fast-check', 'playwright-core', '@types'])
      deepEqual(
        paths.filter(path => path.includes(`/node_modules/${dev}/`)),
        [],
        dev
      )
    deepEqual(
      paths.filter(path => /\.(?:ts|map)$/.test(path)),
      []
    )
    const rights = new Set(
      content
        .trim()
        .split('\n')
        .map(line => line.split(/\s+/)[1])
    )
    deepEqual([...rights], ['root/root'])
  })

  it('is the same, byte by byte, when it is built again', async () => {
    const again = join(scratch, 'again')
    await execute(process.execPath, [BUILD, '--out', again], { maxBuffer: MIB })
    ok((await readFile(join(again, deb))).equals(await readFile(join(scratch, deb))))
  })

  it('is made for the other architecture too, with the Node of that one', async () => {
    const [other, machine] = process.arch === 'arm64' ? ['amd64', 0x3e] : ['arm64', 0xb7]
    const folder = join(scratch, other)
    await execute(process.execPath, [BUILD, '--arch', other, '--out', folder], { maxBuffer: MIB })
    const path = join(folder, (await readdir(folder))[0]!)
    equal((await execute('dpkg-deb', ['-f', path, 'Architecture'])).stdout.trim(), other)
    await execute('dpkg-deb', ['-x', path, join(folder, 'tree')])
    const node = await readFile(join(folder, 'tree/usr/lib/tributary/bin/node'))
    equal(node.readUInt16LE(ELF_MACHINE_AT), machine)
  })

  it('starts Node as servers start it', async () => {
    const script = await readFile(join(ROOT, 'packaging/tributary'), 'utf8')
    for (const flag of SERVER_NODE_FLAGS) ok(script.includes(` ${flag} `), flag)
  })

  it('installs without a network, starts and enables nothing, and makes its user and folders', async () => {
    await run(`dpkg -i /tmp/${deb}`)
    const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    equal((await run('tributary --version')).trim(), version)
    match(
      await run('getent passwd tributary'),
      /^tributary:x:\d{1,3}:\d{1,3}:.*:\/var\/lib\/tributary:\/usr\/sbin\/nologin$/m
    )
    const stat =
      "stat -c '%a %U:%G %n' /etc/tributary /etc/tributary/tributary.toml /var/lib/tributary /srv/tributary"
    deepEqual((await run(stat)).trim().split('\n'), [
      '750 root:tributary /etc/tributary',
      '640 root:tributary /etc/tributary/tributary.toml',
      '750 tributary:tributary /var/lib/tributary',
      '755 root:root /srv/tributary'
    ])
    equal((await run('find /etc/systemd -name "tributary*" | wc -l')).trim(), '0')
    equal((await run('cd / && md5sum --quiet -c /var/lib/dpkg/info/tributary.md5sums')).trim(), '')
    equal(
      (await run('tributary config check /etc/tributary/tributary.toml > /dev/null && echo right')).trim(),
      'right'
    )
  })

  it('runs a whole cluster: a file goes in, comes back the same, and the stop is in order', async () => {
    const out = await run(`
      mkdir /tmp/home; cd /tmp/home; export HOME=/tmp/home
      head -c 20000000 /dev/urandom > film.mp4
      tributary up --data /tmp/home/x > up.out 2>&1 & up=$!
      until_says up.out ready
      id=$(tributary upload film.mp4 --trackers 127.0.0.1:21000 --json | sed 's/.*"file":"\\([^"]*\\)".*/\\1/')
      tributary download "$id" back.mp4 --trackers 127.0.0.1:21000
      cmp film.mp4 back.mp4
      kill -TERM $up; wait $up; echo "ended with $?"; cat up.out
      rm -rf /tmp/home`)
    match(out, /ended with 0/)
    match(out, /^ {4}tributary upload film\.mp4/m)
    match(out, /stopped\. Everything is kept/)
  })

  it('serves from its units and the configuration it brings, by the commands that the file itself names', async () => {
    const example = await readFile(join(debian.folder, 'etc/tributary/tributary.toml'), 'utf8')
    const commands = [...example.matchAll(/^# {3}(.*)$/gm)]
      .map(([, line]) => line!)
      .filter(line => !line.startsWith('systemctl'))
    equal(commands.filter(line => line.startsWith('runuser')).length, 3)
    const units = await Promise.all(
      ROLES.map(role =>
        readFile(join(debian.folder, 'usr/lib/systemd/system', `tributary-${role}.service`), 'utf8')
      )
    )
    const starts = units.map((unit, at) => {
      const [, command] = /^ExecStart=(.*)$/m.exec(unit)!
      match(unit, /^User=tributary$/m)
      const role = ROLES[at]!
      return `(umask 027; exec setpriv --reuid tributary --regid tributary --init-groups ${command}) > /tmp/${role}.log 2>&1 & pids="$! $pids"
        until_says /tmp/${role}.log serves`
    })
    const out = await run(`
      ${commands.join('\n')}
      pids=
      cd /tmp
      ${starts.join('\n')}
      for _ in $(seq 100); do if tributary groups | grep -q ACTIVE; then break; fi; sleep 0.1; done
      echo hello > /tmp/hello.txt
      tributary upload /tmp/hello.txt --id hello > /dev/null
      tributary download hello /tmp/hello.back
      cmp /tmp/hello.txt /tmp/hello.back
      for pid in $pids; do kill -HUP $pid; done; sleep 0.5
      tributary size hello
      for pid in $pids; do kill -TERM $pid; wait $pid; echo "ended with $?"; done`)
    deepEqual(
      out.match(/ended with \d+/g),
      ROLES.map(() => 'ended with 0')
    )
    match(out, /^6$/m)
    equal((await run("stat -c '%U' /srv/tributary/group001/000/000/*/* | sort -u")).trim(), 'tributary')
  })

  it('keeps the configuration and the data when it is installed again over itself', async () => {
    await run(`
      echo '# of the operator' >> /etc/tributary/tributary.toml
      chmod 600 /etc/tributary/tributary.toml; chown tributary /etc/tributary/tributary.toml
      dpkg -i /tmp/${deb}
      grep -q 'of the operator' /etc/tributary/tributary.toml
      test "$(stat -c '%a %U' /etc/tributary/tributary.toml)" = '600 tributary'`)
  })

  it('leaves nothing but data when it is purged', async () => {
    await run(
      'echo secret > /etc/tributary/write-token; dpkg --remove tributary; test -e /etc/tributary/tributary.toml; dpkg --purge tributary'
    )
    const left = (await files()).filter(path => !empty.includes(path))
    const ours = left.filter(
      path =>
        !/^\/var\/(?:lib\/dpkg|log|cache\/ldconfig)\/|^\/etc\/(?:passwd|group|shadow|gshadow|subuid|subgid)-$|^\/etc\/\.pwd\.lock$/.test(
          path
        )
    )
    const data = /^\/(?:var\/lib|srv)\/tributary(?:\/|$)|^\/etc\/tributary(?:\/write-token)?$/
    deepEqual(
      ours.filter(path => !data.test(path)),
      []
    )
    ok(ours.some(path => path.startsWith('/srv/tributary/group001/000/')))
    equal((await run('cat /etc/tributary/write-token')).trim(), 'secret')
  })
})
