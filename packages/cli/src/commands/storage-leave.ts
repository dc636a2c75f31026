/** A storage server of this machine leaves its group: nobody is sent to it any more, and no transfer is cut. */
import { setTimeout as sleep } from 'node:timers/promises'
import { InvalidArgumentError, type Command } from 'commander'
import { Client } from '@tributary/client'
import { memberAt, membersHere, type MemberState } from '@tributary/storage'
import { clientSettings } from '../client-settings.ts'
import { EXIT_CODES, QuietExit, UsageError } from '../exit-code.ts'
import { countText, durationText, visibleText } from '../quantity-text.ts'
import { sentenceOf, type Terminal } from '../terminal.ts'
import { programVersion } from '../version.ts'
import type { WireSettings } from '../wire-settings.ts'

const LOOK_INTERVAL_MS = 250
/** A unit starts again after a second what it is not to leave alone. */
const RESTART_WAIT_MS = 2_500
/** Trackers that do not answer for so long cannot say who else is there. */
const TRACKERS_WAIT_MS = 5_000

interface Flags {
  port?: number
  within?: number
  last?: boolean
}

export function buildLeave(command: Command, terminal: Terminal): void {
  command
    .command('leave')
    .helpOption('-h, --help', 'show help')
    .description(
      'Have a storage server of this machine leave its group and end: nobody is sent to it any more, and transfers that are under way are finished.'
    )
    .option('-p, --port <number>', 'which one, where several run here', wholePort)
    .option(
      '--within <seconds>',
      'stop it after this time, whatever is still under way (default: wait)',
      seconds
    )
    .option('--last', 'even if no other member of its group serves: its files cannot be read then')
    .addHelpText('after', `\nExamples:\n  tributary storage leave\n  tributary storage leave --within 600\n`)
    .action((flags: Flags) => leave(flags, terminal))
}

async function leave(flags: Flags, terminal: Terminal): Promise<void> {
  const say = (line: string): void => terminal.port.writeOut(`${line}\n`)
  const state = chosen(await membersHere(), flags.port)
  const name = `${visibleText(state.member)} (${state.address})`
  if (state.supervised) {
    throw new UsageError(
      `${name} is run by \`tributary up\`, which would start it again: stop that with Ctrl-C instead`
    )
  }
  if (!flags.last && !state.leaving) {
    await checkOthers(state, name, clientSettings({}, terminal).wire)
  }
  signal(terminal, state, 'SIGUSR2', name)
  say(`${name} leaves ${state.group}; nobody is sent there any more`)
  const startedMs = performance.now()
  let told = 0
  let isCut = false
  for (let now: MemberState | undefined = state; ; now = await memberAt(state.address)) {
    // Its door closes at the beginning of its stop; the process is there for a moment longer.
    if (!now && !terminal.isAlive(state.pid)) break
    if (now && now.pid !== state.pid) break
    const elapsedMs = performance.now() - startedMs
    if (now && now.transfers !== told) {
      told = now.transfers
      say(told > 0 ? `waiting for ${countText(told, 'transfer')}` : 'every transfer has ended')
    }
    if (!isCut && flags.within !== undefined && elapsedMs > flags.within * 1_000) {
      isCut = true
      say(`${durationText(elapsedMs)} are over: it is stopped`)
      signal(terminal, state, 'SIGTERM', name)
    }
    await sleep(LOOK_INTERVAL_MS)
  }
  const leftMs = performance.now()
  const successor = await successorAt(state.address)
  if (successor) {
    terminal.port.writeError(
      `${name} ended, and was started again as process ${successor.pid}: whatever looks after it does not keep to exit code ${EXIT_CODES.left.code}\n`
    )
    throw new QuietExit(EXIT_CODES.failure.code)
  }
  say(
    `it has left after ${durationText(leftMs - startedMs)}, and nothing of it is needed any more` +
      '\nWhere systemd starts it with the machine: systemctl disable tributary-storage'
  )
}

/** Who was started in its place, if that is done within the time that units wait. */
async function successorAt(address: string): Promise<MemberState | undefined> {
  const endMs = performance.now() + RESTART_WAIT_MS
  for (;;) {
    const successor = await memberAt(address)
    if (successor || performance.now() > endMs) return successor
    await sleep(LOOK_INTERVAL_MS)
  }
}

/** @throws {UsageError} none, or several and none of them was named. */
function chosen(members: readonly MemberState[], port: number | undefined): MemberState {
  const fitting = port === undefined ? members : members.filter(({ address }) => address.endsWith(`:${port}`))
  const [only, ...others] = fitting
  if (!only) {
    throw new UsageError(
      port === undefined
        ? 'no storage server runs on this machine'
        : `no storage server runs at port ${port} of this machine`
    )
  }
  if (others.length > 0) {
    const list = fitting.map(({ member, address, group }) => `  ${address}  ${visibleText(member)}  ${group}`)
    throw new UsageError(`several storage servers run here; say which by --port:\n${list.join('\n')}`)
  }
  return only
}

/** @throws {UsageError} nobody else serves the group, or nobody can say. */
async function checkOthers(
  { trackers, group, hostName, address }: MemberState,
  name: string,
  wire: WireSettings
): Promise<void> {
  const client = new Client({
    trackers,
    ...wire,
    version: programVersion(),
    retryForMs: 0,
    callTimeoutMs: TRACKERS_WAIT_MS
  })
  try {
    const { groups } = await client.groups()
    const port = Number(address.slice(address.lastIndexOf(':') + 1))
    const others = groups
      .find(one => one.name === group)
      ?.members.filter(member => {
        const isItself = member.hostName === hostName && member.addresses.some(one => one.port === port)
        return !isItself && member.status === 'ACTIVE' && member.serving
      })
    if (others && others.length > 0) return
  } catch (error) {
    throw new UsageError(
      `who else serves ${group} is not known (${sentenceOf(error)}); --last leaves without asking`,
      { cause: error }
    )
  } finally {
    client.close()
  }
  throw new UsageError(
    `${name} is the last that serves ${group}: without it its files cannot be read. --last leaves all the same`
  )
}

function signal(terminal: Terminal, { pid }: MemberState, name: 'SIGUSR2' | 'SIGTERM', who: string): void {
  try {
    terminal.signal(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return
    throw new UsageError(`${who} belongs to another user: run this as that user, or as root`, {
      cause: error
    })
  }
}

function wholePort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('A port is expected.')
  return port
}

function seconds(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('A number of seconds is expected.')
  return value
}
