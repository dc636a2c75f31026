/** A browser on the clients' side of a lab that plays a film; driven by player.ts over Node's channel. */
import { Channel } from '../../lab/channel.ts'
import { openChromium, type BrowserWindow } from '../testkit/chromium.ts'
import { VideoElement } from '../testkit/video-element.ts'

let window: BrowserWindow | undefined
let video: VideoElement | undefined

const orders: Record<string, (args: { url: string; seconds: number }) => unknown> = {
  open: async ({ url }) => {
    window = await openChromium()
    await window.page.goto(url, { waitUntil: 'commit' })
    video = new VideoElement(window.page.locator('video'))
    return video.until(({ currentTime, frames }) => currentTime > 0.3 && frames > 5, 'began')
  },
  playOn: ({ seconds }) => video!.untilPlayedOn(seconds),
  pause: () => video!.pause(),
  seek: async ({ seconds }) => {
    await video!.seek(seconds)
    await video!.play()
    return video!.until(({ currentTime }) => currentTime > seconds + 0.5, `went on after ${seconds} s`)
  },
  close: () => window?.close()
}

process.on('disconnect', () => process.exit())
Channel.serve(process, (order, args) => orders[order]!(args as { url: string; seconds: number }))
