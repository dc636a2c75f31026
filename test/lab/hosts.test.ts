import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Lab, LabError, ROOT } from '../../lab/lab.ts'
import { childrenOf } from '../../lab/namespace.ts'
import { renderByHand } from './hand-made.ts'
import { noLab } from './no-lab.ts'

const skip = noLab() ?? false
const WITHIN_MS = 10_000

const UNITS = {
  'sleeper.service': `[Service]
ExecStartPre=/bin/sh -c "echo $WORDS | tee -a /run/sleeper/said"
ExecStart=/bin/sh -c "sleep 1000 & exec sleep 1001"
User=tributary
RuntimeDirectory=sleeper
Environment=WORDS="two words" OTHER=%H
Restart=always
RestartSec=0.2
LimitNOFILE=1234
`,
  'sleeper.service.d/more.conf': '[Service]\nEnvironment=MORE=yes\n',
  'forker.service': `[Service]
Type=forking
PIDFile=/run/forker.pid
ExecStart=/bin/sh -c 'sleep 1002 & echo $! > /run/forker.pid; sleep 1003 &'
KillMode=process
Restart=on-failure
RestartSec=60
`,
  'notifier.service': `[Service]
Type=notify
ExecStart=/usr/bin/perl -e 'use Socket; sleep 1; socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, "READY=1", 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})); sleep 1000'
`,
  'hopeless.service': '[Service]\nExecStart=/bin/false\nType=oneshot\n',
  'late.service':
    '[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStartPre=/usr/bin/test -e /run/found\nExecStart=/bin/sleep 1005\nRestart=always\nRestartSec=0.2\n',
  'crasher.service': '[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=0\n',
  'srv-memory.mount': '[Mount]\nWhat=tmpfs\nWhere=/srv/memory\nType=tmpfs\nOptions=size=1m\n',
  'needy.service':
    '[Unit]\nRequiresMountsFor=/srv/memory/below\n[Service]\nExecStart=/bin/sh -c "echo here > /srv/memory/below; exec sleep 1004"\n'
}

