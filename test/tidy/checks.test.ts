import { deepEqual, equal, match } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { checkDeadFiles } from './dead-files.ts'
import { checkDocLinks } from './doc-links.ts'
import * as imports from './import-rules.ts'
import { checkBuildReferences, checkLockfileFollowsManifests, checkManifests } from './manifest-rules.ts'
import { importsOf, scan } from './module-scanner.ts'
import * as texts from './text-rules.ts'
import type { Check } from './tree.ts'

/** A planted tree must give exactly one problem, which names the file. */
function finds(check: Check, files: Record<string, string>, expected: RegExp): void {
  const problems = check(new Map(Object.entries(files)))
  equal(problems.length, 1, `one problem, not: ${JSON.stringify(problems)}`)
  match(problems[0]!, expected)
}

function accepts(check: Check, files: Record<string, string>): void {
  deepEqual(check(new Map(Object.entries(files))), [])
}

describe('the scanner of modules', () => {
  it('finds every form of import', () => {
    const source = [
      `import a, { type B } from 'one'`,
      `import type { C } from "two"`,
      `import 'three'`,
      `import * as d from 'four'`,
      `export { e as 'f g' } from 'five'`,
      `export type * from 'six'`,
      `const h = await import('seven')`,
      `type I = import('eight').I`,
      `import {`,
      `  j, // from 'not this'`,
      `  k`,
      `} from 'nine'`,
      `const { l } = require('ten')`
    ].join('\n')
    deepEqual(
      importsOf(source).map(({ specifier, kind }) => `${specifier} ${kind}`),
      [
        'one value',
        'two type',
        'three value',
        'four value',
        'five value',
        'six type',
        'seven lazy',
        'eight lazy',
        'nine value',
        'ten value'
      ]
    )
    equal(importsOf(source).at(-2)!.line, 9)
  })

  it('is not deceived by comments, strings, templates and regular expressions', () => {
    const source = [
      `// import 'a'`,
      `/* import 'b' */`,
      `const c = "import 'c'"`,
      'const d = `import "d" ${"}"} ${`${1}`} import "e"`',
      `const f = /import 'f'["'\`/]/.test(c) / 2 / 1`,
      `const from = 'x'`,
      `export const g = from + 'y'`,
      `export default from`,
      `import.meta.url`,
      `a.import('h')`
    ].join('\n')
    deepEqual(importsOf(source), [])
  })

  it('sees the code inside a template', () => {
    deepEqual(
      scan('`a ${process.pid} b`').map(({ text }) => text),
      ['process', '.', 'pid', 'a ${} b']
    )
  })
})

