/** Places in lists that are ordered by time and id. */
import { RejectedError } from '@tributary/protocol'

export function placeText(atMs: number, id: string): string {
  return `${atMs}.${id}`
}

/** @throws {RejectedError} BAD_FIELD: it is none. */
export function placeOf(text: string | undefined): { atMs: number; id: string } | undefined {
  if (text === undefined || text === '') return undefined
  const [, time, id] = /^([0-9]{1,15})\.([0-9a-z]{1,64})$/.exec(text) ?? []
  if (time === undefined || id === undefined) {
    throw new RejectedError('BAD_FIELD', 'this is no place in a list')
  }
  return { atMs: Number(time), id }
}
