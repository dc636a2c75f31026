/** What every part of the page of access begins with: what it is for, what can be added, and what went wrong. */
import type { ComponentChildren } from 'preact'

export interface TabHeadProps {
  hint: string
  trouble: string
  /** Its button. */
  children?: ComponentChildren
}

export function TabHead({ hint, trouble, children }: TabHeadProps) {
  return (
    <>
      <div class="tab-head">
        <p class="facts">{hint}</p>
        {children}
      </div>
      {trouble !== '' && (
        <p class="note bad" role="alert">
          {trouble}
        </p>
      )}
    </>
  )
}
