/** Tells the server now and then how far a film is watched; nothing in it tells who watches. */
import type { Film } from '@tributary/gateway/contract'
import { underSignature } from '../api/http.ts'

const REPORT_EVERY_MS = 30_000
/** A shorter look is none. */
const PLAYED_S_MIN = 1
/** Between two looks at the clock of a film that plays; more is a jump. */
const STEP_S_MAX = 2

/** @returns what ends the reports, after a last one. */
export function reportPlays(
  media: HTMLMediaElement,
  { application, user, file, generation }: Film
): () => void {
  let playedS = 0
  let lastS: number | undefined
  let started = true
  /** Furthest position that was reported. */
  let before: number | undefined
  const onTime = (): void => {
    const { currentTime, playbackRate } = media
    const step = lastS === undefined ? 0 : currentTime - lastS
    if (!media.seeking && step > 0 && step <= STEP_S_MAX * Math.max(1, playbackRate)) playedS += step
    lastS = currentTime
  }
  const report = (): void => {
    if (playedS < PLAYED_S_MIN || !(media.duration > 0)) return
    const position = Math.min(1, Math.max(0, media.currentTime / media.duration))
    const body = {
      application,
      user,
      file,
      generation,
      ...(started && { started }),
      playedS: Math.round(Math.min(playedS, 3_600) * 10) / 10,
      position,
      ...(before !== undefined && { before })
    }
    before = Math.max(before ?? 0, position)
    started = false
    playedS = 0
    // Also while the page is left; whether it arrives is no viewer's concern.
    fetch(underSignature('/api/v1/plays'), {
      method: 'POST',
      keepalive: true,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body)
    }).catch(() => {})
  }
  const timer = setInterval(report, REPORT_EVERY_MS)
  media.addEventListener('timeupdate', onTime)
  media.addEventListener('ended', report)
  addEventListener('pagehide', report)
  return () => {
    report()
    clearInterval(timer)
    media.removeEventListener('timeupdate', onTime)
    media.removeEventListener('ended', report)
    removeEventListener('pagehide', report)
  }
}
