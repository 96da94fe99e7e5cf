/**
 * A file of `# %%` cells as the cells of a notebook, and back. What was not changed is written as it was, byte for byte. It needs no window.
 *
 * A cell of code shows its marker's line if that says something; a bare `# %%` is left out. A cell of text is shown without its comment signs.
 */
import type { SplitAnswer, SplitCell } from '../generated/server';

/** A cell as a notebook shows it. Its lines end with a line feed. */
export interface PercentCell {
  readonly kind: 'code' | 'markdown' | 'raw';
  readonly value: string;
  /** How it is written in the file; absent for one that was made in the notebook. */
  readonly written?: Written;
}

/** How a cell is written: kept beside it, in its metadata. */
export interface Written {
  readonly kind: string;
  /** All of its text. */
  readonly text: string;
  /** The part of its header that is not shown. */
  readonly header: string;
  /** The line ends after what is shown. */
  readonly tail: string;
  /** How the lines of a text are written. */
  readonly style: 'lines' | 'comments' | 'quotes';
}

/** What of a file is in none of its cells. */
export interface Around {
  readonly gap: string;
  readonly eol: '\n' | '\r\n';
}

const bareMarker = /^#[ \t]*%%[ \t]*\r?\n?$/;

/** What begins a cell, if a line does. */
const marker = /^[ \t\f]*#[ \t]*(%%|In\[|<codecell>)/;

/** The cells of a file that the server has split. */
export function cellsOf({ gap, cells }: SplitAnswer): { around: Around; cells: PercentCell[] } {
  const all = gap + cells.map(({ header, body }) => header + body).join('');
  const crlf = (all.match(/\r\n/g) ?? []).length * 2 > (all.match(/\n/g) ?? []).length;
  return { around: { gap, eol: crlf ? '\r\n' : '\n' }, cells: cells.map(shown) };
}

/** The text of a file with these cells. */
export function textOf({ gap, eol }: Around, cells: readonly PercentCell[]): string {
  let text = gap;
  cells.forEach((cell, i) => {
    if (i > 0 && text !== '' && !/[\r\n]$/.test(text)) {
      text += eol;
    }
    text += written(cell, i, eol);
  });
  return text;
}

function shown({ kind, header, body }: SplitCell): PercentCell {
  const text = header + body;
  const of = kind === 'markdown' ? 'markdown' : kind === 'raw' ? 'raw' : 'code';
  const hidden = of === 'markdown' || (of === 'code' && bareMarker.test(header)) ? header : '';
  const visible = text.slice(hidden.length);
  const tail = /[\r\n]*$/.exec(visible)?.[0] ?? '';
  const lines = normal(visible.slice(0, visible.length - tail.length));
  const style = of === 'markdown' ? styleOf(lines) : 'lines';
  return { kind: of, value: unstyled(lines, style), written: { kind: of, text, header: hidden, tail, style } };
}

function written({ kind, value, written: was }: PercentCell, index: number, eol: string): string {
  const before = was && was.kind === kind ? was : undefined;
  if (before && unstyled(visibleOf(before), before.style) === normal(value) && (index === 0 || begins(before.text))) {
    return before.text;
  }
  const style = before?.style ?? (kind === 'markdown' ? 'comments' : 'lines');
  const body = styled(normal(value), style);
  const needs = before?.header === undefined || before.header === '';
  const made = kind === 'markdown' ? '# %% [markdown]\n' : kind === 'raw' ? '# %% [raw]\n' : '# %%\n';
  const stands = begins(body) || (index === 0 && before !== undefined && !begins(before.text));
  const header = needs ? (kind !== 'markdown' && stands ? '' : made) : normal(before.header);
  return ends(header + body, eol) + (before ? before.tail || eol : eol + eol);
}

function begins(text: string): boolean {
  return marker.test(text);
}

function visibleOf({ text, header, tail }: Written): string {
  return normal(text.slice(header.length, text.length - tail.length));
}

function ends(text: string, eol: string): string {
  return text.replaceAll('\n', eol);
}

function normal(text: string): string {
  return text.replaceAll(/\r\n?/g, '\n');
}

/** How a text's lines are written, if what is shown of them can be written so again. */
function styleOf(lines: string): Written['style'] {
  for (const style of ['comments', 'quotes'] as const) {
    if (styled(unstyled(lines, style), style) === lines) {
      return style;
    }
  }
  return 'lines';
}

function unstyled(lines: string, style: Written['style']): string {
  switch (style) {
    case 'comments':
      return lines.replaceAll(/^#[ ]?/gm, '');
    case 'quotes':
      return /^"""\n([^]*)\n"""$/.exec(lines)?.[1] ?? lines;
    case 'lines':
      return lines;
  }
}

function styled(value: string, style: Written['style']): string {
  switch (style) {
    case 'comments':
      return value
        .split('\n')
        .map((line) => (line === '' ? '#' : `# ${line}`))
        .join('\n');
    case 'quotes':
      return `"""\n${value}\n"""`;
    case 'lines':
      return value;
  }
}
