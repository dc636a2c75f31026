import { deepEqual, equal, ok } from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { COMMANDS, extension, type Command, type FieldTable } from '../src/index.ts'

const DOCUMENT = readFileSync(new URL('../../../docs/PROTOCOL.md', import.meta.url), 'utf8')
const TARGETS = { tracker: 'tracker', id: 'ID server', storage: 'storage server' }

function cellsOf(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map(cell => cell.trim())
}

/** Rows of the table below the heading of a body. */
function rowsOf(name: string): string[][] {
  const [, section] = DOCUMENT.split(`#### \`${name}\`\n`)
  ok(section, `there is a section for ${name}`)
  return section
    .split(/^#/m)[0]!
    .split('\n')
    .filter(line => /^\| \d+ \|/.test(line))
    .map(cellsOf)
}

function checkTable(name: string, table: FieldTable, seen: Set<string>): void {
  if (seen.has(name)) return
  seen.add(name)
  const rows = rowsOf(name)
  const entries = Object.entries(table)
  deepEqual(
    rows.map(([tag, field]) => `${tag} ${field}`).toSorted(),
    entries.map(([field, { tag }]) => `${tag} \`${field}\``).toSorted(),
    name
  )
  for (const [tag, , type, present] of rows) {
    const [, spec] = entries.find(([, { tag: number }]) => `${number}` === tag)!
    equal(present, spec.optional ? 'optional' : 'always', `${name} ${tag}`)
    if (typeof spec.type === 'string') equal(type, spec.type, `${name} ${tag}`)
    else {
      const entry = /^list of `(\w+)`$/.exec(type!)
      ok(entry, `${name} ${tag} says what it is a list of`)
      checkTable(entry[1]!, spec.type, seen)
    }
  }
}

describe('docs/PROTOCOL.md', () => {
  const seen = new Set<string>()
  for (const [name, codec] of Object.entries({ ...extension } as Record<string, unknown>)) {
    const table = (codec as { table?: FieldTable } | undefined)?.table
    if (!table || name === 'fileFacts') continue // the facts are spelled out where they are used
    it(`has every tag of ${name}, with its type and presence`, () => checkTable(name, table, seen))
  }

  it('has every command, with its code and who answers it', () => {
    const rows = DOCUMENT.split('\n')
      .filter(line => /^\| \d+ \| [A-Z_]+ \|/.test(line))
      .map(line => cellsOf(line).slice(0, 3).join(' '))
    const commands = Object.entries(COMMANDS) as [string, Command][]
    deepEqual(
      rows.toSorted(),
      commands.map(([name, { code, role }]) => `${code} ${name} ${TARGETS[role]}`).toSorted()
    )
  })
})
