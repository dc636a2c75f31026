/** Lines of the children, readable and told apart; quiet unless something is wrong. */
import { formatLogLine } from '@tributary/runtime'

const WORTH_TELLING = new Set(['warn', 'error', 'fatal'])

export interface ChildLogOptions {
  /** Tells everything. */
  verbose: boolean
  colour: boolean
  write: (text: string) => void
}

/** Takes a line that the child called `name` wrote. */
export function tellChildLine(name: string, line: string, { verbose, colour, write }: ChildLogOptions): void {
  let fields: { level?: unknown; name?: unknown }
  try {
    fields = JSON.parse(line) as typeof fields
  } catch {
    if (verbose || !isNoise(line)) write(`${name}: ${line}\n`)
    return
  }
  if (fields === null || typeof fields !== 'object') return write(`${name}: ${line}\n`)
  if (!verbose && !WORTH_TELLING.has(String(fields.level))) return
  write(formatLogLine(JSON.stringify({ ...fields, name }), { colour }))
}

/** Node's own remarks about features it calls experimental say nothing to whoever runs a cluster. */
function isNoise(line: string): boolean {
  return line.trim() === '' || /ExperimentalWarning|--trace-warnings/.test(line)
}
