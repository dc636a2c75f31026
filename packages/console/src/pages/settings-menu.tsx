/** Language and colours, in a panel that opens from the head of the page. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { Icon } from '../parts/icon.tsx'
import { isLoggedIn, logOut, session } from '../api/session.ts'
import { sentenceOf } from '../parts/failure.ts'
import { say } from '../parts/sayings.tsx'
import { choose, language, look, texts, type Look } from '../settings.ts'
import { LANGUAGE_NAMES, type Language } from '../strings/languages.ts'

export function SettingsMenu({ version }: { version: string }) {
  const t = texts.value
  const [open, setOpen] = useState(false)
  const panel = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const box = panel.current!
    const onToggle = (event: ToggleEvent): void => setOpen(event.newState === 'open')
    box.addEventListener('toggle', onToggle)
    return () => box.removeEventListener('toggle', onToggle)
  }, [])
  const looks: readonly (readonly [Look, string])[] = [
    ['system', t.lookSystem],
    ['light', t.lookLight],
    ['dark', t.lookDark]
  ]
  return (
    <div class="settings">
      <button
        type="button"
        class="icon-button"
        aria-label={t.settings}
        title={t.settings}
        aria-expanded={open}
        popovertarget="settings-panel"
      >
        <Icon name="settings" />
      </button>
      <div ref={panel} id="settings-panel" class="panel" popover="auto" role="group" aria-label={t.settings}>
        <fieldset>
          <legend>{t.language}</legend>
          <div class="choices">
            {Object.entries(LANGUAGE_NAMES).map(([key, name]) => (
              <label key={key} class="choice" lang={key}>
                <input
                  type="radio"
                  name="language"
                  checked={language.value === key}
                  onChange={() => choose({ language: key as Language })}
                />
                <span>{name}</span>
              </label>
            ))}
          </div>
        </fieldset>
        <fieldset>
          <legend>{t.look}</legend>
          <div class="choices">
            {looks.map(([key, name]) => (
              <label key={key} class="choice">
                <input
                  type="radio"
                  name="look"
                  checked={look.value === key}
                  onChange={() => choose({ look: key })}
                />
                <span>{name}</span>
              </label>
            ))}
          </div>
        </fieldset>
        <div class="row end">
          {version !== '' && <span class="facts grow">{t.version(version)}</span>}
          {isLoggedIn.value ? (
            <button type="button" title={session.value!.name} onClick={() => void leave()}>
              {t.logOut}
            </button>
          ) : (
            <a class="button" href="/login" onClick={() => panel.current!.hidePopover()}>
              {t.logIn}
            </a>
          )}
        </div>
      </div>
    </div>
  )
}

async function leave(): Promise<void> {
  try {
    await logOut()
    say(texts.value.loggedOut)
  } catch (error) {
    say(sentenceOf(error), { bad: true })
  }
}
