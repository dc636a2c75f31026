import { resolve } from 'node:path'
import { InvalidArgumentError, type Command } from 'commander'
import { runFsck, SETTLE_MS, type Finding, type FsckReport, type Repair } from '@tributary/storage'
import { databaseUrls } from '../database-flag.ts'
import { EXIT_CODES, QuietExit, UsageError } from '../exit-code.ts'
import { bytesText, countText, visibleText } from '../quantity-text.ts'
import type { Terminal } from '../terminal.ts'

const HOUR_MS = 3_600_000
/** Of the JSON report; grows when a field changes its meaning. */
const FORMAT = 1

interface Flags {
  database?: string
  checksums?: boolean
  rebuildIndex?: boolean
  repair?: boolean
  dryRun?: boolean
  dropMissing?: number
  orphanAge: number
  settle: number
  json?: boolean
}

export function build(command: Command, terminal: Terminal): void {
  const { port, folder } = terminal
  command
    .argument('<store...>', 'store paths')
    .option('--database <url>', 'sqlite:/path/index.db or mysql://… (TRIBUTARY_STORAGE_DATABASE)')
    .option('--checksums', 'read every file and compare its checksum; slow')
    .option(
      '--rebuild-index',
      'enter into the index what the volumes know and it does not; servers must stand still'
    )
    .option('--repair', 'finish half-done deletes, and move orphans to .lost')
    .option(
      '--drop-missing <count>',
      'with --repair: drop rows whose file is nowhere, if no more than these',
      number
    )
    .option('--orphan-age <hours>', 'with --repair: how long nobody has touched an orphan', number, 24)
    .option('--dry-run', 'with --repair: say what would be done; nothing is changed')
    .option('--settle <s>', 'how long a difference must last to be one', number, SETTLE_MS / 1_000)
    .option('--json', 'the report as JSON')
    .addHelpText(
      'after',
      `
Changes nothing without --rebuild-index or --repair. Ends with ${EXIT_CODES.found.code} where index and disk differ, repaired or not.

Examples:
  tributary fsck data/stores/group001 --database sqlite:data/index.db
  tributary fsck data/stores/group001 --database sqlite:data/index.db --repair --dry-run
  tributary fsck data/stores/group001 --database sqlite:data/index.db --rebuild-index    after the loss of the database
`
    )
    .action(async (stores: string[], flags: Flags) => {
      if (!flags.repair && (flags.dropMissing !== undefined || flags.dryRun))
        throw new UsageError('--drop-missing and --dry-run say how to --repair: give that as well')
      const output = flags.json ? new JsonOutput(port) : new TextOutput(port, flags.dryRun ?? false)
      const report = await runFsck({
        stores: stores.map(store => resolve(folder, store)),
        database: databaseUrls(flags.database, terminal, 'TRIBUTARY_STORAGE_DATABASE'),
        checksums: flags.checksums ?? false,
        rebuildIndex: flags.rebuildIndex ?? false,
        ...(flags.rebuildIndex ? {} : { settleMs: flags.settle * 1_000 }),
        ...(flags.repair
          ? {
              repair: {
                dryRun: flags.dryRun ?? false,
                orphanAgeMs: flags.orphanAge * HOUR_MS,
                dropMissingMax: flags.dropMissing ?? 0
              }
            }
          : {}),
        onFinding: finding => output.finding(finding),
        onRepair: repair => output.repair(repair)
      })
      output.end(report)
      if (report.differences > 0) throw new QuietExit(EXIT_CODES.found.code)
    })
}

interface Output {
  finding(finding: Finding): void
  repair(repair: Repair): void
  end(report: FsckReport): void
}

/** What is found is told at once, and what was counted at the end: neither is kept. */
class TextOutput implements Output {
  readonly #port: Terminal['port']
  readonly #isDry: boolean

  constructor(port: Terminal['port'], isDry: boolean) {
    this.#port = port
    this.#isDry = isDry
  }

  finding({ kind, path, file, detail }: Finding): void {
    this.#line([kind, path, file, detail])
  }

  repair({ action, path, file, detail }: Repair): void {
    const isDone = action !== 'refused' && !this.#isDry
    this.#line([isDone ? action : action === 'refused' ? action : `would be ${action}`, path, file, detail])
  }

  end({ stores, others, rebuilt, differences, repairs, refused }: FsckReport): void {
    for (const { root, group, files, bytes, rows, journals } of stores) {
      this.#port.writeOut(
        `${root} (${group}): ${countText(files, 'file')}, ${bytesText(bytes)}, ${countText(rows, 'row')}\n`
      )
      if (journals.damaged > 0)
        this.#port.writeOut(`${root}: ${journals.damaged} damaged places in ${journals.files} journals\n`)
    }
    for (const { store, group } of others) {
      this.#port.writeOut(`not looked at: store ${store} of ${visibleText(group)}\n`)
    }
    if (rebuilt) {
      const { inserted, already, removed, conflicts, journalDamage, trash } = rebuilt
      this.#port.writeOut(
        `index: ${countText(inserted, 'row')} entered, ${already} were there, ${removed} of deleted files removed, ${conflicts} in conflict, ${trash} in or out of the trash; ${journalDamage} damaged journal records\n`
      )
    }
    if (repairs + refused > 0)
      this.#port.writeOut(`${repairs} ${this.#isDry ? 'would be ' : ''}repaired, ${refused} refused\n`)
    this.#port.writeOut(
      differences === 0 ? 'index and disk agree\n' : `${countText(differences, 'difference')}\n`
    )
  }

  #line(parts: readonly string[]): void {
    this.#port.writeOut(
      `${parts
        .filter(part => part !== '')
        .map(visibleText)
        .join('  ')}\n`
    )
  }
}

/** One object, written as it grows: an element of `findings` and `repairs` is a line. */
class JsonOutput implements Output {
  readonly #port: Terminal['port']
  #open: 'findings' | 'repairs' = 'findings'
  #isFirst = true

  constructor(port: Terminal['port']) {
    this.#port = port
    port.writeOut(`{"format":${FORMAT},\n"findings":[`)
  }

  finding({ kind, store, path, file, detail }: Finding): void {
    this.#element({ kind, store, path, file, detail })
  }

  repair({ action, store, path, file, detail }: Repair): void {
    this.#openRepairs()
    this.#element({ action, store, path, file, detail })
  }

  end({ stores, others, rebuilt, differences, repairs, refused }: FsckReport): void {
    this.#openRepairs()
    const rest = JSON.stringify({
      stores,
      others,
      rebuilt: rebuilt ?? null,
      differences,
      repaired: repairs,
      refused
    })
    this.#port.writeOut(`],\n${rest.slice(1)}\n`)
  }

  #openRepairs(): void {
    if (this.#open === 'repairs') return
    this.#port.writeOut('],\n"repairs":[')
    this.#open = 'repairs'
    this.#isFirst = true
  }

  #element(value: object): void {
    this.#port.writeOut(`${this.#isFirst ? '' : ','}\n${JSON.stringify(value)}`)
    this.#isFirst = false
  }
}

function number(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('a number that is not negative is expected')
  return value
}
