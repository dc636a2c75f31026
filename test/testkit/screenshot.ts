/** Pictures of pages, for people to look at after a run: .cache/screenshots, or where TRIBUTARY_SCREENSHOTS says. */
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const FOLDER = process.env['TRIBUTARY_SCREENSHOTS'] ?? join(ROOT, '.cache', 'screenshots')

/** @param name  of the file, without an ending. */
export async function photograph(page: Page, name: string): Promise<void> {
  await mkdir(FOLDER, { recursive: true })
  await page.screenshot({ path: join(FOLDER, `${name}.png`) })
}
