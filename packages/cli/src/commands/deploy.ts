import { relative, resolve } from 'node:path'
import type { Command } from 'commander'
import {
  checkDescriptions,
  deployCluster,
  DescriptionError,
  findingText,
  type Rendered
} from '@tributary/deploy'
import { EXIT_CODES, QuietExit } from '../exit-code.ts'
import type { Terminal } from '../terminal.ts'

/** Changed files that are told one by one; more are told by their number. */
const FILES_SHOWN_MAX = 20

export function build(command: Command, terminal: Terminal): void {
  const { port, folder } = terminal
  command.addHelpText(
    'after',
    `
Examples:
  tributary deploy check cluster.toml
  tributary deploy render cluster.toml --out cluster    then read cluster/README.md
`
  )
  command
    .command('check')
    .description('Find what cannot work in descriptions of clusters, each by itself and against each other.')
    .argument('<file...>', 'descriptions in TOML')
    .option('--json', 'as JSON')
    .action(async (files: string[], flags: { json?: boolean }) => {
      const checked = await checkDescriptions(files.map(file => resolve(folder, file)))
      const findings = checked.flatMap(({ path, findings }) =>
        findings.map(finding => ({ file: path === '' ? '' : relative(folder, path) || path, ...finding }))
      )
      const errors = findings.filter(({ severity }) => severity === 'error').length
      if (flags.json) port.writeOut(`${JSON.stringify({ ok: errors === 0, findings })}\n`)
      else {
        for (const { file, ...finding } of findings) {
          port.writeError(`${files.length > 1 && file !== '' ? `${file}: ` : ''}${findingText(finding)}\n`)
        }
        port.writeOut(
          `${errors === 0 ? 'can work' : 'cannot work'}: ${errors} errors, ${findings.length - errors} warnings\n`
        )
      }
      if (errors > 0) throw new QuietExit(EXIT_CODES.usage.code)
    })
  command
    .command('render')
    .description(
      'Write the files of every host of a cluster, the steps of its first start, and what a change of it needs.'
    )
    .argument('<file>', 'description in TOML')
    .requiredOption('-o, --out <folder>', 'where to; an earlier rendering in it is brought up to date')
    .option('--json', 'what was done, as JSON')
    .action(async (file: string, flags: { out: string; json?: boolean }) => {
      const out = resolve(folder, flags.out)
      try {
        const rendered = await deployCluster(resolve(folder, file), out)
        if (flags.json) {
          const { plan: _, ...report } = rendered
          port.writeOut(`${JSON.stringify(report)}\n`)
        } else tell(terminal, rendered, flags.out)
      } catch (error) {
        if (!(error instanceof DescriptionError)) throw error
        if (flags.json) port.writeOut(`${JSON.stringify({ ok: false, findings: error.findings })}\n`)
        else port.writeError(`${error.message}\n`)
        throw new QuietExit(EXIT_CODES.usage.code)
      }
    })
}

function tell(
  { port }: Terminal,
  { findings, written, scripts, notes, secretsFile }: Rendered,
  out: string
): void {
  const say = (line: string): void => port.writeOut(`${line}\n`)
  for (const finding of findings) port.writeError(`${findingText(finding)}\n`)
  if (secretsFile !== undefined) say(`made secrets in ${secretsFile}: keep it`)
  const { created, changed, removed } = written
  const rows = [
    ...created.map(path => `new      ${path}`),
    ...changed.map(path => `changed  ${path}`),
    ...removed.map(path => `removed  ${path}`)
  ]
  for (const row of rows.slice(0, FILES_SHOWN_MAX)) say(row)
  if (rows.length > FILES_SHOWN_MAX) say(`… and ${rows.length - FILES_SHOWN_MAX} more`)
  say(rows.length === 0 ? `${out} was up to date` : `${out}: read ${out}/README.md`)
  for (const note of notes) say(`to do: ${note}`)
  if (scripts.length > 0) say('not deleted yet, in their order:')
  for (const script of scripts) say(`  ${out}/${script}`)
}
