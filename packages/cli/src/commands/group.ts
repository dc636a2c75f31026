import { randomUUID } from 'node:crypto'
import { InvalidArgumentError, type Command } from 'commander'
import {
  openDatabase,
  REGION_BYTES_MAX,
  type Database,
  type GroupRow,
  type OpenUploads
} from '@tributary/database'
import { isGroupName, type ClusterGroup } from '@tributary/protocol'
import { parseByteSize } from '@tributary/runtime'
import { PeerPool } from '@tributary/transport'
import { withClient, type ClientRun } from '../client-command.ts'
import { databaseUrls } from '../database-flag.ts'
import { EXIT_CODES, QuietExit, UsageError } from '../exit-code.ts'
import { FileMover, type MoveReport } from '../file-mover.ts'
import { bytesText, countText, visibleText } from '../quantity-text.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'
import { programVersion } from '../version.ts'

const VARIABLE = 'TRIBUTARY_COMMON_DATABASE'
/** Sums over all files of a large group take their time. */
const QUERY_TIMEOUT_MS = 120_000
const PROGRESS_INTERVAL_MS = 1_000
/** Of the uploads that are under way when a group is moved. */
const UPLOADS_TOLD_MAX = 20

interface Flags {
  database?: string
  trackers?: string
  json?: boolean
}

interface MoveFlags extends Flags {
  to?: string[]
  rate?: number
  dryRun?: boolean
}

export function build(command: Command, terminal: Terminal): void {
  command.addHelpText(
    'after',
    `
Examples:
  tributary group list
  tributary group add group002 --region eu
  tributary group drain group001
  tributary group move group001 --rate 50MiB
  tributary group remove group001
`
  )
  verb(command, 'list', 'Show every group: region, members, users, files and bytes.')
    .option('--json', 'as JSON, one group a line')
    .action((flags: Flags) =>
      withDatabase(flags, terminal, database =>
        withClient(flags, terminal, async run => {
          for (const group of await listed(database, run)) {
            run.print(run.json ? JSON.stringify(group) : lineOf(group))
          }
        })
      )
    )
  verb(command, 'add', 'Let a group have users. Adding one that is there changes only what is said.')
    .argument('<name>', '1 to 16 letters or digits', groupName)
    .option('--region <name>', 'region that the group is in', regionName)
    .action((name: string, flags: Flags & { region?: string }) =>
      withDatabase(flags, terminal, async ({ routes }) => {
        await routes.addGroup(name)
        if (flags.region !== undefined) await routes.setRegion(name, flags.region)
      })
    )
  verb(command, 'set-region', "Say which region a group is in; '' for none.")
    .argument('<name>', 'group', groupName)
    .argument('<region>', 'region', regionName)
    .action((name: string, region: string, flags: Flags) =>
      withDatabase(flags, terminal, async ({ routes }) => {
        if (!(await routes.setRegion(name, region))) throw noGroup(name)
      })
    )
  verb(command, 'drain', 'Give a group no new users and no new files; what it has stays and is served.')
    .argument('<name>', 'group', groupName)
    .action((name: string, flags: Flags) =>
      withDatabase(flags, terminal, async ({ routes }) => {
        if (!(await routes.setDraining(name, true))) throw noGroup(name)
      })
    )
  verb(command, 'undrain', 'Give a group new users and files again.')
    .argument('<name>', 'group', groupName)
    .action((name: string, flags: Flags) =>
      withDatabase(flags, terminal, async ({ routes }) => {
        if (!(await routes.setDraining(name, false))) throw noGroup(name)
      })
    )
  verb(
    command,
    'remove',
    'Remove a group that has no files, no users, no uploads under way and no active storage server.'
  )
    .argument('<name>', 'group', groupName)
    .action((name: string, flags: Flags) =>
      withDatabase(flags, terminal, database =>
        withClient(flags, terminal, async run => {
          const group = (await listed(database, run)).find(each => each.name === name)
          if (!group?.known) throw noGroup(name)
          const reasons = reasonsToKeep(group)
          if (reasons.length > 0) throw new Error(`${name} is not removed: it has ${reasons.join(', ')}`)
          await database.moves.forgetGroup(name)
          if (!(await database.routes.removeGroup(name))) {
            throw new Error(`${name} is not removed: a user was tied to it a moment ago`)
          }
        })
      )
    )
  verb(command, 'move', 'Move the files of a group in drain to others, while they are read.')
    .argument('<from>', 'group in drain', groupName)
    .option('--to <group...>', 'where to; default: every group that is not in drain')
    .option('--rate <bytes>', 'at most so much a second, as 50MiB', byteSize)
    .option('--dry-run', 'say what would go where, and change nothing')
    .option('--json', 'progress and result as JSON, one object a line')
    .addHelpText(
      'after',
      `
Goes on where an earlier run ended. The group's storage servers remove the old copies ten minutes later
(moved_keep_s); let them run until 'group list' shows none.
`
    )
    .action((from: string, flags: MoveFlags) =>
      withDatabase(flags, terminal, database =>
        withClient(flags, terminal, run => move(from, flags, database, run))
      )
    )
}

