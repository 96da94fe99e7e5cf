/**
 * Edits of a document's cells, as functions of its text: what to replace, and where the cursor stands afterwards. The server says what a
 * cell is. Here it is a range of lines, with the blank lines before the next cell.
 */

export interface Position {
  readonly line: number;
  readonly character: number;
}

export interface Range {
  readonly start: Position;
  readonly end: Position;
}

/** A document's text. Lines are without their terminators. */
export interface Text {
  readonly lineCount: number;
  readonly eol: string;
  line(number: number): string;
}

/** The lines of a cell, from 0; both belong to it. */
export interface CellLines {
  readonly first: number;
  readonly last: number;
  /** Whether the first line is a marker. The text before the first marker has none. */
  readonly header: boolean;
}

export interface Edit extends Range {
  readonly text: string;
}

/** Edits that do not touch each other, with positions as before all of them, and the place of the cursor after all of them. */
export interface Change {
  readonly edits: readonly Edit[];
  readonly cursor: Position;
}

/** The lines of a cell as the server describes it. */
export function linesOf(cell: { readonly range: Range; readonly header: Range }): CellLines {
  const { header, range } = cell;
  return {
    first: range.start.line,
    last: range.end.line,
    header: header.start.line !== header.end.line || header.start.character !== header.end.character,
  };
}

/** An empty cell in front of another. */
export function insertAbove(text: Text, cell: CellLines): Change {
  const { eol } = text;
  const { marker, indent } = markerLike(text, cell);
  const apart = cell.first > 0 && !isBlank(text.line(cell.first - 1)) ? eol : '';
  // Text before the first marker gets a marker of its own; otherwise it would become the new cell's body.
  const own = cell.header ? '' : marker + eol;
  return {
    edits: [insertion(at(cell.first, 0), apart + marker + eol + indent + eol + eol + own)],
    cursor: at(cell.first + (apart ? 2 : 1), indent.length),
  };
}

/** An empty cell behind another; in a document without cells, its first one. */
export function insertBelow(text: Text, cell: CellLines | undefined): Change {
  const { eol } = text;
  if (!cell) {
    return appendCell(text, text.lineCount - 1, '# %%', '');
  }
  const { marker, indent } = markerLike(text, cell);
  if (cell.last === text.lineCount - 1) {
    return appendCell(text, cell.last, marker, indent);
  }
  const apart = isBlank(text.line(cell.last)) ? '' : eol;
  return {
    edits: [insertion(at(cell.last + 1, 0), apart + marker + eol + indent + eol + eol)],
    cursor: at(cell.last + (apart ? 3 : 2), indent.length),
  };
}

/** An empty cell at the end of the document, one blank line below its last text. */
function appendCell(text: Text, last: number, marker: string, indent: string): Change {
  const { eol } = text;
  const end = endOf(text, last);
  const line = lastText(text, 0, last);
  if (line < 0) {
    return { edits: [{ start: at(0, 0), end, text: marker + eol + indent }], cursor: at(1, indent.length) };
  }
  return {
    edits: [{ start: endOf(text, line), end, text: eol + eol + marker + eol + indent }],
    cursor: at(line + 3, indent.length),
  };
}

/**
 * Splits a cell at the cursor, or at both ends of a selection, which then becomes a cell of its own. Blank lines there are replaced by
 * the marker. If nothing is left below, a new cell begins there.
 */
export function split(text: Text, cell: CellLines, selection: Range): Change {
  const top = gapAt(text, cell, selection.start);
  if (compare(selection.start, selection.end) === 0) {
    return top ? { edits: [top.edit], cursor: top.below } : insertBelow(text, cell);
  }
  const bottom = gapAt(text, cell, selection.end);
  const gaps = [top, ...(top && bottom && compare(top.edit.start, bottom.edit.start) === 0 ? [] : [bottom])];
  return {
    edits: gaps.flatMap((gap) => (gap && !gap.first ? [gap.edit] : [])),
    cursor: top && !top.first ? top.below : selection.start,
  };
}

/** A place where a cell is split. */
interface Gap {
  /** Whether there is nothing but the marker above. */
  readonly first: boolean;
  readonly edit: Edit;
  /** Where what was below the place begins after the edit, if it is the only one. */
  readonly below: Position;
}

/** The gap between what is above and below a place; undefined if nothing is below. */
function gapAt(text: Text, cell: CellLines, place: Position): Gap | undefined {
  const { eol } = text;
  const body = cell.header ? cell.first + 1 : cell.first;
  const from = place.line < body ? at(body, 0) : place;
  const next = nextText(text, from, cell.last);
  if (!next) {
    return undefined;
  }
  const before = text.line(from.line).slice(0, from.character).trimEnd();
  const above = before === '' ? lastText(text, cell.first, from.line - 1) : from.line;
  const start = before !== '' ? at(from.line, before.length) : above < 0 ? at(cell.first, 0) : endOf(text, above);
  // Text that is taken out of its line keeps the line's indentation.
  const indent = indentOf(text.line(next.line));
  const torn = next.character > indent.length;
  const lead = above < 0 ? '' : eol + eol;
  return {
    first: above < body,
    edit: {
      start,
      end: torn ? next : at(next.line, 0),
      text: lead + markerLike(text, cell).marker + eol + (torn ? indent : ''),
    },
    below: at(start.line + (lead ? 3 : 1), indent.length),
  };
}