describe('the import checks', () => {
  const manifest = (name: string) => JSON.stringify({ name })

  it('find a package that imports upwards, if only a type', () => {
    finds(
      imports.checkPackageDirections,
      { 'packages/transport/src/pool.ts': `import type { Client } from '@tributary/client'` },
      /transport\/src\/pool\.ts:1 imports @tributary\/client/
    )
  })

  it('find servers that import each other, and a gateway that opens the database', () => {
    finds(
      imports.checkPackageDirections,
      { 'packages/tracker/src/a.ts': `import '@tributary/storage'` },
      /tracker may import/
    )
    finds(
      imports.checkPackageDirections,
      { 'packages/gateway/src/a.ts': `import '@tributary/database'` },
      /gateway may import/
    )
  })

  it('let the console see the contract only', () => {
    accepts(imports.checkPackageDirections, {
      'packages/console/src/a.ts': `import type { A } from '@tributary/gateway/contract'`
    })
    finds(
      imports.checkPackageDirections,
      { 'packages/console/src/a.ts': `import type { A } from '@tributary/gateway'` },
      /console may import gateway\/contract/
    )
  })

  it('find anything that imports the command, and a package nobody gave a place', () => {
    finds(imports.checkPackageDirections, { 'packages/client/src/a.ts': `import 'tributary'` }, /client may/)
    finds(imports.checkPackageDirections, { 'packages/extra/package.json': manifest('x') }, /MAY_IMPORT/)
  })

  it('find a builtin in protocol, with and without its prefix', () => {
    finds(imports.checkProtocolIsPure, { 'packages/protocol/src/a.ts': `import 'node:net'` }, /pure/)
    finds(imports.checkProtocolIsPure, { 'packages/protocol/src/a.ts': `import 'crypto'` }, /pure/)
  })

  it('find a logger in client', () => {
    finds(
      imports.checkClientIsLean,
      { 'packages/client/src/a.ts': `import { pino } from 'pino'` },
      /no logger/
    )
  })

  it('find a driver outside of its engine, and a second importer', () => {
    const engine = { 'packages/database/src/mysql-engine.ts': `import { createPool } from 'mysql2/promise'` }
    accepts(imports.checkDriversStayInTheirEngine, engine)
    finds(
      imports.checkDriversStayInTheirEngine,
      { 'packages/storage/src/mysql.ts': `import type { Pool } from 'mysql2'` },
      /only its engine's file/
    )
    finds(
      imports.checkDriversStayInTheirEngine,
      { ...engine, 'packages/database/src/mysql-rows.ts': `import 'mysql2'` },
      /one file per engine/
    )
  })

  it('find an import of test/, of another package by path, and of a file that is not there', () => {
    const from = (specifier: string) => ({ 'packages/client/src/a.ts': `import '${specifier}'` })
    finds(imports.checkRelativeImports, from('../../../test/testkit/film.ts'), /outside of its src/)
    finds(imports.checkRelativeImports, from('../../transport/src/pool.ts'), /outside of its src/)
    finds(imports.checkRelativeImports, from('./b.ts'), /not there/)
  })

  it('find a server that is loaded before it is asked for, however far away', () => {
    const command = (third: string) => ({
      'packages/cli/src/main.ts': `import './verbs.ts'`,
      'packages/cli/src/verbs.ts': `import { x } from './up.ts'`,
      'packages/cli/src/up.ts': third
    })
    finds(
      imports.checkCommandLoadsServersLazily,
      command(`import '@tributary/tracker'`),
      /up\.ts:1.*await import/
    )
    accepts(imports.checkCommandLoadsServersLazily, command(`await import('@tributary/tracker')`))
  })

  it('find process in every disguise, and nothing else of that name', () => {
    const using = (text: string) => ({ 'packages/tracker/src/a.ts': text })
    finds(imports.checkProcessStaysInMain, using(`const url = process.env.URL`), /let main\.ts read it/)
    finds(imports.checkProcessStaysInMain, using(`import { env } from 'node:process'`), /only main\.ts/)
    finds(imports.checkProcessStaysInMain, using(`globalThis.process.exit()`), /let main\.ts/)
    finds(imports.checkProcessStaysInMain, using('const x = `${process.pid}`'), /let main\.ts/)
    accepts(imports.checkProcessStaysInMain, using(`worker.process({ process: 1 }) // process.env`))
    accepts(imports.checkProcessStaysInMain, { 'packages/tracker/src/main.ts': `process.env.URL` })
  })

  it('find an import that is not declared', () => {
    finds(
      imports.checkImportsAreDeclared,
      {
        'packages/client/package.json': '{ "dependencies": { "a": "1.0.0" } }',
        'packages/client/src/a.ts': `import 'a/b'; import 'fs'; import '@c/d/e'`
      },
      /imports @c\/d, which/
    )
  })
})

describe('the text checks', () => {
  const word = (start: string, end: string) => start + end

  it('find what is marked as unfinished', () => {
    finds(
      texts.checkNothingUnfinished,
      { 'scripts/a.mjs': `\n// ${word('FIX', 'ME')}: later` },
      /a\.mjs:2 is marked/
    )
  })

  it('find a test that runs alone, is still to be written, or is skipped without a reason', () => {
    const test = (text: string) => ({ 'test/faults/a.test.ts': text })
    finds(texts.checkTestsRun, test(`it.only('x', () => {})`), /hides the others/)
    finds(texts.checkTestsRun, test(`it('x', { only: true }, () => {})`), /hides the others/)
    finds(texts.checkTestsRun, test(`it.todo('x')`), /no test yet/)
    finds(texts.checkTestsRun, test(`describe.skip('x', () => {})`), /say why/)
    finds(texts.checkTestsRun, test(`it('x', { skip: true }, () => {})`), /reason instead/)
    finds(texts.checkTestsRun, test(`t.skip()`), /without a reason/)
    accepts(
      texts.checkTestsRun,
      test(`// bindfs is Linux only\nit.skip('x')\nt.skip('no root')\nrows.skip(3)`)
    )
  })

  it('find a server that writes to the console', () => {
    finds(
      texts.checkServersLogThroughTheLog,
      { 'packages/tracker/src/a.ts': `console.log(1)`, 'packages/cli/src/a.ts': `console.log(1)` },
      /tracker\/src\/a\.ts:1 writes/
    )
  })

  it('find registry hosts and download addresses', () => {
    finds(
      texts.checkNoRegistryHosts,
      { 'docs/A.md': `see ${word('registry.', 'example.org')}` },
      /registry host/
    )
    finds(
      texts.checkNoRegistryHosts,
      { 'package-lock.json': `"resolved": "https://somewhere/a.tgz"` },
      /download address/
    )
  })

  it('find the path of one machine, and leave addresses alone', () => {
    finds(texts.checkNoMachinePaths, { 'docs/A.md': `cd ${word('/ho', 'me/me')}` }, /docs\/A\.md:1/)
    finds(texts.checkNoMachinePaths, { 'a.service': `ExecStart=${word('/op', 't/x/run')}` }, /a\.service:1/)
    accepts(texts.checkNoMachinePaths, {
      'docs/A.md': `${word('http://host/ho', 'me/x')} ${word('packages/ro', 'ot/x')} ${word('./ho', 'me/')}`
    })
  })
})

