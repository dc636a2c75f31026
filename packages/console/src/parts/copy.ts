/** Text into the clipboard, and the news of it. */
import { texts } from '../settings.ts'
import { say } from './sayings.tsx'

/** @param field  shows the text; is selected where the browser does not let us copy. */
export async function copy(
  text: string,
  said: string = texts.value.copied,
  field?: HTMLInputElement | null
): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
    say(said)
  } catch {
    field?.select()
    say(texts.value.copyFailed, { bad: true })
  }
}
