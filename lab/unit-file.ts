/** Unit files as systemd reads them: the fragment first, then its drop-ins; see systemd.syntax(7). */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Earlier folders win. */
const UNIT_FOLDERS = ['/etc/systemd/system', '/run/systemd/system', '/lib/systemd/system']
const TIME_UNIT_MS: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1_000,
  sec: 1_000,
  second: 1_000,
  seconds: 1_000,
  m: 60_000,
  min: 60_000,
  minute: 60_000,
  minutes: 60_000,
  h: 3_600_000,
  hr: 3_600_000,
  hour: 3_600_000,
  hours: 3_600_000,
  '': 1_000
}

/** What a unit's files say: `Section.Key` → its values, in the order of the lines. */
export class UnitFile {
  readonly name: string
  readonly #values = new Map<string, string[]>()

  constructor(name: string) {
    this.name = name
  }

  /** Reads one more file over what is there. An empty value forgets those before it, as in systemd. */
  add(text: string): this {
    let section = ''
    // a comment between continued lines belongs to neither
    const lines = text
      .split('\n')
      .filter(line => !/^\s*[#;]/.test(line))
      .join('\n')
      .replace(/\\\n/g, ' ')
      .split('\n')
    for (const line of lines) {
      const heading = /^\s*\[(.+)\]\s*$/.exec(line)
      if (heading) section = heading[1]!
      const assignment = /^\s*([A-Za-z]+)\s*=\s*(.*?)\s*$/.exec(line)
      if (!assignment) continue
      const key = `${section}.${assignment[1]}`
      if (assignment[2] === '') this.#values.set(key, [])
      else this.#values.set(key, [...(this.#values.get(key) ?? []), assignment[2]!])
    }
    return this
  }

  /** Every value given for the key, such as `Service.ExecStartPre`. */
  list(key: string): readonly string[] {
    return this.#values.get(key) ?? []
  }

  /** Every value of the key, cut at blanks: `After=a b` and `After=c` are three. */
  words(key: string): string[] {
    return this.list(key).flatMap(value => value.split(/\s+/).filter(Boolean))
  }

  /** The last value given; undefined where there is none. */
  text(key: string): string | undefined {
    return this.list(key).at(-1)
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.text(key)
    return value === undefined ? otherwise : /^(1|yes|true|on)$/i.test(value)
  }

  /** Milliseconds of a time span such as `5s` or `1min 30s`; Infinity for `infinity`. */
  durationMs(key: string, otherwiseMs: number): number {
    const value = this.text(key)
    return value === undefined ? otherwiseMs : durationMsOf(value)
  }
}

/** @throws {RangeError} it is no time span. */
export function durationMsOf(text: string): number {
  if (text === 'infinity') return Infinity
  let totalMs = 0
  const rest = text.replace(/(\d+(?:\.\d+)?)\s*([a-z]*)/g, (_, count: string, unit: string) => {
    const unitMs = TIME_UNIT_MS[unit]
    if (unitMs === undefined) throw new RangeError(`${text} is no time span`)
    totalMs += Number(count) * unitMs
    return ''
  })
  if (rest.trim() !== '') throw new RangeError(`${text} is no time span`)
  return totalMs
}

/**
 * Reads a unit by its name with its drop-ins.
 *
 * @throws there is no such unit
 */
export async function readUnit(name: string, folders: readonly string[] = UNIT_FOLDERS): Promise<UnitFile> {
  const unit = new UnitFile(name)
  let isFound = false
  const dropIns = new Map<string, string>()
  for (const folder of folders) {
    const text = await readFile(join(folder, name), 'utf8').catch(() => undefined)
    if (text !== undefined && !isFound) {
      unit.add(text)
      isFound = true
    }
    const names = await readdir(join(folder, `${name}.d`)).catch(() => [])
    for (const file of names)
      if (file.endsWith('.conf') && !dropIns.has(file)) dropIns.set(file, join(folder, `${name}.d`, file))
  }
  if (!isFound) throw new Error(`there is no unit ${name}`)
  for (const [, path] of [...dropIns].sort(([one], [other]) => (one < other ? -1 : 1)))
    unit.add(await readFile(path, 'utf8'))
  return unit
}

/** The mount unit of a path, as `systemd-escape --path --suffix=mount` names it. */
export function mountUnitOf(path: string): string {
  const escaped = path
    .split('/')
    .filter(Boolean)
    .map(part => part.replace(/[^A-Za-z0-9:_.]/g, character => `\\x${character.charCodeAt(0).toString(16)}`))
    .join('-')
  return `${escaped}.mount`
}
