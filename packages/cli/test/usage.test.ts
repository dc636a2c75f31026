import { equal, match, ok } from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { ERRORS, errorOf, type ErrorCode } from '@tributary/protocol'
import { EXIT_CODES, exitCodeOf } from '../src/exit-code.ts'
import { ProgressBar } from '../src/progress-bar.ts'
import { VERBS } from '../src/verbs.ts'
import { runCommand, temporaryFolder } from './command-run.ts'

describe('the command', { timeout: 60_000 }, () => {
  it('explains itself, and every verb with examples', async t => {
    const folder = await temporaryFolder(t)
    const top = await runCommand(['--help'], folder)
    equal(top.code, 0)
    for (const { name } of VERBS) match(top.out, new RegExp(`^  ${name} `, 'm'))
    match(top.out, /130 {2}interrupted/)
    const helps = await Promise.all(VERBS.map(({ name }) => runCommand([name, '--help'], folder)))
    for (const [i, { code, out, err }] of helps.entries()) {
      equal(code, 0, VERBS[i]!.name + err)
      if (VERBS[i]!.name !== 'config') match(out, /Example/, VERBS[i]!.name)
      ok(out.includes(`tributary ${VERBS[i]!.name}`), VERBS[i]!.name)
    }
    match((await runCommand(['storage', 'init', '--help'], folder)).out, /Usage: tributary storage init/)
    match((await runCommand(['--version'], folder)).out, /^\d+\.\d+\.\d+\n$/)
  })

  it('answers wrong use with 2 and one clear sentence', async t => {
    const folder = await temporaryFolder(t)
    await writeFile(join(folder, 'a'), 'a')
    await writeFile(join(folder, 'bad.toml'), 'tracker = "x"\n')
    await mkdir(join(folder, 'folder'))
    for (const [args, sentence] of [
      [[], /Usage/],
      [['bogus'], /unknown command/],
      [['uplaod', 'x'], /Did you mean upload/],
      [['upload'], /missing required argument/],
      [['size', 'x', '--frobnicate'], /unknown option/],
      [['size', 'x', '--trackers', 'a b'], /not an address/],
      [['size', 'x', '--app', 'not valid'], /invalid application id/],
      [['size', 'x', '--config', 'nowhere.toml'], /does not exist/],
      [['size', 'x', '--config', 'bad.toml'], /unknown key 'tracker'/],
      [['size', 'x', '--http-url', 'ftp://x'], /not an http:\/\/ or https:\/\/ address/],
      [['upload', '-', '-'], /once/],
      [['upload', 'a', 'a', '--id', 'x'], /fit one file/],
      [['upload', 'folder'], /-r uploads/],
      [['ls', '--limit', 'many'], /whole number/],
      [['download', 'x', 'y', '--range', '5'], /--range needs/],
      [['download', 'x', '-', '--range', '5-4'], /--range/],
      [['up', '--storages', '0'], /--storages/],
      [['up', '--apps', 'a,b c'], /no application id/],
      [['up', '--host', '0.0.0.0'], /--insecure/],
      [['up', '--http-port', '70000'], /65535/],
      [['up', '--database', 'postgres://x'], /sqlite:.*mysql:/],
      [['db', 'migrate'], /which database/],
      [['group', 'list'], /which database/],
      [['group', 'add', 'no good'], /1 to 16 letters or digits/],
      [['group', 'set-region', 'north', 'a b'], /without blanks/],
      [['group', 'move', 'north', '--rate', 'slowly'], /a size such as/],
      [['group', 'move', 'north', '--rate', '0'], /At least one byte/],
      [['storage', '--group', 'no good'], /problems/],
      [['tracker', '--prot', '1'], /--port/],
      [['config', 'check', '--role', 'cook'], /--role/]
    ] as const) {
      const { code, err } = await runCommand(args, folder)
      equal(code, 2, `${args.join(' ')}: ${err}`)
      match(err, sentence, args.join(' '))
      ok(!/^\s+at /m.test(err), `no stack: ${err}`)
    }
  })

  it('says with 5 that nobody answers, and why with --verbose', async t => {
    const folder = await temporaryFolder(t)
    const flags = ['--trackers', '127.0.0.1:1', '--timeout', '1']
    const { code, err, out } = await runCommand(['size', 'x', ...flags, '--verbose'], folder)
    equal(code, 5)
    equal(out, '')
    match(err, /^tributary: .*127\.0\.0\.1:1/)
    match(err, /^\s+at /m)
  })

  it('checks a configuration and says where each value comes from', async t => {
    const folder = await temporaryFolder(t)
    await writeFile(
      join(folder, 'good.toml'),
      '[common]\nlog_level = "debug"\n[tracker]\ndatabase = ["sqlite:/x/index.db"]\n'
    )
    const env = { TRIBUTARY_TRACKER_PORT: '21001' }
    const good = await runCommand(['config', 'check', 'good.toml', '--role', 'tracker'], folder, { env })
    equal(good.code, 0, good.err)
    match(good.out, /tracker\.port = 21001 {2}\(TRIBUTARY_TRACKER_PORT\)/)
    match(good.out, /tracker\.log_level = debug/)
    await writeFile(join(folder, 'bad.toml'), '[tracker]\nprot = 1\ncheck_interval_s = "soon"\n')
    const bad = await runCommand(['config', 'check', 'bad.toml', '--role', 'tracker'], folder)
    equal(bad.code, 2)
    match(bad.err, /prot/)
    match(bad.err, /check_interval_s/)
    match(bad.err, /database/)
  })

  it('takes settings from the environment and a file, flags first', async t => {
    const folder = await temporaryFolder(t)
    await mkdir(join(folder, '.config', 'tributary'), { recursive: true })
    await writeFile(join(folder, '.config', 'tributary', 'config.toml'), 'trackers = ["127.0.0.1:2"]\n')
    match((await runCommand(['size', 'x', '--timeout', '1'], folder)).err, /127\.0\.0\.1:2/)
    const env = { TRIBUTARY_TRACKERS: '127.0.0.1:3' }
    match((await runCommand(['size', 'x', '--timeout', '1'], folder, { env })).err, /127\.0\.0\.1:3/)
    match(
      (await runCommand(['size', 'x', '-t', '127.0.0.1:4', '--timeout', '1'], folder, { env })).err,
      /127\.0\.0\.1:4/
    )
  })

  it('migrates a database, and makes a store once', async t => {
    const folder = await temporaryFolder(t)
    const database = ['--database', 'sqlite:index.db']
    match((await runCommand(['db', 'migrate', ...database], folder)).out, /schema 0 → \d/)
    match((await runCommand(['db', 'migrate', ...database], folder)).out, /up to date/)
    equal((await runCommand(['db', 'add-application', 'films', ...database], folder)).code, 0)
    equal((await runCommand(['db', 'add-application', 'a b', ...database], folder)).code, 2)
    const first = await runCommand(['storage', 'init', 'store', ...database], folder)
    equal(first.code, 0, first.err)
    equal((await runCommand(['storage', 'init', 'store', ...database], folder)).out, first.out)
    const other = await runCommand(['storage', 'init', 'store', '--group', 'group002', ...database], folder)
    equal(other.code, 1)
    match(other.err, /group001/)
    const fsck = await runCommand(['fsck', 'store', ...database], folder)
    equal(fsck.code, 0, fsck.err)
    match(fsck.out, /agree/)
  })
})