describe('a host of the lab', { skip, timeout: 120_000 }, () => {
  let folder: string
  let lab: Lab

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-lab-'))
    lab = await Lab.up({
      rendered: await renderByHand(join(folder, 'rendered'), UNITS),
      folder: join(folder, 'lab')
    })
  })
  after(async () => {
    await lab?.stop()
    await rm(folder, { recursive: true, force: true })
  })
  const said = async (command: string, host = 'one'): Promise<string> => {
    const { exitCode, stdout, stderr } = await lab.host(host).run(command)
    equal(exitCode, 0, stderr)
    return stdout.trim()
  }
  const unit = async (name: string) =>
    (await lab.host('one').status()).units.find(unit => unit.name === `${name}.service`)!

  it('has a name, an address, users and folders of its own, and leaves those of the machine alone', async () => {
    equal(await said('hostname'), 'one')
    equal(await said('hostname', 'two'), 'two')
    match(await said('ip -4 -brief address show eth0'), /10\.78\.0\.11\/24/)
    match(await said('id tributary'), /^uid=/)
    equal(
      await said('tributary --version'),
      JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version
    )
    await said(
      'echo x > /etc/mark; echo x > /var/mark; echo x > /srv/mark; echo x > /usr/bin/mark; echo x > /tmp/mark'
    )
    for (const path of [
      '/etc/mark',
      '/var/mark',
      '/srv/mark',
      '/usr/bin/mark',
      '/tmp/mark',
      '/usr/bin/tributary'
    ])
      ok(!existsSync(path), `${path} is not on this machine`)
    equal((await lab.host('two').run('ls /etc/mark')).exitCode, 2)
    match((await lab.host('one').run('echo x > /mark')).stderr, /Read-only/)
  })

  it('reaches the others and is reached, until its cable is pulled', async () => {
    const ask = async () => await lab.exec(['bash', '-c', 'timeout 1 bash -c "</dev/tcp/10.78.0.11/9"'])
    match((await ask()).stderr, /refused/)
    await lab.host('one').cut()
    equal((await ask()).exitCode, 124, 'nobody answers')
    await lab.host('one').heal()
    await until(async () => /refused/.test((await ask()).stderr))
  })

  it('runs a unit as its user, with its environment, folders and limits, drop-ins included', async () => {
    await lab.host('one').startUnit('sleeper')
    const { mainPid, state } = await unit('sleeper')
    equal(state, 'active')
    equal(await said('cat /run/sleeper/said'), 'two words')
    equal(await said('stat -c %U /run/sleeper'), 'tributary')
    const environment = await said(`tr '\\0' '\\n' < /proc/${mainPid}/environ`)
    match(environment, /^OTHER=one$/m)
    match(environment, /^MORE=yes$/m)
    match(await said(`grep 'open files' /proc/${mainPid}/limits`), /1234/)
    equal(await said(`stat -c %U /proc/${mainPid}`), 'tributary')
  })

  it('starts again what dies, without what it left behind, and stops what it is told to', async () => {
    const host = lab.host('one')
    const before = await unit('sleeper')
    equal(await host.killUnit('sleeper', '1001'), 1)
    await until(
      async () =>
        (await unit('sleeper')).state === 'active' && (await unit('sleeper')).mainPid !== before.mainPid
    )
    await until(async () => (await unit('sleeper')).processes.length === 2)
    equal(await host.freeze('sleeper'), 2)
    await until(async () => (await unit('sleeper')).processes.every(({ state }) => state === 'T'))
    await host.thaw('sleeper')
    await host.stopUnit('sleeper')
    await sleep(500) // longer than RestartSec
    equal((await unit('sleeper')).state, 'inactive')
    equal(await said('pgrep -c sleep || true'), '0')
  })

  it('waits for a service that says when it is ready, and for a daemon that forks', async () => {
    const startMs = performance.now()
    await lab.host('one').startUnit('notifier')
    ok(performance.now() - startMs > 900, 'not before it said so')
    await lab.host('one').startUnit('forker')
    equal((await unit('forker')).mainPid, Number(await said('cat /run/forker.pid')))
    equal(await lab.host('one').killUnit('forker', '1002'), 1)
    await until(async () => (await unit('forker')).state === 'restarting')
    equal((await unit('forker')).processes.length, 1, 'KillMode=process leaves the rest')
  })

  it('says why a unit does not start, and gives up one that always crashes', async () => {
    const host = lab.host('one')
    await rejects(
      host.startUnit('hopeless'),
      /hopeless\.service did not start: ExecStart=\/bin\/false ended with exit code 1/
    )
    await rejects(host.startUnit('nothing'), /there is no unit nothing\.service/)
    await host.startUnit('crasher')
    await until(async () => (await unit('crasher')).state === 'failed')
    match((await unit('crasher')).detail, /too often/)
  })

  it('mounts what a service needs before it, and unmounts it when told', async () => {
    const host = lab.host('one')
    await host.startUnit('needy')
    await until(async () => (await host.run('cat /srv/memory/below')).stdout === 'here\n')
    equal(await said('stat -f -c %T /srv/memory'), 'tmpfs')
    await host.stopUnit('needy')
    await host.stopUnit('srv-memory.mount')
    notEqual(await said('stat -f -c %T /srv/memory'), 'tmpfs')
  })

  it('is gone at once when its power fails, and comes back with its disk', async () => {
    const host = lab.host('one')
    await said('echo kept > /srv/kept; echo lost > /run/lost')
    const startMs = performance.now()
    await host.kill()
    ok(performance.now() - startMs < 2_000)
    await rejects(host.run('true'), /host one is down/)
    await host.boot()
    equal(
      await said('cat /srv/kept; ls /run/lost 2>&1 || true'),
      "kept\nls: cannot access '/run/lost': No such file or directory"
    )
    equal(await said('pgrep -c sleep || true'), '0')
    match(await said('cat /etc/mark'), /x/)
  })

  it('starts as a whole, and says which unit does not, but for one that tries again', async () => {
    const host = lab.host('two')
    await host.kill()
    await rejects(host.start(), (error: Error) => {
      equal(error.message.match(/\w+\.service/g)?.join(), 'hopeless.service')
      return true
    })
    const late = async () => (await host.status()).units.find(({ name }) => name === 'late.service')
    notEqual((await late())?.state, 'active')
    await host.run('touch /run/found')
    await until(async () => (await late())?.state === 'active')
  })

  it('refuses a name that it does not know', () => {
    let said = ''
    try {
      lab.host('three')
    } catch (error) {
      ok(error instanceof LabError)
      said = error.message
    }
    equal(said, 'There is no host three; there are: one, two.')
  })
})

