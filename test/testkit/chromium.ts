/** Debian's Chromium, without a screen, with a profile of its own; what goes wrong in a page is kept. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type BrowserContext, type Page } from 'playwright-core'
import { programPath } from './service.ts'

const LAUNCH_MS = 30_000
const STEP_MS = 15_000

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
  '--mute-audio'
]

/** A film opened by its link is a document first, which a player then takes over. */
const DROPPED_BY_PLAYERS = new Set(['media', 'document'])

export interface BrowserOptions {
  width?: number
  height?: number
  colorScheme?: 'light' | 'dark'
  /** As a phone has it. */
  hasTouch?: boolean
  /** Folder of its profile, which stays. Default: one of its own. */
  profile?: string
}

export interface BrowserWindow {
  readonly page: Page
  readonly context: BrowserContext
  /** Errors of the console and of scripts, and requests that failed; a page at peace leaves this empty. */
  readonly troubles: string[]
  close(): Promise<void>
}

/** A browser of its own with one empty page. */
export async function openChromium({
  width = 1280,
  height = 900,
  profile: given,
  ...options
}: BrowserOptions = {}): Promise<BrowserWindow> {
  const profile = given ?? (await mkdtemp(join(tmpdir(), 'tributary-chromium-')))
  const removeProfile = async (): Promise<void> => {
    if (given === undefined) await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  }
  let context: BrowserContext
  try {
    context = await chromium.launchPersistentContext(profile, {
      executablePath: programPath('chromium')!,
      args: FLAGS,
      viewport: { width, height },
      timeout: LAUNCH_MS,
      ...options
    })
  } catch (error) {
    await removeProfile()
    throw error
  }
  context.setDefaultTimeout(STEP_MS)
  const troubles: string[] = []
  const page = context.pages()[0] ?? (await context.newPage())
  page.on('console', message => {
    if (message.type() === 'error') troubles.push(`console: ${message.text()}`)
  })
  page.on('pageerror', error => troubles.push(`script: ${error.message}`))
  page.on('response', response => {
    if (response.status() >= 400) troubles.push(`${response.status()}: ${response.url()}`)
  })
  page.on('requestfailed', request => {
    const why = request.failure()?.errorText ?? ''
    // A player drops a request when it has read enough, or jumps elsewhere; a page that is left drops its own.
    if (why === 'net::ERR_ABORTED' && DROPPED_BY_PLAYERS.has(request.resourceType())) return
    troubles.push(`${why}: ${request.method()} ${request.url()}`)
  })
  return {
    page,
    context,
    troubles,
    close: async () => {
      await context.close()
      await removeProfile()
    }
  }
}
