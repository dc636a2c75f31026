#!/usr/bin/env node
/** Entry of the command. The one file here that knows the process. */
import { homedir } from 'node:os'
import { isatty } from 'node:tty'
import { processPort } from '@tributary/runtime'
import { runCommand } from './run-command.ts'
import type { Terminal } from './terminal.ts'

const COLUMNS_DEFAULT = 80

const terminal: Terminal = {
  port: processPort(process),
  get stdin() {
    return process.stdin // opened only by the commands that read it
  },
  stdout: process.stdout,
  stderrIsTty: process.stderr.isTTY === true,
  stdoutIsTty: process.stdout.isTTY === true,
  nodeVersion: process.versions.node,
  hasTerminal: [0, 1, 2].some(isatty),
  columns: () => process.stderr.columns ?? COLUMNS_DEFAULT,
  folder: process.cwd(),
  homeFolder: homedir(),
  signal: (pid, name) => void process.kill(pid, name),
  isAlive(pid) {
    try {
      process.kill(pid, 0)
      return true
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EPERM' // there, but somebody else's
    }
  }
}

const exitCode = await runCommand(terminal.port.args, terminal)
if (exitCode !== 0 && process.exitCode === undefined) process.exitCode = exitCode
// Standard input may still be open; what was written is flushed first.
process.stdout.write('', () => process.exit())