/** The first text from a place on that is not blank; undefined if there is none up to a line's end. */
function nextText(text: Text, from: Position, last: number): Position | undefined {
  for (let line = from.line, character = from.character; line <= last; line++, character = 0) {
    const found = text.line(line).slice(character).search(/\S/);
    if (found >= 0) {
      return at(line, character + found);
    }
  }
  return undefined;
}

/**
 * Swaps two neighbouring cells. Blank lines between cells stay where they are. The cursor goes with the cell that is moved. The text
 * before the first marker gets a marker if it is not the first cell any more.
 */
export function swap(
  text: Text,
  upper: CellLines,
  lower: CellLines,
  moved: 'upper' | 'lower',
  cursor: Position,
): Change {
  const { eol } = text;
  const header = upper.header ? '' : markerLike(text, lower).marker + eol;
  const upperEnd = contentEnd(text, upper);
  const lowerEnd = contentEnd(text, lower);
  const between = slice(text, upperEnd, at(lower.first, 0));
  if (moved === 'upper') {
    const line = Math.min(cursor.line, upperEnd.line) + lowerEnd.line - upperEnd.line + (header ? 1 : 0);
    return {
      edits: [
        { start: at(upper.first, 0), end: at(lower.first, 0), text: '' },
        insertion(lowerEnd, between + header + slice(text, at(upper.first, 0), upperEnd)),
      ],
      cursor: at(line, cursor.character),
    };
  }
  return {
    edits: [
      insertion(at(upper.first, 0), slice(text, at(lower.first, 0), lowerEnd) + between + header),
      { start: upperEnd, end: lowerEnd, text: '' },
    ],
    cursor: at(Math.min(cursor.line, lowerEnd.line) - (lower.first - upper.first), cursor.character),
  };
}

/** A document without a cell. */
export function remove(text: Text, cell: CellLines): Change {
  const range = whole(text, cell);
  // The last line keeps or lacks its terminator as before.
  const ends = cell.last < text.lineCount - 1 || text.line(cell.last) === '';
  const start = ends || cell.first === 0 ? range.start : endOf(text, cell.first - 1);
  return { edits: [{ start, end: range.end, text: '' }], cursor: start };
}

/** All of a cell, up to where the next one begins. */
export function whole(text: Text, cell: CellLines): Range {
  return {
    start: at(cell.first, 0),
    end: cell.last + 1 < text.lineCount ? at(cell.last + 1, 0) : endOf(text, cell.last),
  };
}

/** Where the cursor goes in a cell: the line below its marker. */
export function entry(text: Text, cell: CellLines): Position {
  if (!cell.header) {
    return at(cell.first, 0);
  }
  return cell.first < cell.last
    ? at(cell.first + 1, indentOf(text.line(cell.first + 1)).length)
    : endOf(text, cell.first);
}

/** Whether there is something in a cell below its marker. */
export function hasBody(text: Text, cell: CellLines): boolean {
  return lastText(text, cell.header ? cell.first + 1 : cell.first, cell.last) >= 0;
}

/** A marker like that of a cell: its indentation, spelling and depth, without what it says. */
function markerLike(text: Text, cell: CellLines): { marker: string; indent: string } {
  const line = text.line(cell.first);
  const indent = cell.header ? indentOf(line) : '';
  const [spelling = '# %%'] = (cell.header && /^#[ \t]*%%+(?=\s|\[|$)/.exec(line.trimStart())) || [];
  return { marker: indent + spelling, indent };
}

function contentEnd(text: Text, cell: CellLines): Position {
  return endOf(text, Math.max(lastText(text, cell.first, cell.last), cell.first));
}

/** The last of the lines from first to last that is not blank, -1 if all are. */
function lastText(text: Text, first: number, last: number): number {
  for (let line = last; line >= first; line--) {
    if (!isBlank(text.line(line))) {
      return line;
    }
  }
  return -1;
}

function slice(text: Text, start: Position, end: Position): string {
  if (start.line === end.line) {
    return text.line(start.line).slice(start.character, end.character);
  }
  const lines = [text.line(start.line).slice(start.character)];
  for (let line = start.line + 1; line < end.line; line++) {
    lines.push(text.line(line));
  }
  lines.push(text.line(end.line).slice(0, end.character));
  return lines.join(text.eol);
}

function at(line: number, character: number): Position {
  return { line, character };
}

function endOf(text: Text, line: number): Position {
  return at(line, text.line(line).length);
}

function insertion(place: Position, text: string): Edit {
  return { start: place, end: place, text };
}

function isBlank(line: string): boolean {
  return line.trim() === '';
}

function indentOf(line: string): string {
  return /^[ \t]*/.exec(line)?.[0] ?? '';
}

function compare(a: Position, b: Position): number {
  return a.line - b.line || a.character - b.character;
}
