/** A question before something that cannot be undone. */
import { signal } from '@preact/signals'
import { texts } from '../settings.ts'
import { Dialog } from './dialog.tsx'

interface Question {
  title: string
  hint: string
  /** What it is about. */
  name: string
  yes: string
  answer(yes: boolean): void
}

const asked = signal<Question | undefined>(undefined)

export function confirm(question: Omit<Question, 'answer'>): Promise<boolean> {
  return new Promise(resolve => {
    asked.value = {
      ...question,
      answer: yes => {
        asked.value = undefined
        resolve(yes)
      }
    }
  })
}

export function Confirmation() {
  const question = asked.value
  if (!question) return null
  const { title, hint, name, yes, answer } = question
  return (
    <Dialog title={title} onClose={() => answer(false)}>
      {name !== '' && (
        <p class="name" dir="auto">
          {name}
        </p>
      )}
      <p>{hint}</p>
      <div class="row end">
        <button type="button" onClick={() => answer(false)}>
          {texts.value.keep}
        </button>
        <button type="button" class="danger" onClick={() => answer(true)}>
          {yes}
        </button>
      </div>
    </Dialog>
  )
}
