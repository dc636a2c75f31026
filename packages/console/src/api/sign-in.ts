/** The token that this tab gives with its writes, and the question for it. */
import { signal } from '@preact/signals'

const KEY = 'tributary-write-token'

export interface Question {
  /** The one given before was refused. */
  wrong: boolean
  answer(token: string | undefined): void
}

/** What the dialog asks; undefined: nothing. */
export const question = signal<Question | undefined>(undefined)
let asking: Promise<string | undefined> | undefined

/** Empty: none. Kept until the tab is closed. */
export function keptToken(): string {
  try {
    return sessionStorage.getItem(KEY) ?? ''
  } catch {
    return ''
  }
}

/**
 * Asks once, however many requests wait for it.
 *
 * @param refused  the token that was given.
 * @returns whether there is another one now.
 */
export async function askForToken(refused: string, again: boolean): Promise<boolean> {
  if (keptToken() !== refused) return true // somebody else was asked meanwhile
  asking ??= new Promise<string | undefined>(resolve => {
    question.value = { wrong: again || refused !== '', answer: resolve }
  }).finally(() => {
    question.value = undefined
    asking = undefined
  })
  const given = await asking
  if (!given) return false
  try {
    sessionStorage.setItem(KEY, given)
  } catch {
    return false
  }
  return true
}
