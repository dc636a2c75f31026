import { randomBytes } from 'node:crypto'
import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import type { Command } from 'commander'
import {
  makeFileId,
  type Progress,
  type Uploaded,
  type UploadSource,
  type UploadStatus
} from '@tributary/client'
import { TributaryError } from '@tributary/protocol'
import { addClientFlags, wholeNumber, withClient, type ClientRun } from '../client-command.ts'
import { exitCodeOf, QuietExit, UsageError } from '../exit-code.ts'
import { bytesText } from '../quantity-text.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'
import { UploadNotes } from '../upload-notes.ts'

interface Flags {
  recursive?: boolean
  id?: string
  name?: string
  type?: string
  size?: number
  resume?: boolean
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
      .option('--resume', 'go on with an upload that broke off, however it did; files only')
      .option('--size <bytes>', 'size of standard input, where it is known', wholeNumber)
  )
    .addHelpText(
      'after',
      `
Prints one link a file, which plays in a browser, VLC or mpv. A link is printed only when the file is safe on disk.

With --resume, what has arrived stays on the servers for a day, and the same command goes on where it broke off, also after
the machine was switched off. It keeps a note per upload in $XDG_STATE_HOME/tributary/uploads (~/.local/state/tributary/uploads),
and checks that the file is still the one it was.

Examples:
  tributary upload film.mp4
  tributary upload -r ~/Music --user anna
  tributary upload --resume film.mkv           the same again goes on, until it is done
  ffmpeg -i in.mkv -f mp4 -movflags frag_keyframe+empty_moov - | tributary upload - --name out.mp4
`
    )
    .action(async (paths: string[], flags: Flags) => {
      if (paths.filter(path => path === '-').length > 1) throw new UsageError("'-' can be given once")
      if (flags.size !== undefined && !(paths.length === 1 && paths[0] === '-')) {
        throw new UsageError("--size belongs to '-', standard input")
      }
      if (flags.resume && paths.includes('-'))
        throw new UsageError("--resume needs files: '-' cannot be read again")
      const found = await itemsOf(paths, flags, terminal)
      if ((flags.id !== undefined || flags.name !== undefined) && found.items.length !== 1) {
        throw new UsageError(`--id and --name fit one file; ${found.items.length} are given`)
      }
      await withClient(flags, terminal, run =>
        uploadAll(run, found, flags, flags.resume ? new UploadNotes(terminal) : undefined)
      )
    })
}

async function uploadAll(
  run: ClientRun,
  found: { items: Item[]; problems: unknown[] },
  flags: Flags,
  notes: UploadNotes | undefined
): Promise<void> {
  let exitCode = 0
  const fail = (name: string, error: unknown): void => {
    exitCode ||= exitCodeOf(error)
    const message = sentenceOf(error)
    run.remark(message.includes(name) ? `tributary: ${message}` : `tributary: ${name}: ${message}`)
  }
  for (const problem of found.problems) fail('', problem)
  for (const item of found.items) {
    const bar = run.bar(item.name)
    const onProgress = ({ doneBytes, totalBytes }: Progress): void => bar.update(doneBytes, totalBytes)
    try {
      const uploaded = notes
        ? await resume(run, notes, item, flags, onProgress)
        : await run.client.upload(item.source, {
            key: run.keyOf(flags.id ?? makeFileId()),
            sizeBytes: item.sizeBytes,
            name: flags.name ?? (item.name === STDIN_NAME ? undefined : basename(item.name)),
            mediaType: flags.type,
            signal: run.signal,
            onProgress
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

/** An upload that goes on where the same command ended before. */
async function resume(
  run: ClientRun,
  notes: UploadNotes,
  item: Item,
  flags: Flags,
  onProgress: (progress: Progress) => void
): Promise<Uploaded> {
  const path = await realpath(item.source as string)
  const { size: sizeBytes, mtimeMs: modifiedMs } = await stat(path)
  const note = notes.nameOf(run.settings, path, flags.id ?? '')
  let known = notes.read(note)
  if (known && (known.sizeBytes !== sizeBytes || known.modifiedMs !== modifiedMs)) {
    run.remark(`  ${item.name} has changed since it was begun: it begins anew`)
    await run.client.uploads.abort(known.id, { signal: run.signal }).catch(() => {})
    known = undefined
  }
  const begun = known && (await statusOf(run, known.id))
  if (begun)
    run.remark(`  ${item.name}: ${bytesText(begun.offsetBytes)} of ${bytesText(sizeBytes)} are there already`)
  const { id, key } = known ?? {
    id: randomBytes(16).toString('hex'),
    key: run.keyOf(flags.id ?? makeFileId())
  }
  notes.write(note, { version: 1, path, sizeBytes, modifiedMs, id, key })
  try {
    const uploaded = await run.client.uploadResumable(path, {
      key,
      id,
      isBegun: begun !== undefined,
      name: flags.name ?? basename(item.name),
      mediaType: flags.type,
      signal: run.signal,
      onProgress
    })
    notes.remove(note)
    return uploaded
  } catch (error) {
    // Nothing that the same command could go on with.
    if (error instanceof TributaryError && ENDED.has(error.code)) notes.remove(note)
    else run.remark(`  ${item.name}: what has arrived is kept; the same command goes on`)
    throw error
  }
}

const ENDED = new Set<string>([
  'FILE_EXISTS',
  'UPLOAD_CHECKSUM',
  'SIZE_MISMATCH',
  'UNKNOWN_APPLICATION',
  'BAD_FIELD'
])

async function statusOf(run: ClientRun, id: string): Promise<UploadStatus | undefined> {
  try {
    return await run.client.uploads.status(id, { signal: run.signal })
  } catch (error) {
    if (error instanceof TributaryError && error.code === 'UPLOAD_NOT_FOUND') return undefined
    throw error
  }
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
