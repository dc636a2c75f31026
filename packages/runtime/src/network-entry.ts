import { AllowList, NetworkSyntaxError } from './access.ts'

/** One entry of an allow list, as the `parse` of a key. @throws {Error} whose message says what was expected. */
export function parseNetwork(text: string): string {
  try {
    AllowList.parse([text])
  } catch (error) {
    if (!(error instanceof NetworkSyntaxError)) throw error
    throw new Error('an address, a network or its name', { cause: error })
  }
  return text
}
