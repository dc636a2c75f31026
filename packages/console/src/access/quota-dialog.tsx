/** Sets what an application and each of its users may store. */
import type { ApplicationRules } from '@tributary/gateway/contract'
import { useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { Dialog } from '../parts/dialog.tsx'
import { sentenceOf } from '../parts/failure.ts'
import { FormEnd } from '../parts/form-end.tsx'
import { say } from '../parts/sayings.tsx'
import { texts } from '../settings.ts'
import { bytesOf, countOf, typedOf, UNIT_NAMES, UNITS, type TypedBytes, type Unit } from './quota-figures.ts'

const REQUESTS_PER_S_MAX = 1_000_000

export function QuotaDialog({ rules, onClose }: { rules: ApplicationRules; onClose(): void }) {
  const t = texts.value
  const { application } = rules
  const [bytes, setBytes] = useState(typedOf(rules.bytesMax))
  const [files, setFiles] = useState(textOf(rules.filesMax))
  const [userBytes, setUserBytes] = useState(typedOf(rules.userBytesMax))
  const [userFiles, setUserFiles] = useState(textOf(rules.userFilesMax))
  const [requests, setRequests] = useState(textOf(rules.requestsPerS))
  const [trouble, setTrouble] = useState('')
  const save = async (): Promise<void> => {
    setTrouble('')
    const body = {
      bytesMax: bytesOf(bytes),
      filesMax: countOf(files),
      userBytesMax: bytesOf(userBytes),
      userFilesMax: countOf(userFiles),
      requestsPerS: countOf(requests)
    }
    try {
      await call('PATCH /api/v1/applications/{application}', { application, body })
      say(t.saved)
      onClose()
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  return (
    <Dialog title={t.quotasOf(application)} onClose={onClose}>
      <form
        class="form"
        onSubmit={event => {
          event.preventDefault()
          void save()
        }}
      >
        <p class="facts">{t.quotaEmptyHint}</p>
        <fieldset class="form">
          <legend>{t.quotaAll}</legend>
          <div class="row wrap">
            <BytesField label={t.space} value={bytes} onChange={setBytes} />
            <CountField label={t.files} value={files} onChange={setFiles} />
          </div>
        </fieldset>
        <fieldset class="form">
          <legend>{t.quotaEach}</legend>
          <div class="row wrap">
            <BytesField label={t.space} value={userBytes} onChange={setUserBytes} />
            <CountField label={t.files} value={userFiles} onChange={setUserFiles} />
          </div>
        </fieldset>
        <CountField
          label={t.quotaRequests}
          value={requests}
          onChange={setRequests}
          most={REQUESTS_PER_S_MAX}
          hint={t.quotaRequestsHint}
        />
        <FormEnd trouble={trouble} submit={t.save} onCancel={onClose} />
      </form>
    </Dialog>
  )
}

function BytesField({
  label,
  value,
  onChange
}: {
  label: string
  value: TypedBytes
  onChange(value: TypedBytes): void
}) {
  return (
    <div class="row amount">
      <label>
        <span>{label}</span>
        <input
          type="number"
          min={value.unit === 'B' ? 1 : 0.001}
          max={Math.floor(Number.MAX_SAFE_INTEGER / UNITS[value.unit])}
          step="any"
          inputMode="decimal"
          placeholder="∞"
          value={value.amount}
          onInput={event => onChange({ ...value, amount: event.currentTarget.value })}
        />
      </label>
      <select
        aria-label={`${label}: ${texts.value.unit}`}
        value={value.unit}
        onChange={event => onChange({ ...value, unit: event.currentTarget.value as Unit })}
      >
        {UNIT_NAMES.map(unit => (
          <option key={unit} value={unit}>
            {unit}
          </option>
        ))}
      </select>
    </div>
  )
}

function CountField({
  label,
  value,
  onChange,
  most = Number.MAX_SAFE_INTEGER,
  hint
}: {
  label: string
  value: string
  onChange(value: string): void
  most?: number
  hint?: string
}) {
  return (
    <label>
      <span>{label}</span>
      <input
        type="number"
        min={1}
        max={most}
        step={1}
        inputMode="numeric"
        placeholder="∞"
        value={value}
        onInput={event => onChange(event.currentTarget.value)}
      />
      {hint !== undefined && <small>{hint}</small>}
    </label>
  )
}

function textOf(count: number | null): string {
  return count === null ? '' : String(count)
}
