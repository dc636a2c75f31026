import { readFileSync } from 'node:fs'

/** Version of this program, from its manifest, which stands beside src/ and dist/ alike. */
export function programVersion(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}
