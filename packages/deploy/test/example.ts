/** The descriptions that come with the repository, and small changes to them. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { checkCluster } from '../src/cluster-check.ts'
import type { Description } from '../src/description.ts'
import { readDescription } from '../src/description-reader.ts'
import { findingText } from '../src/finding.ts'
import type { Secrets } from '../src/secrets.ts'

export type ExampleName = 'three' | 'wide'
export const EXAMPLES: readonly ExampleName[] = ['three', 'wide']

export const SECRETS: Secrets = {
  databasePassword: 'database-geheim',
  migratePassword: 'migrate-geheim',
  redisPassword: 'redis-geheim+/=',
  writeToken: 'token-geheim-1',
  clusterKey: 'cluster-geheim-that-is-long-enough-1'
}

export function exampleText(name: ExampleName): string {
  return readFileSync(
    fileURLToPath(new URL(`../../../deploy/examples/${name}.toml`, import.meta.url)),
    'utf8'
  )
}

/** @param changes texts of the example and what stands in their place; each must occur. */
export function changed(name: ExampleName, changes: readonly (readonly [string, string])[]): string {
  let text = exampleText(name)
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`the example has no ${from}`)
    text = text.replace(from, to)
  }
  return text
}

/** Every finding of a text, one line each. */
export function findingsOf(text: string): string[] {
  const { description, findings } = readDescription(text)
  return [...findings, ...checkCluster(description)].map(findingText)
}

export function descriptionOf(text: string): Description {
  const { description, findings } = readDescription(text)
  if (findings.length > 0) throw new Error(findings.map(findingText).join('\n'))
  return description
}
