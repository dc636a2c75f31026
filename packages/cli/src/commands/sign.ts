import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import {
  filmPath,
  parseSigningKey,
  SIGNATURE_PARAMETER,
  signedPath,
  signFilm,
  type SigningKey
} from '@tributary/client'
import { addClientFlags, withClient, type ClientRun } from '../client-command.ts'
import { durationS } from '../duration-text.ts'
import { UsageError } from '../exit-code.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'

const EXPIRES_DEFAULT_S = 7 * 86_400

interface Flags {
  expires?: number
  network?: string
  keyFile?: string
  json?: boolean
}

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(
    command
      .argument('<file...>', 'file ids')
      .option('--expires <time>', 'such as 90s, 12h or 30d (default 7d)', durationS)
      .option('--network <address>', 'good for clients of this address or network only, such as 192.0.2.0/24')
      .option('--key-file <file>', 'sign with the key in it (id:secret), without asking the cluster')
  )
    .addHelpText(
      'after',
      `
One signature opens all that belongs to the film: the file, its streams, poster and subtitles. It counts
where an application's reads are 'signed' (tributary access set).

Examples:
  tributary sign my-film --expires 12h
  tributary sign my-film --json | jq -r .hls
  mpv "$(tributary sign my-film --json | jq -r .file)"
`
    )
    .action((files: string[], flags: Flags) =>
      withClient(flags, terminal, async run => {
        const key = flags.keyFile === undefined ? await keyOfCluster(run) : readKey(flags.keyFile, terminal)
        const expiresS = Math.floor(Date.now() / 1_000) + (flags.expires ?? EXPIRES_DEFAULT_S)
        for (const file of files) {
          const film = run.keyOf(file)
          const signature = signFilm(key, { film, expiresS, network: flags.network })
          const base = run.settings.httpUrl
          const parameter = `?${SIGNATURE_PARAMETER}=${signature}`
          const links = {
            watch: `${base}${filmPath('watch', film)}${parameter}`,
            file: `${base}${filmPath('files', film)}${parameter}`,
            hls: `${base}${signedPath(signature, filmPath('hls', film, 'master.m3u8'))}`,
            dash: `${base}${signedPath(signature, filmPath('dash', film, 'manifest.mpd'))}`
          }
          if (run.json) run.print(JSON.stringify({ ...film, expiresS, signature, ...links }))
          else run.print(links.watch)
        }
        if (!run.json) run.remark(`good until ${new Date(expiresS * 1_000).toISOString()}`)
      })
    )
}

async function keyOfCluster({ client, settings, signal }: ClientRun): Promise<SigningKey> {
  return client.index('keys.signing', { application: settings.application }, { signal })
}

function readKey(path: string, { folder }: Terminal): SigningKey {
  let text: string
  try {
    text = readFileSync(resolve(folder, path), 'utf8')
  } catch (error) {
    throw new UsageError(`the key cannot be read: ${sentenceOf(error)}`)
  }
  return parseSigningKey(text)
}
