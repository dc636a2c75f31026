import type { FileKey, FileRow } from '@tributary/database'
import { checkFileKey, formatFileKey, parseDerivedFileId, RejectedError } from '@tributary/protocol'
import type { CallHandlers } from './call-dispatcher.ts'
import type { IndexParts } from './index-parts.ts'
import type { LibraryDerived } from '@tributary/calls'

/** A derived file that is younger may be of a film that is only just there. */
const ORPHAN_AGE_MS = 3_600_000

type LibraryCallName = Extract<keyof CallHandlers, `library.${string}`>

export function libraryHandlers({ database: { library }, clock }: IndexParts): CallHandlers<LibraryCallName> {
  return {
    async 'library.page'(question) {
      if (question.user !== undefined && question.application === undefined) {
        throw new RejectedError('BAD_FIELD', 'a user is one of an application: name that as well')
      }
      try {
        return await library.page(question)
      } catch (error) {
        if (error instanceof SyntaxError)
          throw new RejectedError('BAD_FIELD', 'this is no place in a list', { cause: error })
        throw error
      }
    },

    async 'library.film'(key) {
      const found = await library.film(checkFileKey(key))
      if (!found) throw notFound(key)
      const { film, facts, derived } = found
      return { film, ...(facts === undefined ? {} : { facts }), derived: derived.flatMap(derivedOf) }
    },

    async 'library.note'(key) {
      await library.note(checkFileKey(key))
      return {}
    },

    async 'library.setTitle'({ generation, title, ...key }) {
      if (!(await library.setTitle(checkFileKey(key), generation, title.toWellFormed()))) throw replaced(key)
      return {}
    },

    async 'library.setFacts'({
      generation,
      facts,
      kind,
      durationMs = 0,
      width = 0,
      height = 0,
      title,
      ...key
    }) {
      const findings = { facts, kind, durationMs, width, height, title: title?.toWellFormed() }
      if (!(await library.setFacts(checkFileKey(key), generation, findings))) throw replaced(key)
      return {}
    },

    'library.usage': ({ application, user }) => library.usage(application, user),

    async 'library.owners'() {
      return { owners: await library.owners() }
    },

    async 'library.orphans'({ after }) {
      const { files, next } = await library.orphans(clock.nowMs() - ORPHAN_AGE_MS, after)
      return {
        files: files.map(({ application, user, file, generation }) => ({
          application,
          user,
          file,
          generation
        })),
        ...(next && { next })
      }
    },

    async 'library.pending'({ limit }) {
      return { films: await library.pending(limit) }
    }
  }
}

function derivedOf({ file, generation, sizeBytes, mediaType, storedAtMs }: FileRow): LibraryDerived[] {
  const parsed = parseDerivedFileId(file)
  return parsed ? [{ what: parsed.what, file, generation, sizeBytes, mediaType, storedAtMs }] : []
}

function notFound(key: FileKey): RejectedError {
  return new RejectedError('FILE_NOT_FOUND', `${formatFileKey(key)} is not in the library`)
}

function replaced(key: FileKey): RejectedError {
  return new RejectedError('GENERATION_MISMATCH', `${formatFileKey(key)} is another film by now, or gone`)
}
