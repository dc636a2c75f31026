/** The question for a token, where a request was refused without one. */
import { signal } from '@preact/signals'

export interface Question {
  /** Resolves with whether there is a session now. */
  answer(loggedIn: boolean): void
}

/** What the dialog asks; undefined: nothing. */
export const question = signal<Question | undefined>(undefined)
let asking: Promise<boolean> | undefined

/**
 * Asks once, however many requests wait for it.
 *
 * @returns whether the request may be tried again.
 */
export function askToLogIn(): Promise<boolean> {
  asking ??= new Promise<boolean>(resolve => {
    question.value = { answer: resolve }
  }).finally(() => {
    question.value = undefined
    asking = undefined
  })
  return asking
}
