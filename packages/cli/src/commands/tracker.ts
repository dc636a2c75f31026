import type { Command } from 'commander'
import { createTracker, trackerConfig } from '@tributary/tracker'
import { buildServer } from '../server-command.ts'
import type { Terminal } from '../terminal.ts'

export function build(command: Command, terminal: Terminal): void {
  buildServer(
    command,
    terminal,
    { definition: trackerConfig, create: createTracker },
    `Example:
  tributary tracker --host 10.0.0.5 --allow 10.0.0.0/24 --database mysql://tributary@10.0.0.9/tributary`
  )
}
