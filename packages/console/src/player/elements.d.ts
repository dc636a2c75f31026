// What the player's controls are called in JSX, and what they can be told.
import type { HTMLAttributes } from 'preact'

interface Control extends HTMLAttributes<HTMLElement> {
  anchor?: string
  audio?: boolean | undefined
  keyboardforwardseekoffset?: string
  keyboardbackwardseekoffset?: string
  noautohide?: boolean
  rates?: string
  seekoffset?: string
}

declare module 'preact' {
  // oxlint-disable-next-line typescript/no-namespace -- this is how JSX is told
  namespace JSX {
    interface IntrinsicElements {
      [name: `media-${string}`]: Control
    }
  }
}
