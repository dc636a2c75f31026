import type { ConfigFile } from './config-file.ts'
import type { HostPort } from './host-port.ts'

/** How the text of a value is read, by `type`; see config-value.ts. */
export type ConfigKeyType =
  | 'integer'
  | 'number'
  | 'boolean'
  | 'string'
  | 'choice'
  | 'list'
  | 'bytes'
  | 'port'
  | 'path'
  | 'file'
  | 'url'
  | 'address'
  | 'addresses'
  | 'secret'

/**
 * One key of a role. Durations and sizes carry their unit at the end of the key's name (`_s`, `_ms`, `_bytes`).
 * A key with neither `default` nor `optional` must be given.
 */
export interface ConfigKey {
  /**
   * integer, number — `min` and `max` include themselves.
   * bytes — a number of bytes, or with a unit: `64KiB`, `256MiB`, `1.5GiB`, `1TiB`, `5MB`.
   * list — TOML array, or text with commas.
   * address, addresses — `host:port`, IPv6 in brackets; several with commas.
   * choice — one of `choices`.
   * url — may carry credentials, which are never shown.
   * file — a path; the file is read with the configuration, and again on SIGHUP where the key is reloadable.
   * secret — never shown; `<key>_file` names a file that holds it; has no flag but `--<key>-file`.
   */
  readonly type: ConfigKeyType
  readonly default?: unknown
  readonly optional?: true
  readonly min?: number
  readonly max?: number
  /** Of a list: how many entries. */
  readonly minCount?: number
  readonly maxCount?: number
  readonly choices?: readonly string[]
  /**
   * SIGHUP reads it again while the server runs; a change of any other key needs a restart. `while-set`: as long as it
   * stays set; to set it, or to take it out, needs a restart.
   */
  readonly reloadable?: true | 'while-set'
  /** Default: `--` and the key with dashes; `false`: no flag. */
  readonly flag?: string | false
  /** One sentence for --help and the manual. */
  readonly describe: string
  /**
   * Reads the text into a type of the role's own; its error's message says what was expected.
   * Applied to every element of a list. `default` is then already of that type.
   */
  readonly parse?: (text: string) => unknown
}

export type ConfigKeys = Readonly<Record<string, ConfigKey>>

type Camel<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : Name

type Parsed<Key extends ConfigKey, Plain> = Key extends { parse: (text: string) => infer Value }
  ? Value
  : Plain

type Present<Key extends ConfigKey> = Key['type'] extends 'integer' | 'number' | 'bytes' | 'port'
  ? Parsed<Key, number>
  : Key['type'] extends 'boolean'
    ? boolean
    : Key['type'] extends 'list'
      ? readonly Parsed<Key, string>[]
      : Key['type'] extends 'address'
        ? HostPort
        : Key['type'] extends 'addresses'
          ? readonly HostPort[]
          : Key['type'] extends 'file'
            ? ConfigFile
            : Key extends { type: 'choice'; choices: readonly (infer Choice)[] }
              ? Choice
              : Parsed<Key, string>

type ValueOf<Key extends ConfigKey> = Key extends { optional: true } ? Present<Key> | undefined : Present<Key>

/** The frozen value of a definition: keys in camelCase, types from the table. */
export type ConfigValue<Keys extends ConfigKeys> = {
  readonly [Name in keyof Keys & string as Camel<Name>]: ValueOf<Keys[Name]>
}

/** Two keys that do not go together: which one to name, and what was expected of it. */
export interface ConfigConflict {
  key: string
  expected: string
}

export interface ConfigDefinition<Keys extends ConfigKeys = ConfigKeys> {
  readonly section: string
  readonly keys: Keys
  /** Checked once every key by itself is right. */
  readonly relations: (value: ConfigValue<Keys>) => readonly ConfigConflict[]
}

/** A definition whatever its keys; `relations` takes a value of its own type only. */
export interface AnyConfigDefinition {
  readonly section: string
  readonly keys: ConfigKeys
  readonly relations: (value: never) => readonly ConfigConflict[]
}

/** The value a definition yields: `type TrackerConfig = ConfigOf<typeof trackerDefinition>`. */
export type ConfigOf<Definition> = Definition extends ConfigDefinition<infer Keys> ? ConfigValue<Keys> : never

/**
 * Describes the configuration of one role.
 *
 * @param section    the table in the file, and `TRIBUTARY_<SECTION>_…` in the environment: lower case.
 * @param keys       snake_case names.
 * @param relations  what must hold between keys; keys are named in snake_case in what it returns.
 */
export function defineConfig<const Keys extends ConfigKeys>(
  section: string,
  keys: Keys,
  relations: (value: ConfigValue<Keys>) => readonly ConfigConflict[] = () => []
): ConfigDefinition<Keys> {
  for (const [name, key] of Object.entries<ConfigKey>(keys)) {
    if (!/^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$/.test(name)) throw new TypeError(`key '${name}' is not snake_case`)
    if (key.optional && key.default !== undefined)
      throw new TypeError(`key '${name}' is optional and has a default`)
    if (key.type === 'choice' && !key.choices?.length) throw new TypeError(`key '${name}' has no choices`)
    if (key.type !== 'secret') continue
    if (Object.hasOwn(keys, `${name}_file`))
      throw new TypeError(`'${name}_file' belongs to the secret '${name}'`)
  }
  return Object.freeze({ section, keys, relations })
}

/** `check_interval_s` → `checkIntervalS`; also `check-interval-s`. */
export function camelCase(name: string): string {
  return name.replace(/[_-]([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** The flag of a key, `--check-interval-s` where none is named; undefined where it has none. */
export function flagOf(name: string, key: ConfigKey): string | undefined {
  if (key.flag === false) return undefined
  if (key.type === 'secret') return undefined // arguments are readable by every user of the machine
  return key.flag ?? `--${name.replaceAll('_', '-')}`
}
