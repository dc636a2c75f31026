/** The recorded vectors, as bytes. */
import { readFileSync } from 'node:fs'

export interface Vector {
  name: string
  request: Buffer
  reply: Buffer
}

const recorded = JSON.parse(readFileSync(new URL('../vectors/recorded.json', import.meta.url), 'utf8')) as {
  vectors: { name: string; request: string; reply: string }[]
}

export const VECTORS: readonly Vector[] = recorded.vectors.map(({ name, request, reply }) => ({
  name,
  request: Buffer.from(request, 'hex'),
  reply: Buffer.from(reply, 'hex')
}))

export function vector(name: string): Vector {
  const found = VECTORS.find(candidate => candidate.name === name)
  if (!found) throw new Error(`no vector ${name}`)
  return found
}