describe('exit codes', () => {
  it('exist for every error', () => {
    const known = new Set<number>(Object.values(EXIT_CODES).map(({ code }) => code))
    for (const code of Object.keys(ERRORS) as ErrorCode[]) ok(known.has(exitCodeOf(errorOf(code, 'x'))), code)
    equal(exitCodeOf(errorOf('FILE_EXISTS', 'x')), 4)
    equal(exitCodeOf(errorOf('OUTCOME_UNKNOWN', 'x')), 6)
    equal(exitCodeOf(errorOf('NO_STORAGE_READY', 'x')), 5)
    equal(exitCodeOf(new Error('x')), 1)
  })
})

describe('the progress bar', () => {
  it('shows share, rate and time left, fits the terminal, and is silent without one', () => {
    let nowMs = 0
    let shown = ''
    const out = { isTty: true, columns: () => 100, write: (text: string) => (shown = text) }
    const bar = new ProgressBar('film.mp4', out, () => nowMs)
    bar.update(0, 100 * 1024 * 1024)
    nowMs = 1_000
    bar.update(10 * 1024 * 1024, 100 * 1024 * 1024)
    match(shown, /film\.mp4 {2}\[#+\.+\] {3}10 % {2}10\.0 MiB of 100 MiB {2}10\.0 MiB\/s {2}0:09 left/)
    for (const columns of [20, 60]) {
      out.columns = () => columns
      ok(bar.line(1, 100).length < columns)
    }
    match(bar.line(5, undefined), /5 B/)
    shown = ''
    new ProgressBar('x', { ...out, isTty: false }).update(1, 2)
    equal(shown, '')
  })
})
