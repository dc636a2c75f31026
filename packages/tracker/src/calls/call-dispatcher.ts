/** CALL: finds the method, checks its arguments, and turns a database's failure into one of the wire. */
import { INDEX_CALLS, type CallArguments, type CallName, type CallResult } from '@tributary/calls'
import { wireErrorOf } from '@tributary/database'
import { RejectedError } from '@tributary/protocol'
import { Compile, type Validator } from 'typebox/compile'

export type CallHandlers<N extends CallName = CallName> = {
  [K in N]: (args: CallArguments<K>) => Promise<CallResult<K>>
}

/** Complaints that an answer to wrong arguments repeats. */
const COMPLAINTS_MAX = 3

export class CallDispatcher {
  readonly #handlers: CallHandlers
  readonly #validators = new Map<CallName, Validator>()

  constructor(handlers: CallHandlers) {
    this.#handlers = handlers
  }

  /** @throws {TributaryError} BAD_FIELD: no such method, or arguments that are not those of its schema. */
  async answer(method: string, text: string): Promise<string> {
    if (!Object.hasOwn(INDEX_CALLS, method)) {
      throw new RejectedError(
        'BAD_FIELD',
        `this tracker knows no method '${method}': it may be an older program`
      )
    }
    const name = method as CallName
    const args = this.#check(name, text)
    try {
      const handler = this.#handlers[name] as (args: unknown) => Promise<unknown>
      return JSON.stringify(await handler(args))
    } catch (error) {
      throw wireErrorOf(error, INDEX_CALLS[name].resend)
    }
  }

  #check(name: CallName, text: string): unknown {
    let args: unknown
    try {
      args = JSON.parse(text)
    } catch {
      throw new RejectedError('BAD_FIELD', `the arguments of ${name} are no JSON`)
    }
    let validator = this.#validators.get(name)
    if (!validator) this.#validators.set(name, (validator = Compile(INDEX_CALLS[name].arguments)))
    if (validator.Check(args)) return args
    const complaints = validator
      .Errors(args)
      .slice(0, COMPLAINTS_MAX)
      .map(({ instancePath, message }) => `${instancePath || 'arguments'} ${message}`)
    throw new RejectedError('BAD_FIELD', `${name}: ${complaints.join('; ')}`)
  }
}
