/** Tracebacks with the frames of libraries folded. `dipexec/view/traceback.go` does the same; `testdata/tracebacks.json` holds both. */
import { plain } from './screen';

/** Lines that are shown, or with `fold` frames of libraries, which that one line stands for. */
export interface TracebackPart {
  readonly text: string;
  readonly fold?: string;
}

interface Block {
  readonly from: number;
  to: number;
  /** The package that it is in; empty if it is the user's. */
  readonly library: string;
  readonly indent: string;
}

const ipythonFrame = /^File (.+?):\d+(?:, in .*)?$/;
const pythonFrame = /^ {2}File "(.+?)", line \d+(?:, in .*)?$/;

const libraries = [
  /\/(?:site|dist)-packages\/([^/]+?)(?:\.\w+)?(?:\/|$)/,
  /\/(dip_agent)\//,
  /\/lib(?:64)?\/python3\.\d+[a-z]?\/|\/python3\d+\.zip\/|^<frozen /,
];

const maxPackages = 3;

/** Cuts a traceback, which may have colours. The last frame before each exception is always shown, and so is every frame of the user's. */
export function tracebackParts(text: string): TracebackPart[] {
  const parts: TracebackPart[] = [];
  const lines = text.split('\n');
  let shown = 0; // the first line that is in no part
  const show = (end: number): void => {
    if (shown < end) {
      parts.push({ text: lines.slice(shown, end).join('\n') });
    }
    shown = end;
  };
  for (let at = 0; at < lines.length;) {
    const blocks = framesAt(lines, at);
    const last = blocks.at(-1);
    if (!last) {
      at++;
      continue;
    }
    at = last.to;
    for (let i = 0; i < blocks.length - 1;) {
      let end = i;
      while (end < blocks.length - 1 && blocks[end]?.library !== '') {
        end++;
      }
      const folded = blocks.slice(i, end);
      const [first] = folded;
      if (!first) {
        i++;
        continue;
      }
      show(first.from);
      shown = (folded.at(-1) ?? first).to;
      parts.push({ text: lines.slice(first.from, shown).join('\n'), fold: first.indent + foldedFrames(folded) });
      i = end;
    }
  }
  show(lines.length);
  return parts;
}

/** The frames that follow one another from a line on. */
function framesAt(lines: readonly string[], start: number): Block[] {
  const blocks: Block[] = [];
  for (let at = start; at < lines.length;) {
    const line = plain(lines[at] ?? '');
    const [, ipython] = ipythonFrame.exec(line) ?? [];
    const [, python] = pythonFrame.exec(line) ?? [];
    const before = blocks.at(-1);
    if (ipython !== undefined) {
      blocks.push({ from: at, to: paragraphEnd(lines, at + 1), library: libraryOf(ipython), indent: '' });
    } else if (python !== undefined) {
      let to = at + 1;
      while (to < lines.length && /^(?: {4}| {2}\[Previous line repeated)/.test(plain(lines[to] ?? ''))) {
        to++;
      }
      blocks.push({ from: at, to, library: libraryOf(python), indent: '  ' });
    } else if (before && line.startsWith('[... skipping ')) {
      before.to = paragraphEnd(lines, at + 1);
    } else {
      break;
    }
    at = blocks.at(-1)?.to ?? lines.length;
  }
  return blocks;
}

/** The line behind the next empty one. */
function paragraphEnd(lines: readonly string[], at: number): number {
  const empty = lines.findIndex((line, i) => i >= at && plain(line) === '');
  return empty < 0 ? lines.length : empty + 1;
}

/** The package that a file is in; empty if it is the user's. */
function libraryOf(file: string): string {
  const path = file.replaceAll('\\', '/');
  for (const form of libraries) {
    const match = form.exec(path);
    if (match) {
      const [, name = 'the standard library'] = match;
      return name === 'dip_agent' ? 'dipls' : name;
    }
  }
  return '';
}

function foldedFrames(blocks: readonly Block[]): string {
  const names = [...new Set(blocks.map(({ library }) => library))];
  const shown = names.length > maxPackages ? [...names.slice(0, maxPackages), '…'] : names;
  return `… ${blocks.length} frame${blocks.length === 1 ? '' : 's'} in ${shown.join(', ')}`;
}