function verb(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .option('--database <url>', `sqlite:/path/index.db or mysql://… (${VARIABLE})`)
    .option('-t, --trackers <list>', 'host:port,… (TRIBUTARY_TRACKERS; default 127.0.0.1:21000)')
}

async function move(from: string, flags: MoveFlags, database: Database, run: ClientRun): Promise<void> {
  await database.moves.count(from) // a schema that knows no moves is told of here, not by every file
  const groups = new Map((await database.routes.groups()).map(group => [group.name, group]))
  const source = groups.get(from)
  if (!source) throw noGroup(from)
  if (!source.draining && !flags.dryRun) {
    throw new UsageError(`${from} still gets new files: drain it first (tributary group drain ${from})`)
  }
  const to = (flags.to ?? []).flatMap(list => list.split(',')).filter(name => name !== '')
  for (const name of to) {
    if (!groups.has(name)) throw noGroup(name)
    if (name === from) throw new UsageError(`${from} cannot be moved to itself`)
  }
  const pool = new PeerPool({
    role: 'storage',
    greeting: {
      role: 'client',
      cluster: await database.clusterId(),
      version: programVersion(),
      ...run.settings.wire
    }
  })
  const bar = run.bar(`moving ${from}`)
  let toldMs = performance.now()
  const mover = new FileMover({
    database,
    pool,
    cluster: () => run.client.groups({ signal: run.signal }),
    from,
    to,
    bytesPerS: flags.rate,
    dryRun: flags.dryRun ?? false,
    holder: randomUUID(),
    signal: run.signal,
    onProgress: ({ files, bytes, totalFiles, totalBytes }) => {
      bar.update(bytes, totalBytes)
      if (!run.json || performance.now() - toldMs < PROGRESS_INTERVAL_MS) return
      toldMs = performance.now()
      run.print(JSON.stringify({ done: false, files, bytes, totalFiles, totalBytes }))
    }
  })
  let isWhole = false
  try {
    await mover.run()
    isWhole = true
  } finally {
    bar.clear()
    pool.close()
    tell(mover.report, isWhole, flags.dryRun ?? false, run)
  }
  const open = await database.uploads.openIn(from, Date.now(), UPLOADS_TOLD_MAX)
  tellUploads(open, run)
  // Whoever reads no more than the exit code is not to take the disks away.
  const isLeft = mover.report.failed > 0 || mover.report.left > 0 || open.count > 0
  if (isLeft && !flags.dryRun) throw new QuietExit(EXIT_CODES.failure.code)
}

/** Their bytes lie in the group's volume alone, in pieces that no other group could go on with. */
function tellUploads({ count, first }: OpenUploads, run: ClientRun): void {
  if (count === 0) return
  run.remark(
    `${countText(count, 'upload')} under way in the group: let them end, or their time be up, and move again`
  )
  for (const { application, user, file, offsetBytes, sizeBytes, expiresMs } of first) {
    const name = [application, user, ...(file === '' ? [] : [file])].join('/')
    const howFar = `${bytesText(offsetBytes)} of ${bytesText(sizeBytes)}`
    run.remark(visibleText(`${name}: ${howFar}, kept until ${new Date(expiresMs).toISOString()}`))
  }
}

function tell(report: MoveReport, isWhole: boolean, dryRun: boolean, run: ClientRun): void {
  if (run.json) return run.print(JSON.stringify({ done: isWhole, ...report }))
  const { files, bytes, users, gone, failed, left, failures, targets } = report
  for (const [group, sums] of Object.entries(targets)) {
    run.print(`${group}: ${countText(sums.files, 'file')}, ${bytesText(sums.bytes)}`)
  }
  const rest = [
    ...(users > 0 ? [countText(users, 'user')] : []),
    ...(gone > 0 ? [`${countText(gone, 'file')} deleted meanwhile`] : []),
    ...(failed > 0 ? [`${countText(failed, 'file')} failed`] : [])
  ]
  const what = `${countText(files, 'file')}, ${bytesText(bytes)}`
  run.print([dryRun ? `${what} would be moved` : `${what} moved`, ...rest].join(', '))
  for (const failure of failures) run.remark(visibleText(failure))
  if (left > failed) run.remark(`${countText(left, 'file')} still there: move again`)
}

