/** What the command ends with. Append only: scripts depend on it. */
import { ERRORS, TributaryError, type ErrorCode } from '@tributary/protocol'
import { ConfigError, EXIT } from '@tributary/runtime'

export const EXIT_CODES = {
  ok: { code: 0, meaning: 'done' },
  failure: { code: 1, meaning: 'failed for another reason' },
  usage: { code: 2, meaning: 'wrong arguments or configuration' },
  notFound: { code: 3, meaning: 'the file, user or application does not exist' },
  exists: { code: 4, meaning: 'a file of that name exists and was left as it is' },
  unavailable: { code: 5, meaning: 'no server could do it now; trying later may help' },
  unknown: { code: 6, meaning: 'the reply was lost: it may or may not have been done' },
  found: { code: 7, meaning: 'fsck: index and disk differ' },
  unwell: { code: 8, meaning: 'doctor: something has to be mended' },
  left: { code: EXIT.left, meaning: 'storage server: it left its group and is not to be started again' },
  interrupted: { code: 130, meaning: 'interrupted by Ctrl-C' },
  terminated: { code: 143, meaning: 'ended by SIGTERM' }
} as const

/** Wrong use of the command itself. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Ends the command with a code after everything was said. */
export class QuietExit extends Error {
  readonly exitCode: number
  constructor(exitCode: number) {
    super('')
    this.exitCode = exitCode
  }
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof QuietExit) return error.exitCode
  if (error instanceof UsageError || error instanceof ConfigError) return EXIT_CODES.usage.code
  if (!(error instanceof TributaryError)) return EXIT_CODES.failure.code
  switch (error.code) {
    case 'FILE_NOT_FOUND':
    case 'UNKNOWN_APPLICATION':
      return EXIT_CODES.notFound.code
    case 'FILE_EXISTS':
      return EXIT_CODES.exists.code
    case 'BAD_FIELD':
    case 'BAD_RANGE':
      return EXIT_CODES.usage.code
    case 'CANCELLED':
      return EXIT_CODES.interrupted.code
    default:
      return exitCodeOfKind(error.code)
  }
}

function exitCodeOfKind(code: ErrorCode): number {
  switch (ERRORS[code].kind) {
    case 'unavailable':
      return EXIT_CODES.unavailable.code
    case 'unknown':
      return EXIT_CODES.unknown.code
    default:
      return EXIT_CODES.failure.code
  }
}

/** For --help. */
export function exitCodeText(): string {
  return Object.values(EXIT_CODES)
    .map(({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`)
    .join('\n')
}
