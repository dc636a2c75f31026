/** A configuration read again while its server runs. */
import { isDeepStrictEqual } from 'node:util'
import { ConfigError, loadConfig, type ConfigSources } from './config.ts'
import {
  camelCase,
  type ConfigDefinition,
  type ConfigKey,
  type ConfigKeys,
  type ConfigValue
} from './config-key.ts'

export interface ConfigReload<Keys extends ConfigKeys> {
  /** The running value with the reloadable keys as they are now. */
  value: ConfigValue<Keys>
  /** Keys that changed and count from now on, as they are written. */
  changed: string[]
  /** Keys that changed, and need a restart: they are as they were. */
  needRestart: string[]
}

/**
 * Reads the sources of `running` once more. All or nothing: what is wrong anywhere changes nothing.
 *
 * @throws {ConfigError} with every problem at once; also where the new reloadable keys do not go with the running others,
 *   such as a token that is gone while the server still listens to everybody.
 */
export function reloadConfig<Keys extends ConfigKeys>(
  definition: ConfigDefinition<Keys>,
  running: ConfigValue<Keys>,
  sources: ConfigSources
): ConfigReload<Keys> {
  const fresh = loadConfig(definition, sources) as Record<string, unknown>
  const value: Record<string, unknown> = { ...running }
  const changed: string[] = []
  const needRestart: string[] = []
  for (const [name, key] of Object.entries<ConfigKey>(definition.keys)) {
    const property = camelCase(name)
    if (isDeepStrictEqual(fresh[property], value[property])) continue
    const isSetOrUnset = (fresh[property] === undefined) !== (value[property] === undefined)
    if (!key.reloadable || (key.reloadable === 'while-set' && isSetOrUnset)) {
      needRestart.push(name)
      continue
    }
    changed.push(name)
    value[property] = fresh[property]
  }
  const mixed = Object.freeze(value) as ConfigValue<Keys>
  const conflicts = definition.relations(mixed)
  if (conflicts.length > 0) {
    throw new ConfigError(
      conflicts.map(({ key, expected }) => ({
        key: `${definition.section}.${key}`,
        value: '',
        origin: 'with what this server was started with',
        expected
      }))
    )
  }
  return { value: mixed, changed, needRestart }
}
