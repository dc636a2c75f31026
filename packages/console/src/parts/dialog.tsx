/** A dialog over the page: Escape and a click beside it close it, and the focus goes back to where it was. */
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { texts } from '../settings.ts'
import { IconButton } from './button.tsx'
import { openDialogs, Sayings } from './sayings.tsx'

export interface DialogProps {
  title: string
  /** Runs when it was closed, by whatever means. */
  onClose(): void
  wide?: boolean
  children: ComponentChildren
}

export function Dialog({ title, onClose, wide = false, children }: DialogProps) {
  const box = useRef<HTMLDialogElement>(null)
  const titleId = useId()
  useEffect(() => {
    const dialog = box.current!
    const before = document.activeElement
    dialog.showModal()
    openDialogs.value++
    return () => {
      openDialogs.value--
      dialog.close()
      // A dialog that is taken out of the page takes the focus with it.
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true })
      else document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true })
    }
  }, [])
  return (
    <dialog
      ref={box}
      class={wide ? 'wide' : ''}
      aria-labelledby={titleId}
      onCancel={event => {
        event.preventDefault()
        onClose()
      }}
      onClick={event => {
        if (event.target === box.current) onClose()
      }}
    >
      <div class="dialog-body">
        <div class="bar">
          <h2 id={titleId} dir="auto">
            {title}
          </h2>
          <IconButton icon="close" label={texts.value.close} onClick={onClose} />
        </div>
        {children}
      </div>
      <Sayings />
    </dialog>
  )
}
