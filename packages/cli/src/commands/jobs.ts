import { Option, type Command } from 'commander'
import {
  JOB_KINDS,
  JOB_STATES,
  JOBS_PAGE_MAX,
  type IndexJob,
  type JobKind,
  type JobState
} from '@tributary/calls'
import { addClientFlags, wholeNumber, withClient } from '../client-command.ts'
import { UsageError } from '../exit-code.ts'
import { visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

interface Flags {
  json?: boolean
}
interface ListFlags extends Flags {
  state?: JobState
  all?: boolean
  limit?: number
}
interface AddFlags extends Flags {
  kind: JobKind
  profile?: string
}

const LIMIT_DEFAULT = 50

export function build(command: Command, terminal: Terminal): void {
  command.addHelpText(
    'after',
    `
Examples:
  tributary jobs list --all
  tributary jobs list --state failed
  tributary jobs retry 5f9e3fa7c0d1e2f3a4b5c6d7e8f90a1b
  tributary jobs add film.mp4 --kind rendition --profile 720p
`
  )
  const verb = (name: string, describe: string): Command =>
    addClientFlags(command.command(name).description(describe))

  verb('list', 'Show jobs, newest first, and the workers that are there.')
    .argument('[file]', 'only those of this file')
    .addOption(new Option('--state <state>', 'only those in this state').choices([...JOB_STATES]))
    .option('--all', 'those of every application and user')
    .option('-n, --limit <count>', `at most so many (default ${LIMIT_DEFAULT})`, wholeNumber)
    .action((file: string | undefined, flags: ListFlags) => list(file, flags, terminal))

  verb('retry', 'Do jobs again that failed, were cancelled or are done; one that waits is due at once.')
    .argument('<id...>', 'ids, as list shows them')
    .action((ids: string[], flags: Flags) => each(ids, 'jobs.retry', flags, terminal))

  verb('cancel', 'Cancel jobs that have not ended; whoever works on one stops.')
    .argument('<id...>', 'ids, as list shows them')
    .action((ids: string[], flags: Flags) => each(ids, 'jobs.cancel', flags, terminal))

  verb('add', 'Ask for work on a film. What was made before stays: delete it first to have it made anew.')
    .argument('<file>', 'file id of the film')
    .addOption(new Option('--kind <kind>', 'what to do').choices([...JOB_KINDS]).makeOptionMandatory())
    .option('--profile <name>', 'of a rendition: which one, as the workers know it')
    .action((file: string, { kind, profile, ...flags }: AddFlags) =>
      withClient(flags, terminal, async run => {
        if ((kind === 'rendition') === (profile === undefined))
          throw new UsageError('--profile: a rendition needs one, and nothing else has one')
        const { client, signal } = run
        const { film } = await client.index('library.film', run.keyOf(file), { signal })
        const { application, user, generation, title } = film
        const job = {
          application,
          user,
          file,
          generation,
          title,
          kind,
          ...(profile !== undefined && { profile })
        }
        const { jobs } = await client.index('jobs.add', { jobs: [job], again: true }, { signal })
        for (const made of jobs) run.print(run.json ? JSON.stringify(made) : lineOf(made))
      })
    )
}

function list(file: string | undefined, flags: ListFlags, terminal: Terminal): Promise<void> {
  if (file !== undefined && flags.all) throw new UsageError('--all: a file is one of an application and user')
  return withClient(flags, terminal, async run => {
    const { client, signal, settings } = run
    const owner = flags.all ? {} : { application: settings.application, user: settings.user }
    let left = flags.limit ?? LIMIT_DEFAULT
    for (let after: string | undefined; left > 0;) {
      const page = await client.index(
        'jobs.list',
        {
          ...owner,
          ...(file !== undefined && { file }),
          ...(flags.state !== undefined && { state: flags.state }),
          ...(after !== undefined && { after }),
          limit: Math.min(left, JOBS_PAGE_MAX)
        },
        { signal }
      )
      for (const job of page.jobs) run.print(run.json ? JSON.stringify(job) : lineOf(job))
      left -= page.jobs.length
      if (page.next === undefined) break
      after = page.next
    }
    const { workers } = await client.index('jobs.workers', {}, { signal })
    if (workers.length === 0) run.remark('no worker has reported within the last minute')
    for (const { name, version, lacks } of workers) {
      const lack = lacks.length > 0 ? `; it lacks ${lacks.map(visibleText).join('; ')}` : ''
      run.remark(`worker ${visibleText(name)} ${visibleText(version)}${lack}`)
    }
  })
}

function each(
  ids: readonly string[],
  method: 'jobs.retry' | 'jobs.cancel',
  flags: Flags,
  terminal: Terminal
): Promise<void> {
  for (const id of ids) {
    if (!/^[0-9a-f]{32}$/.test(id))
      throw new UsageError(`'${id}' is no id of a job: 32 hexadecimal digits are`)
  }
  return withClient(flags, terminal, async run => {
    for (const id of ids) {
      const { job } = await run.client.index(method, { id }, { signal: run.signal })
      run.print(run.json ? JSON.stringify(job) : lineOf(job))
    }
  })
}

function lineOf({ id, kind, profile, state, progress, attempts, error, worker, ...film }: IndexJob): string {
  const what = profile === '' ? kind : `${kind} ${profile}`
  const how =
    state === 'running'
      ? `${Math.floor(progress * 100)} % by ${visibleText(worker)}`
      : error !== '' && state !== 'done'
        ? `try ${attempts}: ${visibleText(error)}`
        : ''
  const where = [film.application, film.user, film.file].map(visibleText).join('/')
  return `${id}  ${state.padEnd(9)}  ${what.padEnd(15)}  ${where}${how ? `  ${how}` : ''}`
}
