/** Clients of a cluster that `up` runs: six through the library, two by HTTP. */
import { httpDoor, libraryDoor, type Door } from '../testkit/door.ts'
import type { RunningUp } from '../testkit/up.ts'

const LIBRARY_CLIENTS = 6
const HTTP_CLIENTS = 2

export function doorsOf(up: RunningUp): Door[] {
  const library = Array.from({ length: LIBRARY_CLIENTS }, () => libraryDoor(up.client()))
  const http = Array.from({ length: HTTP_CLIENTS }, () => httpDoor(up.httpUrl))
  return [...library, ...http]
}
