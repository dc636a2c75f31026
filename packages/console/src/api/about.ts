import type { About } from '@tributary/gateway/contract'
import { ask } from './http.ts'

/** What the server says of itself, to everybody. */
export function readAbout(): Promise<About> {
  return ask<About>('/about.json')
}