describe('a lab that ends', { skip, timeout: 120_000 }, () => {
  for (const [how, signal] of [
    ['in order', undefined],
    ['by kill -9', 'SIGKILL']
  ] as const) {
    it(`${how} leaves no process, no mount and no interface behind`, async t => {
      const folder = await mkdtemp(join(tmpdir(), 'tributary-lab-'))
      t.after(() => rm(folder, { recursive: true, force: true }))
      const rendered = await renderByHand(join(folder, 'rendered'), UNITS)
      const before = Object.keys(networkInterfaces()).sort()
      let family: number[] = []
      if (signal === undefined) {
        const lab = await Lab.up({ rendered, folder: join(folder, 'lab') })
        for (const host of lab.hosts) {
          await host.startUnit('sleeper')
          // A process that comes while its unit is being stopped is waited for, for a minute.
          await until(async () =>
            (await host.status()).units.every(({ processes }) => processes.length === 2)
          )
        }
        family = descendantsOf(process.pid)
        await lab.stop()
        ok(!existsSync(join(folder, 'lab')), 'its folder is gone as well')
      } else {
        const holder = spawn(
          process.execPath,
          [
            '--conditions=tributary-source',
            fileURLToPath(new URL('./lab-holder.ts', import.meta.url)),
            rendered,
            join(folder, 'lab')
          ],
          { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_TEST_CONTEXT: undefined } }
        )
        t.after(() => holder.kill('SIGKILL'))
        await new Promise(resolve => holder.stdout.once('data', resolve))
        family = descendantsOf(holder.pid!)
        holder.kill(signal)
      }
      ok(family.length > 10, `there were ${family.length} processes`)
      await until(async () => (await alive(family, folder)).length === 0)
      deepEqual(Object.keys(networkInterfaces()).sort(), before)
      const mounts = await readFile('/proc/self/mountinfo', 'utf8')
      ok(!mounts.includes(folder), 'no mount is left')
    })
  }

  it('fails with one sentence, and leaves nothing, when a step of the first start fails', async t => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-lab-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const rendered = await renderByHand(join(folder, 'rendered'), UNITS, [
      { start: 'hopeless.service', hosts: ['two'] }
    ])
    await writeFile(join(folder, 'witness'), '')
    await rejects(Lab.up({ rendered, folder: join(folder, 'lab') }), /hopeless\.service did not start/)
    deepEqual((await readdir(folder)).sort(), ['rendered', 'witness'])
  })
})

/** Every process below this one, hosts' included: process namespaces hide the outside from within, not the reverse. */
function descendantsOf(pid: number): number[] {
  const children = childrenOf(pid)
  return [...children, ...children.flatMap(descendantsOf)]
}

/** Those of the processes that are there, and not some other's with the same number. */
async function alive(pids: readonly number[], folder: string): Promise<number[]> {
  const checked = await Promise.all(
    pids.map(async pid => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
      return /INVOCATION_ID=/.test(environment) || environment.includes(folder) ? [pid] : []
    })
  )
  return checked.flat()
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + WITHIN_MS
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${WITHIN_MS} ms`)
    await sleep(50)
  }
}
