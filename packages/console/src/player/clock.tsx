/** How far the film is, and how long, in the controls: rounded as everywhere else, so that its card does not say another length. */
import type { RefObject } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { formatDuration } from '../format.ts'

const CHANGES = ['timeupdate', 'durationchange', 'seeking', 'emptied', 'progress'] as const

/** The seek bar tells it to screen readers. */
export function Clock({ media }: { media: RefObject<HTMLMediaElement | null> }) {
  const [text, setText] = useState('0:00')
  useEffect(() => {
    const film = media.current!
    const look = (): void => setText(clockText(film.currentTime, lengthOf(film)))
    for (const change of CHANGES) film.addEventListener(change, look)
    look()
    return () => {
      for (const change of CHANGES) film.removeEventListener(change, look)
    }
  }, [])
  return (
    <span class="clock" aria-hidden="true">
      {text}
    </span>
  )
}

function clockText(second: number, lengthS: number): string {
  return lengthS > 0 ? `${formatDuration(second)} / ${formatDuration(lengthS)}` : formatDuration(second)
}

/** Of one that still arrives, what is there. 0: not known. */
function lengthOf({ duration, seekable }: HTMLMediaElement): number {
  if (Number.isFinite(duration)) return duration
  return seekable.length > 0 ? seekable.end(seekable.length - 1) : 0
}