describe('the manifest checks', () => {
  const root = { 'package.json': '{ "version": "1.2.3" }' }
  const good = {
    name: '@tributary/client',
    version: '1.2.3',
    description: 'd',
    license: 'Apache-2.0',
    type: 'module',
    engines: { node: '>=24' },
    files: ['dist'],
    exports: {
      '.': { 'tributary-source': './src/index.ts', types: './dist/index.d.ts', default: './dist/index.js' }
    },
    dependencies: { '@tributary/protocol': '1.2.3', a: '1.0.0' }
  }
  const tree = (change: object) => ({
    ...root,
    'packages/client/package.json': JSON.stringify({ ...good, ...change })
  })

  it('accept a manifest that agrees', () => accepts(checkManifests, tree({})))

  it('find another version, licence or engine, and a dependency that floats', () => {
    finds(checkManifests, tree({ version: '1.2.4' }), /version must be/)
    finds(checkManifests, tree({ license: 'MIT' }), /license must be/)
    finds(checkManifests, tree({ engines: { node: '>=20' } }), /engines must be/)
    finds(checkManifests, tree({ dependencies: { a: '^1.0.0' } }), /exact version/)
    finds(checkManifests, tree({ dependencies: { '@tributary/protocol': '1.2.2' } }), /must be 1\.2\.3/)
  })

  it('find an export that does not lead to what is built', () => {
    finds(
      checkManifests,
      tree({ exports: { '.': { ...good.exports['.'], default: './dist/main.js' } } }),
      /must lead to/
    )
  })

  it('find a dependency that the lockfile does not know', () => {
    const lock = (dependencies: object) => ({
      'package-lock.json': JSON.stringify({ packages: { '': {}, 'packages/client': { dependencies } } })
    })
    accepts(checkLockfileFollowsManifests, { ...tree({}), ...lock(good.dependencies) })
    finds(
      checkLockfileFollowsManifests,
      { ...tree({}), ...lock({ ...good.dependencies, a: '0.9.0' }) },
      /differ in a;/
    )
  })

  it('find a build reference that is missing, and one too many', () => {
    const references = (...paths: string[]) => JSON.stringify({ references: paths.map(path => ({ path })) })
    const build = { 'tsconfig.build.json': references('packages/client') }
    const config = (...paths: string[]) => ({ 'packages/client/tsconfig.json': references(...paths) })
    accepts(checkBuildReferences, { ...tree({}), ...build, ...config('../protocol') })
    finds(checkBuildReferences, { ...tree({}), ...build, ...config() }, /add the reference \.\.\/protocol/)
    finds(
      checkBuildReferences,
      { ...tree({}), ...build, ...config('../protocol', '../storage') },
      /remove the reference \.\.\/storage/
    )
  })
})

describe('the check for dead files', () => {
  const manifest = {
    'packages/client/package.json': '{ "exports": { ".": { "default": "./dist/index.js" } } }'
  }

  it('finds a file that nobody imports', () => {
    finds(
      checkDeadFiles,
      {
        ...manifest,
        'packages/client/src/index.ts': '',
        'packages/client/src/lost.ts': `import './index.ts'`
      },
      /lost\.ts is reached from no entry/
    )
  })

  it('finds a helper of tests that no test uses', () => {
    finds(checkDeadFiles, { 'test/testkit/film.ts': '' }, /film\.ts/)
  })

  it('follows a thread that is named without its ending', () => {
    accepts(checkDeadFiles, {
      ...manifest,
      'packages/client/src/index.ts': `startThread('hash-thread', import.meta.url)`,
      'packages/client/src/hash-thread.ts': ''
    })
  })

  it('follows imports, types, and files that are started by URL', () => {
    accepts(checkDeadFiles, {
      ...manifest,
      'packages/client/src/index.ts': `export type { A } from './a.ts'; new URL('./thread.ts', import.meta.url)`,
      'packages/client/src/a.ts': '',
      'packages/client/src/thread.ts': `await import('./b.ts')`,
      'packages/client/src/b.ts': ''
    })
  })
})

describe('the check of links', () => {
  it('finds a file that is not there, and a heading that is not', () => {
    finds(checkDocLinks, { 'docs/A.md': 'see [B](B.md)' }, /links to B\.md/)
    finds(checkDocLinks, { 'docs/A.md': 'see [B](B.md#two)', 'docs/B.md': '# One' }, /no such heading/)
  })

  it('follows files, folders, headings and Chinese ones, and ignores code and the web', () => {
    accepts(checkDocLinks, {
      'README.md':
        '[a](docs/A.md#the-first--one) [b](./docs/) [c](https://x.y/z) [d](#快速-开始)\n\n## 快速 开始\n`[e](nowhere)`',
      'docs/A.md': '# The first & one\n```\n[f](nowhere)\n```\n[up](../README.md)'
    })
  })
})
