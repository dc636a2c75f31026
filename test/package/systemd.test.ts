/** The Debian package on a Debian that systemd runs: its units do what OPERATIONS says of them. */
import { deepEqual, equal, match, notEqual, ok } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cleanUps } from '../testkit/clean-ups.ts'
import { BootError, DebianRoot, noDebianRoot, type RunningDebian } from './debian-root.ts'

const execute = promisify(execFile)
const BUILD = fileURLToPath(new URL('../../scripts/package.mjs', import.meta.url))
const MIB = 1024 * 1024
const PACKAGES = ['dbus', 'procps', 'systemd', 'systemd-sysv']
const ROLES = ['tracker', 'id', 'storage', 'gateway', 'worker']
const UNITS = ROLES.map(role => `tributary-${role}`)

const FUNCTIONS = `
within() { # seconds command …
  local left=$(($1 * 5)); shift
  while ! "$@" > /dev/null 2>&1; do
    left=$((left - 1)); if [ $left -le 0 ]; then echo "never: $*" >&2; return 1; fi; sleep 0.2
  done
}
pid_of() { systemctl show -p MainPID --value tributary-$1; }
serves() { tributary groups | grep -q '1 of 1 active'; }
`

const skip = (await noDebianRoot()) ?? false

describe('the Debian package under systemd', { skip, timeout: 300_000 }, () => {
  const endings: (() => unknown)[] = []
  const afterwards = cleanUps({ after: callback => void endings.push(callback) })
  let root: DebianRoot
  let debian: RunningDebian
  let reason: string | undefined

  /** @throws with what it wrote, unless it ended with 0. */
  const run = async (script: string): Promise<string> => {
    const { exitCode, out, err } = await debian.run(FUNCTIONS + script)
    equal(exitCode, 0, `${script}\n${out}\n${err}`)
    return out
  }
  const check = (title: string, body: () => Promise<void>): void => {
    it(title, async t => (reason === undefined ? body() : t.skip(reason)))
  }
  const powerOn = async (): Promise<void> => {
    debian = await root.boot()
  }

  before(async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'tributary-systemd-'))
    afterwards(() => rm(scratch, { recursive: true, force: true, maxRetries: 3 }))
    const [made, built] = await Promise.allSettled([
      DebianRoot.make(join(scratch, 'root'), PACKAGES),
      execute(process.execPath, [BUILD, '--out', scratch], { maxBuffer: MIB })
    ])
    if (made.status === 'rejected') throw made.reason
    if (built.status === 'rejected') throw built.reason
    root = made.value
    const deb = (await readdir(scratch)).find(name => name.endsWith('.deb'))!
    await copyFile(join(scratch, deb), join(root.folder, 'var/tmp/tributary.deb'))
    try {
      await powerOn()
    } catch (error) {
      if (!(error instanceof BootError)) throw error
      reason = error.message
      return
    }
    afterwards(() => debian.stop())
  })
  after(async () => {
    for (const end of endings) await end()
  })

  check('starts a whole cluster by the commands that its configuration names', async () => {
    await run('dpkg -i /var/tmp/tributary.deb')
    const example = await readFile(join(root.folder, 'etc/tributary/tributary.toml'), 'utf8')
    const commands = [...example.matchAll(/^# {3}(.*)$/gm)].map(([, line]) => line!)
    ok(commands.some(line => line.startsWith('systemctl enable --now')))
    await run(commands.join('\n'))
    await run('within 30 serves')
    await run('echo hello > /tmp/hello; tributary upload /tmp/hello --id hello > /dev/null')
    equal((await run('tributary size hello --json')).includes('6'), true)
    deepEqual(
      (await run(`systemctl is-active ${UNITS.join(' ')}`)).trim().split('\n'),
      ROLES.map(() => 'active')
    )
    equal((await run('ps -o comm= -u tributary | wc -l')).trim(), '6', 'five servers and a data worker')
    match(
      await run('tributary doctor --config /etc/tributary/tributary.toml'),
      /^0 to be mended, 0 to be looked at$/m
    )
    match(await run('journalctl -u tributary-storage --no-pager'), /the storage server serves/)
  })

  check('reads its configuration again on `systemctl reload`, and keeps its process', async () => {
    const before = await run('pid_of storage')
    await run(`systemctl reload tributary-storage
      within 10 sh -c 'journalctl -u tributary-storage --no-pager | grep -q "the configuration was read again"'`)
    equal(await run('pid_of storage'), before)
  })

  check('is started again when it is killed, and not when its configuration is wrong', async () => {
    await run(`killed=$(pid_of tracker); kill -9 $killed
      within 10 sh -c '! [ "$(systemctl show -p MainPID --value tributary-tracker)" = '$killed' ]'
      within 20 serves`)
    const wrong = await run(`cp -p /etc/tributary/tributary.toml /var/tmp/right.toml
      echo 'prot = 1' >> /etc/tributary/tributary.toml
      systemctl restart tributary-gateway 2> /dev/null || true
      sleep 3
      systemctl show -p ActiveState,ExecMainStatus,NRestarts tributary-gateway
      journalctl -u tributary-gateway --no-pager -n 5
      cp -p /var/tmp/right.toml /etc/tributary/tributary.toml
      systemctl reset-failed tributary-gateway; systemctl start tributary-gateway`)
    match(wrong, /^ActiveState=failed$/m)
    match(wrong, /^ExecMainStatus=2$/m)
    match(wrong, /^NRestarts=0$/m)
    match(wrong, /prot/)
  })

  check('leaves its group for good when it is told to, until it is started', async () => {
    const out = await run(
      'tributary storage leave --last; sleep 2; systemctl show -p ActiveState,Result,ExecMainStatus tributary-storage'
    )
    match(out, /it has left after /)
    match(out, /^ActiveState=inactive$/m)
    match(out, /^Result=success$/m)
    match(out, /^ExecMainStatus=9$/m)
    await run('systemctl start tributary-storage; within 30 serves; tributary size hello')
  })

  check('is there again when the machine comes back after a power cut', async () => {
    await debian.stop()
    await powerOn()
    await run(
      'within 30 serves; tributary download hello /tmp/back > /dev/null; test "$(cat /tmp/back)" = hello'
    )
  })

  check('is restarted by an upgrade, and stopped when it is removed', async () => {
    const pids = async () => Promise.all(ROLES.map(role => run(`pid_of ${role}`)))
    const before = await pids()
    await run('dpkg -i /var/tmp/tributary.deb; within 30 serves; tributary size hello')
    for (const [at, pid] of (await pids()).entries())
      notEqual(pid, before[at], `${ROLES[at]} is a new process`)
    await run('dpkg --remove tributary')
    equal((await run('pgrep -u tributary || echo none')).trim(), 'none')
    equal((await debian.run('systemctl list-units --state=failed --no-legend "tributary*"')).out.trim(), '')
  })
})
