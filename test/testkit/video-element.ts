/** What a test does with a `<video>` in a page. */
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Locator } from 'playwright-core'
import { pictureOf } from './picture.ts'

const PATIENCE_MS = 20_000
const POLL_MS = 50

/** The little of the browser's element that is read here. */
interface Video {
  currentTime: number
  duration: number
  videoWidth: number
  videoHeight: number
  paused: boolean
  seeking: boolean
  readyState: number
  controls: boolean
  error: { message: string; code: number } | null
  play(): Promise<void>
  pause(): void
  getVideoPlaybackQuality(): { totalVideoFrames: number }
}

export interface VideoState {
  currentTime: number
  duration: number
  videoWidth: number
  videoHeight: number
  paused: boolean
  frames: number
  error: string
}

export class VideoElement {
  readonly locator: Locator

  constructor(locator: Locator) {
    this.locator = locator
  }

  state(): Promise<VideoState> {
    return this.locator.evaluate(element => {
      const video = element as unknown as Video
      return {
        currentTime: video.currentTime,
        duration: video.duration,
        videoWidth: video.videoWidth,
        videoHeight: video.videoHeight,
        paused: video.paused,
        frames: video.getVideoPlaybackQuality().totalVideoFrames,
        error: video.error ? `${video.error.code} ${video.error.message}` : ''
      }
    })
  }

  play(): Promise<void> {
    return this.locator.evaluate(element => (element as unknown as Video).play())
  }

  pause(): Promise<void> {
    return this.locator.evaluate(element => (element as unknown as Video).pause())
  }

  seek(second: number): Promise<void> {
    return this.locator.evaluate((element, to) => {
      const video = element as unknown as Video
      video.currentTime = to
    }, second)
  }

  /** @throws it did not come so far in time, or broke. */
  async until(reached: (state: VideoState) => boolean, what: string): Promise<VideoState> {
    const endMs = performance.now() + PATIENCE_MS
    for (;;) {
      const state = await this.state()
      if (state.error) throw new Error(`the video broke: ${state.error}`)
      if (reached(state)) return state
      if (performance.now() > endMs) throw new Error(`the video never ${what}: ${JSON.stringify(state)}`)
      await sleep(POLL_MS)
    }
  }

  /** Plays on from wherever it is for so long, with new pictures. */
  async untilPlayedOn(seconds: number): Promise<VideoState> {
    const from = await this.state()
    return this.until(
      ({ currentTime, frames }) =>
        currentTime >= from.currentTime + seconds && frames > from.frames + seconds * 5,
      `played on for ${seconds} s from ${from.currentTime}`
    )
  }

  /** Stops at `second` and looks at what the screen shows there. */
  async pictureAt(second: number): Promise<Buffer> {
    await this.locator.evaluate(async (element, to) => {
      const video = element as unknown as Video & { addEventListener(name: string, then: () => void): void }
      video.pause()
      video.controls = false
      const sought = new Promise<void>(resolve => {
        video.addEventListener('seeked', () => resolve())
      })
      video.currentTime = to
      await sought
    }, second)
    await sleep(300) // the picture needs a moment to the screen
    const path = join(tmpdir(), `tributary-screen-${randomUUID()}.png`)
    try {
      await this.locator.screenshot({ path })
      return await pictureOf(path)
    } finally {
      await rm(path, { force: true })
    }
  }
}
