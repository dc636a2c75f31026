import { equal, match, rejects } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { controlPath, giveOrder, isAnswering, openControl, runningLabs } from '../../lab/control.ts'
import { Lab, ROOT } from '../../lab/lab.ts'
import { takeOrder } from '../../lab/orders.ts'
import { runProgram } from '../testkit/program.ts'
import { renderByHand } from './hand-made.ts'
import { noLab } from './no-lab.ts'

const skip = noLab() ?? false
const MAIN = join(ROOT, 'lab', 'main.ts')
const UNITS = { 'sleeper.service': '[Service]\nExecStart=/bin/sh -c "echo awake; exec sleep 1000"\n' }

describe('npm run lab', { skip, timeout: 120_000 }, () => {
  const command = (args: readonly string[], uid?: number) =>
    runProgram(process.execPath, ['--conditions=tributary-source', MAIN, ...args], {
      cwd: ROOT,
      env: { NODE_TEST_CONTEXT: undefined },
      ...(uid !== undefined && { uid })
    })

  it('says in one sentence what is wrong with what it was told', async t => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-lab-'))
    t.after(() => rm(folder, { recursive: true }))
    const cases: [args: string[], said: RegExp][] = [
      [['--layout', 'huge'], /^There is no layout huge; there are: three, wide\.\n$/],
      [['dance'], /^There is no order dance\.\n/],
      [['status', '--folder', folder], /^No lab is running: start one with npm run lab\.\n$/],
      [['--folder', ROOT], /^.* is not empty, and no lab made it: name another folder\.\n$/],
      [['--layuot', 'three'], /^Unknown option '--layuot'/],
      [
        ['--description', join(folder, 'none.toml'), '--folder', join(folder, 'lab')],
        /^The description cannot be rendered\.\n.*none\.toml/s
      ]
    ]
    for (const [args, said] of cases) {
      const { exitCode, stderr } = await command(args)
      match(stderr, said)
      equal(exitCode, 1, args.join(' '))
    }
  })

  it('prints what can be done with it', async () => {
    const { stdout, exitCode } = await command(['--help'])
    equal(exitCode, 0)
    match(stdout, /cut HOST, heal HOST/)
  })
})

describe('an order from another terminal', { skip, timeout: 120_000 }, () => {
  let folder: string
  let lab: Lab
  let path: string
  let close = (): void => {}
  let stops = 0

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tributary-lab-'))
    const rendered = await renderByHand(join(folder, 'rendered'), UNITS)
    lab = await Lab.up({ rendered, folder: join(folder, 'labs', 'by-hand') })
    path = controlPath(lab.folder, folder)
    process.chdir(folder)
    const server = await openControl(path, words => takeOrder(lab, words, () => stops++))
    close = () => server.close()
  })
  after(async () => {
    close()
    process.chdir(ROOT)
    await lab?.stop()
    await rm(folder, { recursive: true, force: true })
  })
  const order = (...words: string[]) => giveOrder(path, words)

  it('finds the lab that runs', async () => {
    equal((await runningLabs(join(folder, 'labs'), folder)).join(), join(folder, 'labs', 'by-hand'))
    equal(await isAnswering(join(folder, 'nowhere')), false)
    await rejects(giveOrder(join(folder, 'nowhere'), ['status']))
  })

  it('shows hosts and units, as they are', async () => {
    await lab.host('one').startUnit('sleeper')
    match((await order('status')).stdout, /^one {2}10\.78\.0\.11 {2}up\n {2}active {7}sleeper\.service\n/)
    equal((await order('freeze', 'one', 'sleeper')).stdout, '1 process\n')
    match((await order('status')).stdout, /sleeper\.service {2}\(frozen\)/)
    equal((await order('thaw', 'one', 'sleeper.service')).stdout, '1 process\n')
    equal((await order('restart', 'one', 'sleeper')).exitCode, 0)
    match((await order('logs', 'one', 'sleeper')).stdout, /^awake\n/)
    await order('cut', 'one')
    match((await order('status')).stdout, /^one {2}10\.78\.0\.11 {2}cut\n/)
    await order('heal', 'one')
  })

  it('runs a command on a host, with its output and its exit code', async () => {
    const { exitCode, stdout, stderr } = await order(
      'run',
      'two',
      'sh',
      '-c',
      'hostname; echo no >&2; exit 7'
    )
    equal(`${exitCode} ${stdout} ${stderr}`, '7 two\n no\n')
  })

  it('puts rendered files in place, runs rendered scripts, and does what those ask of systemctl', async () => {
    const unit = '/etc/systemd/system/sleeper.service'
    await order('run', 'two', 'rm', unit)
    equal((await order('install', 'two')).exitCode, 0)
    equal((await order('script', 'two', 'steps/05-prepare.two.sh')).exitCode, 0)
    equal(
      (await order('run', 'two', 'cat', '/var/prepared', unit)).stdout,
      `prepared\nprepared\n${UNITS['sleeper.service']}`
    )
    const state = async () =>
      /^two.*\n(?: .*\n)*? {2}(\w+) +sleeper\.service/m.exec((await order('status')).stdout)?.[1]
    equal((await order('run', 'two', 'systemctl', 'start', 'sleeper')).exitCode, 0)
    equal(await state(), 'active')
    equal((await order('run', 'two', 'systemctl', 'disable', '--now', 'sleeper.service')).exitCode, 0)
    equal(await state(), 'inactive')
    equal((await order('start', 'two', 'sleeper')).exitCode, 0)
    equal(await state(), 'active')
    match((await order('run', 'two', 'systemctl', 'dance')).stderr, /does not know dance/)
    match((await order('script', 'two', 'steps/none.sh')).stderr, /steps\/none\.sh on two ended with 127/)
    equal((await order('render', 'other.toml')).stderr, 'This lab was made of rendered files.\n')
  })

  it('kills a host, and brings it back', async () => {
    await order('kill', 'two')
    match((await order('status')).stdout, /^two {2}10\.78\.0\.12 {2}down\n/m)
    match((await order('run', 'two', 'true')).stderr, /^Host two is down: start two brings it back\.\n$/)
    equal((await order('start', 'two')).exitCode, 0)
    match((await order('status')).stdout, /^two {2}10\.78\.0\.12 {2}up\n {2}active {7}sleeper/m)
    equal((await order('start', 'two')).stderr, 'Host two is up.\n')
  })

  it('is refused with a sentence where a name is not known, missing, or too much', async () => {
    equal((await order('kill', 'three')).stderr, 'There is no host three; there are: one, two.\n')
    equal((await order('kill')).stderr, 'Name a host: one, two.\n')
    equal((await order('freeze', 'one')).stderr, 'Name a unit: sleeper.service.\n')
    equal((await order('freeze', 'one', 'x')).stderr, 'there is no unit x.service\n')
    equal((await order('cut', 'one', 'two')).stderr, 'That is too much: two.\n')
    equal((await order('run', 'one')).exitCode, 1)
    equal((await order('dance')).stderr, 'There is no order dance.\n')
  })

  it('asks it to stop', async () => {
    await order('stop')
    equal(stops, 1)
  })
})
