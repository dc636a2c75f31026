import { deepEqual } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { checkDeadFiles } from './dead-files.ts'
import { checkDocLinks } from './doc-links.ts'
import * as imports from './import-rules.ts'
import { checkBuildReferences, checkLockfileFollowsManifests, checkManifests } from './manifest-rules.ts'
import * as texts from './text-rules.ts'
import { readRepository, type Check } from './tree.ts'

const repository = readRepository()

const CHECKS: [title: string, check: Check][] = [
  ['packages import only those below them', imports.checkPackageDirections],
  ['protocol imports nothing but its own files', imports.checkProtocolIsPure],
  ['client has no logger and no database', imports.checkClientIsLean],
  ['a driver is imported by the one file of its engine', imports.checkDriversStayInTheirEngine],
  ['relative imports stay in their src and lead to a file', imports.checkRelativeImports],
  ['the command loads servers when they are asked for', imports.checkCommandLoadsServersLazily],
  ['process is used by main.ts only', imports.checkProcessStaysInMain],
  ['what a package imports, it declares', imports.checkImportsAreDeclared],
  ['nothing is marked as unfinished', texts.checkNothingUnfinished],
  ['no test runs alone, and a skipped one says why', texts.checkTestsRun],
  ['servers write to their log, not to the console', texts.checkServersLogThroughTheLog],
  ['no file names a registry or a download address', texts.checkNoRegistryHosts],
  ['no file has a path of one machine', texts.checkNoMachinePaths],
  ['package manifests agree', checkManifests],
  ['the lockfile follows the manifests', checkLockfileFollowsManifests],
  ['build references follow the dependencies', checkBuildReferences],
  ['every file is reached from an entry', checkDeadFiles],
  ['links between documents resolve', checkDocLinks]
]

describe('the repository is tidy:', () => {
  for (const [title, check] of CHECKS) {
    it(title, () => deepEqual(check(repository), []))
  }
})
