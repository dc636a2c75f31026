// The console's build. Its output is the gateway's folder `public`, from where it is served and published.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'
import { styleHashes } from './style-hashes.ts'

const OUTPUT = fileURLToPath(new URL('../gateway/public/', import.meta.url))

export default defineConfig({
  publicDir: 'static',
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    // As a `data:` URL a picture would be in the styles of everybody.
    assetsInlineLimit: 0,
    reportCompressedSize: false
  },
  plugins: [
    {
      name: 'page-facts',
      closeBundle() {
        writeFileSync(join(OUTPUT, 'page.json'), `${JSON.stringify({ styleHashes: styleHashes() })}\n`)
      }
    }
  ]
})
