/** Chromium in the network of a lab, playing a film from its link. */
import type { Lab } from '../../lab/lab.ts'
import { Channel } from '../../lab/channel.ts'
import type { VideoState } from '../testkit/video-element.ts'

export class Player {
  readonly #channel: Channel
  readonly #kill: () => void

  private constructor(channel: Channel, kill: () => void) {
    this.#channel = channel
    this.#kill = kill
  }

  /** Resolves when the film has begun. @throws it does not */
  static async open(lab: Lab, url: string): Promise<Player> {
    const child = lab.fork(new URL('./player-worker.ts', import.meta.url))
    const channel = new Channel(child, () => {
      throw new Error('a player asks nothing')
    })
    const player = new Player(channel, () => child.kill('SIGKILL'))
    try {
      await channel.call('open', { url })
      return player
    } catch (error) {
      await player.close()
      throw error
    }
  }

  /** Plays so many seconds of the film from wherever it is, with new pictures. @throws it broke, or stood still */
  playOn(seconds: number): Promise<VideoState> {
    return this.#channel.call('playOn', { seconds }) as Promise<VideoState>
  }

  async pause(): Promise<void> {
    await this.#channel.call('pause')
  }

  /** Jumps there, and plays on. */
  seek(seconds: number): Promise<VideoState> {
    return this.#channel.call('seek', { seconds }) as Promise<VideoState>
  }

  async close(): Promise<void> {
    await this.#channel.call('close').catch(() => {}) // it may have gone by itself
    this.#kill()
  }
}
