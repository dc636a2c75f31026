/** Carries out deliveries: whichever gateway takes one from the index has it alone, until it has said how it went. */
import { randomUUID } from 'node:crypto'
import type { TakenDelivery } from '@tributary/calls'
import { AllowList, type Clock, type Log } from '@tributary/runtime'
import type { FileService } from '../file-service.ts'
import type { AccessCopy } from './access-copy.ts'
import { sendWebhook } from './webhook-sender.ts'

export interface CourierOptions {
  files: Pick<FileService, 'index'>
  copy: AccessCopy
  clock: Clock
  log: Log
  version: string
  networks: readonly string[]
}

const LOOK_INTERVAL_MS = 2_000

export class WebhookCourier {
  readonly #options: CourierOptions
  readonly #allow: AllowList
  /** Of this process: one that starts again is another holder. */
  readonly #holder = randomUUID()
  readonly #stop = new AbortController()
  #working: Promise<void> | undefined

  constructor(options: CourierOptions) {
    this.#options = options
    this.#allow = AllowList.parse(options.networks)
  }

  /** Networks of ours that webhooks may go to. */
  get allow(): AllowList {
    return this.#allow
  }

  start(): void {
    this.#working ??= this.#work()
  }

  /** What is being sent is finished. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#working
  }

  async #work(): Promise<void> {
    const { copy, clock, log } = this.#options
    const { signal } = this.#stop
    while (!signal.aborted) {
      let took = 0
      if (copy.webhooks > 0) {
        try {
          took = await this.#round()
        } catch (error) {
          log.debug({ err: error }, 'webhooks wait: the index does not answer')
        }
      }
      if (took === 0) await clock.sleep(LOOK_INTERVAL_MS, signal).catch(() => {})
    }
  }

  async #round(): Promise<number> {
    const { files } = this.#options
    const { deliveries } = await files.index('deliveries.take', { holder: this.#holder })
    await Promise.all(deliveries.map(delivery => this.#deliver(delivery)))
    return deliveries.length
  }

  async #deliver(delivery: TakenDelivery): Promise<void> {
    const { files, clock, log, version } = this.#options
    const { id, webhook, event, tries } = delivery
    const failure = await sendWebhook(delivery, {
      allow: this.#allow,
      nowMs: () => clock.nowMs(),
      version
    })
    if (failure !== '') log.info({ webhook, event, tries, reason: failure }, 'a webhook was not delivered')
    try {
      await files.index('deliveries.settle', { id, holder: this.#holder, failure })
    } catch (error) {
      // It is taken again when its time is over, and delivered twice rather than not at all.
      log.debug({ err: error, webhook }, 'how a delivery went could not be told')
    }
  }
}
