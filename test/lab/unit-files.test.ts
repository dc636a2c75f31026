import { deepEqual, equal, rejects, throws } from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { parseCommandLine, parseEnvironmentFile, splitWords } from '../../lab/command-line.ts'
import { durationMsOf, mountUnitOf, readUnit, UnitFile } from '../../lab/unit-file.ts'

describe('a unit file', () => {
  it('gives every value of a key, and forgets those before an empty one', () => {
    const unit = new UnitFile('a.service').add('[Service]\nExecStartPre=one\nExecStartPre=two\n')
    deepEqual(unit.list('Service.ExecStartPre'), ['one', 'two'])
    unit.add('[Service]\nExecStartPre=\nExecStartPre=three\n')
    deepEqual(unit.list('Service.ExecStartPre'), ['three'])
    equal(unit.text('Unit.ExecStartPre'), undefined)
  })

  it('joins continued lines, past comments between them', () => {
    const unit = new UnitFile('a.service').add(
      '[Service]\nExecStart=/bin/a \\\n# not this\n; nor this\n  --flag\n'
    )
    equal(unit.text('Service.ExecStart'), '/bin/a    --flag')
  })

  it('takes the drop-ins of all folders by name, and of equal names the first', async t => {
    const folder = await mkdtemp(join(tmpdir(), 'tributary-units-'))
    t.after(() => rm(folder, { recursive: true }))
    const put = async (path: string, text: string): Promise<void> => {
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), text)
    }
    await put('lib/a.service', '[Service]\nRestart=no\nUser=x\n')
    await put('lib/a.service.d/10.conf', '[Service]\nRestart=always\n')
    await put('etc/a.service.d/10.conf', '[Service]\nUser=y\n')
    await put('etc/a.service.d/05.conf', '[Service]\nUser=z\n')
    const unit = await readUnit('a.service', [join(folder, 'etc'), join(folder, 'lib')])
    equal(unit.text('Service.Restart'), 'no')
    equal(unit.text('Service.User'), 'y')
    await rejects(readUnit('b.service', [folder]), /there is no unit b\.service/)
  })

  it('knows time spans', () => {
    equal(durationMsOf('5'), 5_000)
    equal(durationMsOf('1min 30s'), 90_000)
    equal(durationMsOf('200ms'), 200)
    equal(durationMsOf('infinity'), Infinity)
    throws(() => durationMsOf('soon'), RangeError)
    throws(() => durationMsOf('5 fortnights'), RangeError)
  })

  it('names the mount of a path', () => {
    equal(mountUnitOf('/srv/tributary/group001'), 'srv-tributary-group001.mount')
    equal(mountUnitOf('/srv/a-b'), 'srv-a\\x2db.mount')
  })
})

describe('a command of a unit', () => {
  const values = { ONE: 'a  b', NONE: '' }
  const words = (text: string) => parseCommandLine(text, values, { H: 'host' }).words

  it('is cut at blanks, which quotes hold together', () => {
    deepEqual(words(`/bin/x "a b" 'c "d"' e\\ttab`), ['/bin/x', 'a b', 'c "d"', 'e\ttab'])
  })

  it('has variables as words of their own, and within words', () => {
    deepEqual(words('/bin/x $ONE $NONE ${ONE} pre${ONE} $$ONE'), [
      '/bin/x',
      'a',
      'b',
      'a  b',
      'prea  b',
      '$ONE'
    ])
  })

  it('leaves to a shell what is the shell’s', () => {
    deepEqual(words('/bin/sh -c "x=`y`; exec z $ONE $x"'), ['/bin/sh', '-c', 'x=`y`; exec z $ONE $x'])
  })

  it('may fail, or be root’s, by what stands before it; knows specifiers', () => {
    deepEqual(parseCommandLine('-+/bin/x %H %%', {}, { H: 'host' }), {
      words: ['/bin/x', 'host', '%'],
      mayFail: true,
      asRoot: true
    })
  })

  it('gets its environment from files and from lines', () => {
    deepEqual(parseEnvironmentFile('# no\nA=1\nexport B="two words"\nnonsense\nC=\n'), {
      A: '1',
      B: 'two words',
      C: ''
    })
    deepEqual(splitWords('A=1 "B=2 3"'), ['A=1', 'B=2 3'])
  })
})
