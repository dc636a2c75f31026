import type { Command } from 'commander'
import { createWorker, workerConfig } from '@tributary/worker'
import { buildServer } from '../server-command.ts'
import type { Terminal } from '../terminal.ts'

export function build(command: Command, terminal: Terminal): void {
  buildServer(
    command,
    terminal,
    {
      definition: workerConfig,
      create: parts => createWorker({ ...parts, path: parts.port.env['PATH'] ?? '' })
    },
    `Examples:
  tributary worker --trackers 10.0.0.5:21000,10.0.0.6:21000
  tributary worker --trackers 10.0.0.5:21000 --profiles 1080p,720p,360p --jobs-max 4`
  )
}
