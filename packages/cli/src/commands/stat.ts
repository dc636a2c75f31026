import type { Command } from 'commander'
import { addClientFlags, withClient } from '../client-command.ts'
import { bytesText, visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

export function build(command: Command, terminal: Terminal): void {
  addClientFlags(command.argument('<file>', 'file id'))
    .addHelpText('after', '\nExample:\n  tributary stat 0lx3k9v2a…\n')
    .action((file: string, flags: { json?: boolean }) =>
      withClient(flags, terminal, async run => {
        const key = run.keyOf(file)
        const { key: _key, ...facts } = await run.client.stat(key, { signal: run.signal })
        const url = run.urlOf(key)
        if (run.json) return run.print(JSON.stringify({ ...key, ...facts, url }))
        const isKnown = facts.generation !== ''
        run.print(`file        ${visibleText(file)}`)
        if (facts.name !== '') run.print(`name        ${visibleText(facts.name)}`)
        run.print(`size        ${facts.sizeBytes} bytes (${bytesText(facts.sizeBytes)})`)
        if (isKnown) {
          run.print(`type        ${visibleText(facts.mediaType)}`)
          run.print(`stored      ${new Date(facts.storedAtMs).toISOString()}`)
          run.print(`checksum    crc32 ${facts.crc32.toString(16).padStart(8, '0')}`)
          run.print(`generation  ${facts.generation}`)
        }
        run.print(`group       ${facts.group}`)
        run.print(`link        ${url}`)
      })
    )
}
