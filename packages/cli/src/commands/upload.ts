import { lstat, readdir, stat } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import type { Command } from 'commander'
import { makeFileId, type Uploaded, type UploadSource } from '@tributary/client'
import { addClientFlags, wholeNumber, withClient, type ClientRun } from '../client-command.ts'
import { exitCodeOf, QuietExit, UsageError } from '../exit-code.ts'
import { bytesText } from '../quantity-text.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'

interface Flags {
  recursive?: boolean
  id?: string
  name?: string
  type?: string
  size?: number
  json?: boolean
}

interface Item {
  source: UploadSource
  /** As it is shown and stored. */
  name: string
  sizeBytes: number | undefined
}

const STDIN_NAME = 'standard input'

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(
    command
      .argument('<path...>', "files; with -r folders too; '-' is standard input")
      .option('-r, --recursive', 'the files in folders, whatever their depth')
      .option('--id <file>', 'file id to store one file under; default: a new one')
      .option('--name <name>', 'file name to be shown; default: its own')
      .option('--type <type>', 'media type, such as video/mp4; default: found in the content')
      .option('--size <bytes>', 'size of standard input, where it is known', wholeNumber)
  )
    .addHelpText(
      'after',
      `
Prints one link a file, which plays in a browser, VLC or mpv. A link is printed only when the file is safe on disk.

Examples:
  tributary upload film.mp4
  tributary upload -r ~/Music --user anna
  ffmpeg -i in.mkv -f mp4 -movflags frag_keyframe+empty_moov - | tributary upload - --name out.mp4
`
    )
    .action(async (paths: string[], flags: Flags) => {
      if (paths.filter(path => path === '-').length > 1) throw new UsageError("'-' can be given once")
      if (flags.size !== undefined && !(paths.length === 1 && paths[0] === '-')) {
        throw new UsageError("--size belongs to '-', standard input")
      }
      const found = await itemsOf(paths, flags, terminal)
      if ((flags.id !== undefined || flags.name !== undefined) && found.items.length !== 1) {
        throw new UsageError(`--id and --name fit one file; ${found.items.length} are given`)
      }
      await withClient(flags, terminal, run => uploadAll(run, found, flags))
    })
}

async function uploadAll(
  run: ClientRun,
  found: { items: Item[]; problems: unknown[] },
  flags: Flags
): Promise<void> {
  let exitCode = 0
  const fail = (name: string, error: unknown): void => {
    exitCode ||= exitCodeOf(error)
    const message = sentenceOf(error)
    run.remark(message.includes(name) ? `tributary: ${message}` : `tributary: ${name}: ${message}`)
  }
  for (const problem of found.problems) fail('', problem)
  for (const item of found.items) {
    const key = run.keyOf(flags.id ?? makeFileId())
    const bar = run.bar(item.name)
    try {
      const uploaded = await run.client.upload(item.source, {
        key,
        sizeBytes: item.sizeBytes,
        name: flags.name ?? (item.name === STDIN_NAME ? undefined : basename(item.name)),
        mediaType: flags.type,
        signal: run.signal,
        onProgress: ({ doneBytes, totalBytes }) => bar.update(doneBytes, totalBytes)
      })
      bar.clear()
      report(run, flags.name ?? item.name, uploaded)
    } catch (error) {
      bar.clear()
      if (run.signal.aborted) throw error
      fail(item.name, error)
    }
  }
  if (exitCode !== 0) throw new QuietExit(exitCode)
}

function report(run: ClientRun, name: string, { key, ...facts }: Uploaded): void {
  const url = run.urlOf(key)
  if (run.json) run.print(JSON.stringify({ name, url, ...key, ...facts }))
  else {
    run.print(url)
    run.remark(`  ${name}, ${bytesText(facts.sizeBytes)}`)
  }
}

async function itemsOf(
  paths: readonly string[],
  { recursive, size }: Flags,
  { stdin, folder }: Terminal
): Promise<{ items: Item[]; problems: unknown[] }> {
  const items: Item[] = []
  const problems: unknown[] = []
  for (const given of paths) {
    if (given === '-') {
      items.push({ source: stdin, name: STDIN_NAME, sizeBytes: size })
      continue
    }
    const path = resolve(folder, given)
    try {
      if (!(await stat(path)).isDirectory())
        items.push({ source: path, name: basename(path), sizeBytes: undefined })
      else if (!recursive) throw new UsageError(`${given} is a folder: -r uploads the files in it`)
      else
        for await (const file of filesIn(path))
          items.push({ source: file, name: relative(path, file), sizeBytes: undefined })
    } catch (error) {
      problems.push(error)
    }
  }
  return { items, problems }
}

/** Regular files below `folder`, in order of their names; links are not followed, lest they lead in circles. */
async function* filesIn(folder: string): AsyncGenerator<string> {
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name)
    const status = await lstat(path)
    if (status.isDirectory()) yield* filesIn(path)
    else if (status.isFile()) yield path
  }
}
