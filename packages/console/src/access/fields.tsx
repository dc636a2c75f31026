/** Fields that more than one dialog of the page of access has. */
import { texts } from '../settings.ts'

export interface CheckListProps<Name extends string> {
  legend: string
  /** All there are, in the order in which they are shown and chosen. */
  names: readonly Name[]
  labels: Readonly<Record<Name, string>>
  chosen: readonly Name[]
  onChange(chosen: readonly Name[]): void
}

export function CheckList<Name extends string>({
  legend,
  names,
  labels,
  chosen,
  onChange
}: CheckListProps<Name>) {
  return (
    <fieldset>
      <legend>{legend}</legend>
      {names.map(name => (
        <label key={name} class="check">
          <input
            type="checkbox"
            checked={chosen.includes(name)}
            onChange={event =>
              onChange(
                event.currentTarget.checked
                  ? names.filter(one => one === name || chosen.includes(one))
                  : chosen.filter(one => one !== name)
              )
            }
          />
          <span>{labels[name]}</span>
        </label>
      ))}
    </fieldset>
  )
}

export interface ApplicationFieldProps {
  /** Of its list of suggestions, unique on the page. */
  listId: string
  /** Suggested; another one may be typed. */
  applications: readonly string[]
  /** '': all of them. */
  value: string
  onChange(value: string): void
}

export function ApplicationField({ listId, applications, value, onChange }: ApplicationFieldProps) {
  const t = texts.value
  return (
    <label>
      <span>{t.application}</span>
      <input
        list={listId}
        pattern="[A-Za-z0-9]{1,15}"
        placeholder={t.everywhere}
        value={value}
        onInput={event => onChange(event.currentTarget.value)}
      />
      <datalist id={listId}>
        {applications.map(one => (
          <option key={one} value={one} />
        ))}
      </datalist>
    </label>
  )
}
