/** A button that opens a list of actions. Arrow keys move in it, letters are left to the browser, Escape closes it. */
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { Icon, type IconName } from './icon.tsx'

export interface MenuItem {
  label: string
  icon: IconName
  /** A link, where it leads somewhere. */
  href?: string
  download?: boolean
  bad?: boolean
  act?(): void
}

const EDGE_PX = 8

export function Menu({ label, items, icon = 'more' }: { label: string; items: MenuItem[]; icon?: IconName }) {
  const [open, setOpen] = useState(false)
  const button = useRef<HTMLButtonElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const id = useId()

  useEffect(() => {
    if (!open) return
    const menu = list.current!
    menu.showPopover()
    place(menu, button.current!)
    itemsOf(menu)[0]?.focus()
    const onToggle = (event: ToggleEvent): void => {
      if (event.newState === 'closed') setOpen(false)
    }
    const onScroll = (): void => menu.hidePopover()
    menu.addEventListener('toggle', onToggle)
    addEventListener('scroll', onScroll, { passive: true, once: true })
    return () => {
      menu.removeEventListener('toggle', onToggle)
      removeEventListener('scroll', onScroll)
    }
  }, [open])

  const close = (): void => {
    list.current?.hidePopover()
    button.current?.focus({ preventScroll: true })
  }
  return (
    <>
      <button
        ref={button}
        type="button"
        class="icon-button"
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(true)}
      >
        <Icon name={icon} />
      </button>
      {open && (
        <div
          ref={list}
          id={id}
          class="menu"
          popover="auto"
          role="menu"
          aria-label={label}
          onKeyDown={event => {
            const all = itemsOf(list.current!)
            const at = all.indexOf(document.activeElement as HTMLElement)
            const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key]
            if (to !== undefined) {
              event.preventDefault()
              all.at(to % all.length)?.focus()
            } else if (event.key === 'Escape' || event.key === 'Tab') {
              event.preventDefault()
              event.stopPropagation()
              close()
            }
          }}
        >
          {items.map(item => {
            const inner = (
              <>
                <Icon name={item.icon} />
                <span>{item.label}</span>
              </>
            )
            const kind = item.bad ? 'menu-item bad' : 'menu-item'
            return item.href === undefined ? (
              <button
                key={item.label}
                type="button"
                role="menuitem"
                tabIndex={-1}
                class={kind}
                onClick={() => {
                  close()
                  item.act?.()
                }}
              >
                {inner}
              </button>
            ) : (
              <a
                key={item.label}
                role="menuitem"
                tabIndex={-1}
                class={kind}
                href={item.href}
                download={item.download ? '' : undefined}
                onClick={close}
              >
                {inner}
              </a>
            )
          })}
        </div>
      )}
    </>
  )
}

function itemsOf(menu: HTMLElement): HTMLElement[] {
  return [...menu.querySelectorAll<HTMLElement>('[role="menuitem"]')]
}

/** Below the button where there is room, else above it; never over the window's edge. */
function place(menu: HTMLElement, button: HTMLElement): void {
  const from = button.getBoundingClientRect()
  const { width, height } = menu.getBoundingClientRect()
  const below = from.bottom + 4
  const top = below + height + EDGE_PX > innerHeight ? Math.max(EDGE_PX, from.top - height - 4) : below
  menu.style.top = `${top}px`
  menu.style.left = `${Math.max(EDGE_PX, Math.min(from.right - width, innerWidth - width - EDGE_PX))}px`
}
