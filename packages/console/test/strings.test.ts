import { deepEqual, equal, ok } from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { LANGUAGE_NAMES, LANGUAGES, pickLanguage } from '../src/strings/languages.ts'

const SOURCE = new URL('../src/', import.meta.url)

/** `key`, and `key.key` of tables. */
function keysOf(table: object, prefix = ''): string[] {
  return Object.entries(table).flatMap(([key, value]) =>
    value !== null && typeof value === 'object' ? keysOf(value, `${prefix}${key}.`) : [prefix + key]
  )
}

describe('the strings of the console', () => {
  it('are there in every language, each with what its sentences are given', () => {
    const { en, ...others } = LANGUAGES
    for (const [language, strings] of Object.entries(others)) {
      deepEqual(keysOf(strings).sort(), keysOf(en).sort(), language)
      for (const key of Object.keys(en) as (keyof typeof en)[]) {
        equal(typeof strings[key], typeof en[key], `${language}: ${key}`)
        if (typeof strings[key] === 'string') ok(strings[key].trim() !== '', `${language}: ${key}`)
      }
      for (const [code, sentence] of Object.entries(en.faults)) {
        const holes = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort()
        deepEqual(holes(strings.faults[code]!), holes(sentence), `${language}: ${code}`)
      }
    }
    deepEqual(Object.keys(LANGUAGE_NAMES), Object.keys(LANGUAGES))
  })

  it('are in the language that they are said to be in', () => {
    for (const key of keysOf(LANGUAGES.zh).filter(key => !key.includes('.'))) {
      const sentence = LANGUAGES.zh[key as 'library']
      if (typeof sentence === 'string') ok(/[\u4e00-\u9fff]/.test(sentence), `zh: ${key}`)
    }
    const english = Object.values(LANGUAGES.en).filter(sentence => typeof sentence === 'string')
    ok(!english.some(sentence => /[\u4e00-\u9fff]/.test(sentence)))
  })

  it('are chosen by what the reader prefers', () => {
    equal(pickLanguage(['fr-FR', 'zh-CN', 'en']), 'zh')
    equal(pickLanguage(['fr']), 'en')
    equal(pickLanguage(['', 'zh']), 'zh')
  })

  it('are all used', async () => {
    const code = await Promise.all(
      (await readdir(SOURCE, { recursive: true }))
        .filter(name => /\.tsx?$/.test(name) && !name.startsWith('strings'))
        .map(name => readFile(new URL(name, SOURCE), 'utf8'))
    )
    const all = code.join('\n')
    const unused = Object.keys(LANGUAGES.en).filter(key => !new RegExp(`\\b${key}\\b`).test(all))
    deepEqual(unused, [])
  })
})
