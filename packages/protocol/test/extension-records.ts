/**
 * Bodies of extension commands as programs of this and earlier versions write them, kept for ever: what was released must
 * be read by all that come after. Run by itself it records bodies that are new, and leaves those that are there as they
 * are: `node scripts/run.mjs packages/protocol/test/extension-records.ts`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { extension, type FieldTable } from '../src/index.ts'

const FILE = new URL('../vectors/extensions.json', import.meta.url)
/** Digits that tell fields apart, and exercise both halves of a u64. */
const U64_STEP = 0x1_0000_0001

export interface ExtensionRecord {
  body: string
  /** `full`: with every field. `least`: without the optional ones, as a peer that does not know them. */
  kind: 'full' | 'least'
  fields: Record<string, unknown>
  hex: string
}

interface AnyCodec {
  table: FieldTable
  encode(value: Record<string, unknown>): Buffer
  decode(bytes: Buffer): Record<string, unknown>
}

export const CODECS: ReadonlyMap<string, AnyCodec> = new Map(
  Object.entries(extension).filter(
    ([, value]) => typeof value === 'object' && 'decode' in value
  ) as unknown as [string, AnyCodec][]
)

export function readRecords(): ExtensionRecord[] {
  return (JSON.parse(readFileSync(FILE, 'utf8')) as { records: ExtensionRecord[] }).records
}

/** Those of today's bodies that nobody recorded yet. */
export function missingRecords(records: readonly ExtensionRecord[]): ExtensionRecord[] {
  const missing: ExtensionRecord[] = []
  for (const [body, codec] of CODECS) {
    for (const kind of ['full', 'least'] as const) {
      if (records.some(record => record.body === body && record.kind === kind)) continue
      const fields = sample(codec.table, kind === 'full')
      missing.push({ body, kind, fields, hex: codec.encode(fields).toString('hex') })
    }
  }
  return missing
}

function sample(table: FieldTable, isFull: boolean): Record<string, unknown> {
  const wanted = Object.entries(table).filter(([, { optional }]) => isFull || !optional)
  return Object.fromEntries(
    wanted.map(([name, { tag, type }]) => {
      if (typeof type !== 'string') return [name, isFull ? [sample(type, true), sample(type, false)] : []]
      const value = {
        u64: tag * U64_STEP,
        u32: tag * 1_000,
        flag: tag % 2 === 1,
        text: `${name} ü`,
        hex: `00ff${String(tag).padStart(4, '0')}`
      }
      return [name, value[type]]
    })
  )
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  let records: ExtensionRecord[] = []
  try {
    records = readRecords()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const missing = missingRecords(records)
  writeFileSync(FILE, `${JSON.stringify({ records: [...records, ...missing] }, undefined, 2)}\n`)
  console.log(`${missing.length} recorded, ${records.length} were there`)
}