interface ListedGroup extends GroupRow {
  /** In the database. */
  known: boolean
  users: number
  files: number
  bytes: number
  /** Of files that were moved away. */
  oldCopies: number
  /** Resumable ones that somebody may go on with. */
  openUploads: number
  /** UNIX milliseconds until which the last of them is kept; 0: there is none. */
  openUploadsUntilMs: number
  /** undefined: no tracker answers. */
  members: number | undefined
  activeMembers: number | undefined
}

async function listed({ routes, files, moves, uploads }: Database, run: ClientRun): Promise<ListedGroup[]> {
  const rows = new Map((await routes.groups()).map(group => [group.name, group]))
  const stores = await files.groupStores()
  let tabled: ClusterGroup[] | undefined
  try {
    tabled = (await run.client.groups({ signal: run.signal })).groups
  } catch (error) {
    run.remark(`no tracker tells of storage servers: ${sentenceOf(error)}`)
  }
  const names = new Set([
    ...rows.keys(),
    ...stores.map(({ group }) => group),
    ...(tabled ?? []).map(({ name }) => name)
  ])
  const groups: ListedGroup[] = []
  for (const name of [...names].sort()) {
    const sums = { files: 0, bytes: 0 }
    for (const { store } of stores.filter(({ group }) => group === name)) {
      const totals = await files.totals(store)
      sums.files += totals.files
      sums.bytes += totals.bytes
    }
    const { count, first } = await uploads.openIn(name, Date.now(), 1)
    const members = tabled && (tabled.find(group => group.name === name)?.members ?? [])
    groups.push({
      ...(rows.get(name) ?? { name, region: '', draining: false }),
      known: rows.has(name),
      users: await routes.countUsers(name),
      ...sums,
      oldCopies: await moves.count(name),
      openUploads: count,
      openUploadsUntilMs: first[0]?.expiresMs ?? 0,
      members: members?.length,
      activeMembers: members?.filter(({ status }) => status === 'ACTIVE').length
    })
  }
  return groups
}

function lineOf(group: ListedGroup): string {
  const { name, region, draining, known, users, files, bytes, oldCopies, openUploads } = group
  const { members, activeMembers } = group
  const notes = [
    region && `region ${visibleText(region)}`,
    draining && 'in drain',
    !known && 'not in the database',
    openUploads > 0 && uploadsText(group),
    oldCopies > 0 && `${oldCopies} old copies are still to go`
  ].filter(Boolean)
  const servers = members === undefined ? 'members unknown' : `${activeMembers} of ${members} members active`
  const more = notes.length > 0 ? ` (${notes.join(', ')})` : ''
  return `${visibleText(name)}: ${servers}, ${countText(users, 'user')}, ${countText(files, 'file')}, ${bytesText(bytes)}${more}`
}

function uploadsText({ openUploads, openUploadsUntilMs }: ListedGroup): string {
  return `${countText(openUploads, 'upload')} under way, kept until ${new Date(openUploadsUntilMs).toISOString()}`
}

function reasonsToKeep(group: ListedGroup): string[] {
  const { files, users, activeMembers, openUploads } = group
  if (activeMembers === undefined)
    throw new Error('whether the group has active storage servers is not known')
  return [
    ...(files > 0 ? [countText(files, 'file')] : []),
    ...(users > 0 ? [countText(users, 'user')] : []),
    ...(openUploads > 0 ? [uploadsText(group)] : []),
    ...(activeMembers > 0 ? [`${activeMembers} active storage servers`] : [])
  ]
}

async function withDatabase(
  flags: Flags,
  terminal: Terminal,
  action: (database: Database) => Promise<void>
): Promise<void> {
  const urls = databaseUrls(flags.database, terminal, VARIABLE)
  // Who waits for large sums does not want to wait as long for a database that is not there.
  await (await openDatabase(urls)).close()
  const database = await openDatabase(urls, { queryTimeoutMs: QUERY_TIMEOUT_MS })
  try {
    await action(database)
  } finally {
    await database.close()
  }
}

function noGroup(name: string): UsageError {
  return new UsageError(`there is no group ${visibleText(name)}`)
}

function groupName(text: string): string {
  if (!isGroupName(text)) throw new InvalidArgumentError('1 to 16 letters or digits are expected.')
  return text
}

function regionName(text: string): string {
  if (/[\s\p{Cc}]/u.test(text) || Buffer.byteLength(text) > REGION_BYTES_MAX) {
    throw new InvalidArgumentError(`At most ${REGION_BYTES_MAX} bytes without blanks are expected.`)
  }
  return text
}

function byteSize(text: string): number {
  let bytes: number
  try {
    bytes = parseByteSize(text)
  } catch (error) {
    throw new InvalidArgumentError(`${sentenceOf(error)}.`)
  }
  if (bytes < 1) throw new InvalidArgumentError('At least one byte a second is expected.')
  return bytes
}
