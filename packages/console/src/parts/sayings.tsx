/** What has just happened, told on the screen and to screen readers; sometimes with a way back. */
import { signal } from '@preact/signals'
import { texts } from '../settings.ts'
import { IconButton } from './button.tsx'

/** Long enough to be read, or to change one's mind. */
const SAID_MS = 5_000
const OFFERED_MS = 12_000
const SAYINGS_MAX = 3

interface Saying {
  id: number
  text: string
  bad: boolean
  offer: { label: string; act(): void } | undefined
}

const sayings = signal<readonly Saying[]>([])
/** What lies outside of an open dialog is dead to pointers and screen readers alike: sayings are then shown within. */
export const openDialogs = signal(0)
let lastId = 0

export function say(
  text: string,
  { bad = false, offer }: { bad?: boolean; offer?: Saying['offer'] } = {}
): void {
  const id = ++lastId
  sayings.value = [...sayings.value, { id, text, bad, offer }].slice(-SAYINGS_MAX)
  setTimeout(() => forget(id), offer ? OFFERED_MS : SAID_MS)
}

function forget(id: number): void {
  sayings.value = sayings.value.filter(saying => saying.id !== id)
}

export function Sayings() {
  return (
    <div class="sayings" role="status" aria-live="polite">
      {sayings.value.map(({ id, text, bad, offer }) => (
        <div key={id} class={bad ? 'saying bad' : 'saying'}>
          <span dir="auto">{text}</span>
          {offer && (
            <button
              type="button"
              onClick={() => {
                forget(id)
                offer.act()
              }}
            >
              {offer.label}
            </button>
          )}
          <IconButton icon="close" label={texts.value.close} onClick={() => forget(id)} />
        </div>
      ))}
    </div>
  )
}
