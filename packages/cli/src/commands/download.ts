import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { addClientFlags, withClient, type ClientRun } from '../client-command.ts'
import { QuietExit, UsageError } from '../exit-code.ts'
import { bytesText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

interface Flags {
  range?: string
  overwrite?: boolean
  restart?: boolean
  json?: boolean
}
const FILE_NAME_CHARACTERS_MAX = 200

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(
    command
      .argument('<file>', 'file id')
      .argument('[path]', "where to; default: the file's own name, in this folder; '-' is standard output")
      .option('-r, --range <first-last>', "bytes, as in HTTP: 0-99, 500-, -100; with '-' only")
      .option('-f, --overwrite', 'replace a file of that name')
      .option('--restart', 'do not go on with what an earlier try left in <path>.part')
  )
    .addHelpText(
      'after',
      `
An interrupted download goes on where it broke off. The file gets its name when it is whole and its checksum is right.

Examples:
  tributary download 0lx3k9v2a… film.mp4
  tributary download 0lx3k9v2a… - | mpv -
`
    )
    .action(async (file: string, path: string | undefined, flags: Flags) => {
      if (flags.range !== undefined && path !== '-')
        throw new UsageError("--range needs '-', standard output")
      await withClient(flags, terminal, run =>
        path === '-' ? toOutput(run, file, flags, terminal) : toFile(run, file, path, flags, terminal)
      )
    })
}

async function toOutput(run: ClientRun, file: string, flags: Flags, terminal: Terminal): Promise<void> {
  const bar = run.bar(file)
  const { stream } = await run.client.download(run.keyOf(file), {
    ...(flags.range !== undefined && rangeOf(flags.range)),
    signal: run.signal,
    // On a terminal the bar and the bytes would get in each other's way.
    ...(!terminal.stdoutIsTty && {
      onProgress: ({ doneBytes, totalBytes }) => bar.update(doneBytes, totalBytes)
    })
  })
  try {
    await pipeline(stream, terminal.stdout, { end: false })
  } catch (error) {
    const { code } = error as { code?: string }
    // Whoever reads has what it wanted, as `head` does.
    if (code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE') throw new QuietExit(1)
    throw error
  } finally {
    bar.clear()
  }
}

async function toFile(
  run: ClientRun,
  file: string,
  path: string | undefined,
  flags: Flags,
  { folder }: Terminal
): Promise<void> {
  const key = run.keyOf(file)
  let target = resolve(folder, path ?? '.')
  if (path === undefined || (await isFolder(target))) {
    const { name } = await run.client.stat(key, { signal: run.signal })
    target = join(target, safeName(name) ?? safeName(file) ?? 'download')
  }
  const bar = run.bar(basename(target))
  try {
    const { facts, resumedBytes } = await run.client.downloadToFile(key, target, {
      overwrite: flags.overwrite,
      restart: flags.restart,
      signal: run.signal,
      onProgress: ({ doneBytes, totalBytes }) => bar.update(doneBytes, totalBytes)
    })
    bar.clear()
    if (run.json) run.print(JSON.stringify({ path: target, ...key, ...facts, resumedBytes }))
    else {
      run.print(target)
      const resumed = resumedBytes > 0 ? `, of which ${bytesText(resumedBytes)} were here already` : ''
      run.remark(`  ${bytesText(facts.sizeBytes)}${resumed}`)
    }
  } finally {
    bar.clear()
  }
}

/** A name from elsewhere, as a name in this folder and nowhere else. */
function safeName(name: string): string | undefined {
  const safe = basename(name.replaceAll('\\', '/'))
    .replace(/\p{Cc}/gu, '_')
    .replace(/^\.+/, '')
    .slice(0, FILE_NAME_CHARACTERS_MAX)
  return safe === '' ? undefined : safe
}

function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    status => status.isDirectory(),
    () => false
  )
}

function rangeOf(text: string): { start?: number; end?: number; suffix?: number } {
  const match = /^(\d*)-(\d*)$/.exec(text)
  const [start, end] = [match?.[1], match?.[2]]
  if (!match || (start === '' && end === '') || (start && end && Number(start) > Number(end))) {
    throw new UsageError(`--range: first-last, first- or -length is expected, not '${text}'`)
  }
  if (start === '') return { suffix: Number(end) }
  return { start: Number(start), ...(end !== '' && { end: Number(end) }) }
}
