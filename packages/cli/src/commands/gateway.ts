import type { Command } from 'commander'
import { createGateway, gatewayConfig } from '@tributary/gateway'
import { Metrics } from '@tributary/runtime'
import { buildServer } from '../server-command.ts'
import type { Terminal } from '../terminal.ts'

export function build(command: Command, terminal: Terminal): void {
  buildServer(
    command,
    terminal,
    {
      definition: gatewayConfig,
      create: ({ port, ...parts }) => {
        const metrics = new Metrics('gateway')
        metrics.addProcess(port)
        return createGateway({ ...parts, metrics })
      }
    },
    `Example:
  tributary gateway --trackers 10.0.0.5:21000,10.0.0.6:21000 --host 10.0.0.7 --allow private --write-token-file token`
  )
}
