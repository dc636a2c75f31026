// Links between documents lead somewhere.
import { posix } from 'node:path'
import { resolveFrom, type Tree } from './tree.ts'

const LINK = /\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)|^\[[^\]]+\]:\s*(\S+)/gm
const ELSEWHERE = /^([a-z][a-z+.-]*:|\/\/)/i

export function checkDocLinks(tree: Tree): string[] {
  const folders = new Set<string>([''])
  for (const path of tree.keys()) {
    for (let dir = posix.dirname(path); dir !== '.'; dir = posix.dirname(dir)) folders.add(dir)
  }
  const problems: string[] = []
  for (const [path, text] of tree) {
    if (!path.endsWith('.md')) continue
    for (const [, inline, defined] of withoutCode(text).matchAll(LINK)) {
      const link = (inline ?? defined)!
      if (ELSEWHERE.test(link)) continue
      const [file, anchor] = link.split('#', 2) as [string, string?]
      const target = file === '' ? path : resolveFrom(path, decodeURIComponent(file)).replace(/\/$/, '')
      if (!tree.has(target) && !folders.has(target))
        problems.push(`${path} links to ${link}, which is not there`)
      else if (
        anchor !== undefined &&
        target.endsWith('.md') &&
        !anchorsOf(tree.get(target)!).has(decodeURIComponent(anchor))
      ) {
        problems.push(`${path} links to ${link}, but ${target} has no such heading`)
      }
    }
  }
  return problems
}

function withoutCode(text: string): string {
  return text.replace(/^ *(```|~~~)[\s\S]*?^ *\1 *$/gm, '').replace(/`[^`\n]*`/g, '')
}

/** As code hosts make them: lower case, punctuation dropped, blanks to hyphens, repeated ones numbered. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>()
  const prose = text.replace(/^ *(```|~~~)[\s\S]*?^ *\1 *$/gm, '')
  for (const [, heading] of prose.matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const plain = heading!.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const slug = plain.replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, '').replaceAll(' ', '-')
    let anchor = slug
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`
    anchors.add(anchor)
  }
  for (const [, id] of text.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(id!)
  return anchors
}
