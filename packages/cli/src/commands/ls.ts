import type { Command } from 'commander'
import type { ListedFile } from '@tributary/protocol'
import { addClientFlags, wholeNumber, withClient } from '../client-command.ts'
import { bytesText, visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

interface Flags {
  after?: string
  limit?: number
  json?: boolean
}
const PAGE_FILES = 1_000

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(
    command
      .option('--after <file>', 'only ids after this one')
      .option('-n, --limit <count>', 'at most so many', wholeNumber)
  )
    .addHelpText(
      'after',
      `
Sorted by file id; ids that tributary makes sort by the time of the upload.

Examples:
  tributary ls
  tributary ls --user anna --json | jq -r .file
`
    )
    .action((flags: Flags) =>
      withClient(flags, terminal, async run => {
        const { application, user } = run.settings
        let after = flags.after ?? ''
        let left = flags.limit ?? Infinity
        for (let more = left > 0; more && left > 0;) {
          const limit = Math.min(PAGE_FILES, left)
          const page = await run.client.list({ application, user, after, limit, signal: run.signal })
          for (const file of page.files) {
            run.print(
              run.json ? JSON.stringify({ ...file, url: run.urlOf(run.keyOf(file.file)) }) : lineOf(file)
            )
          }
          left -= page.files.length
          after = page.files.at(-1)?.file ?? ''
          more = page.more && page.files.length > 0
        }
      })
    )
}

function lineOf({ file, sizeBytes, storedAtMs, mediaType, name }: ListedFile): string {
  const at = new Date(storedAtMs).toISOString().slice(0, 16).replace('T', ' ')
  return `${bytesText(sizeBytes).padStart(9)}  ${at}  ${visibleText(file)}  ${visibleText(mediaType)}  ${visibleText(name)}`
}
