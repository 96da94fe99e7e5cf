/** The text of a stream as the lines that a terminal would show. */

const maxLine = 64 << 10; // a longer line is broken
const maxRows = 16; // rows that a screen keeps open
const maxColour = 128; // characters of colour codes that are carried from line to line
const maxEscape = 4 << 10; // a longer control sequence is none

interface Row {
  text: string; // without the colours that were on at its beginning
  before: string; // those
  colour: boolean; // colours are on at its end
  drawn: boolean; // its text came after a carriage return: probably a progress bar
}

/** Takes a line that nothing can change any more. */
export type Emit = (line: string) => void;

/** A value behind its prompt; one of several lines begins on a line of its own, as in IPython, so that its rows line up. */
export function prompted(prompt: string, value: string): string {
  return value.includes('\n') ? `${prompt}\n${value}` : `${prompt} ${value}`;
}

/**
 * Turns text into lines as a terminal would, as far as progress bars need it: after a carriage return the text replaces the line, and
 * "cursor up" goes back to a line above (tqdm's nested bars, rich). Every line is complete in itself: it begins with the colours that
 * are on, and turns them off at its end. Other control sequences are dropped, other control characters made visible. The server
 * folds by the same rules.
 */
export class Screen {
  private rows: Row[] = []; // not final, the lowest one last
  private at = 0; // the cursor's row; rows.length: below all of them
  /** How the cursor came to the beginning of a row, whose text the next text replaces. */
  private home: 'away' | 'fed' | 'returned' = 'away';
  private colours = ''; // colour codes that are on
  private escape = ''; // the beginning of a control sequence whose end has not come

  /** The lines that are not final, those that show something. */
  live(): string[] {
    return this.rows.filter((row) => row.text.trim() !== '').map(wholeLine);
  }

  /** Whether there are lines that are not final. */
  get open(): boolean {
    return this.rows.length > 0;
  }

  /** Takes text. Lines that it does not emit become final by `settle` or `finish`. */
  write(text: string, emit: Emit): void {
    text = this.escape + text;
    this.escape = '';
    let i = 0;
    while (i < text.length) {
      special.lastIndex = i;
      const end = special.exec(text)?.index ?? text.length;
      if (end > i) {
        const plain = visible(text.slice(i, end));
        if (
          text[end] === '\n' &&
          this.rows.length === 0 &&
          !this.colours &&
          this.home === 'away' &&
          end - i <= maxLine
        ) {
          emit(plain); // a whole plain line, as most are
          i = end + 1;
          continue;
        }
        this.put(plain, emit);
        i = end;
        continue;
      }
      let n = 1;
      switch (text[i]) {
        case '\n':
          this.lineFeed(emit);
          break;
        case '\r':
          this.home = 'returned';
          break;
        case '\x1b':
          n = this.control(text.slice(i, i + maxEscape));
          if (n === 0) {
            this.escape = text.slice(i);
            return;
          }
      }
      i += n;
    }
  }

  /** Makes the lines above the cursor final. */
  settle(emit: Emit): void {
    this.emitRows(this.at, emit);
  }

  /** Makes all lines final: nothing comes any more. */
  finish(emit: Emit): void {
    this.emitRows(this.rows.length, emit);
    this.clear();
  }

  /** Drops what is not final. */
  clear(): void {
    this.rows = [];
    this.at = 0;
    this.home = 'away';
    this.colours = '';
    this.escape = '';
  }

  private put(text: string, emit: Emit): void {
    if (this.at === this.rows.length) {
      this.rows.push({ text: '', before: '', colour: false, drawn: false });
      if (this.rows.length > maxRows) {
        this.emitRows(1, emit);
      }
    }
    let row = this.rows[this.at] as Row;
    if (this.home !== 'away') {
      Object.assign(row, { text: '', before: '', drawn: this.home === 'returned' });
      this.home = 'away';
    }
    if (row.text === '') {
      row.before = this.colours;
    }
    row.colour = this.colours !== '';
    row.text += text;
    while (row.text.length > maxLine) {
      // Emitting every row down to this one costs only the chance to redraw those above.
      const cut = isLowSurrogate(row.text.charCodeAt(maxLine)) ? maxLine - 1 : maxLine;
      const rest: Row = { text: row.text.slice(cut), before: this.colours, colour: row.colour, drawn: false };
      row.text = row.text.slice(0, cut);
      this.emitRows(this.at + 1, emit);
      this.rows.unshift(rest);
      this.at = 0;
      row = rest;
    }
  }

  /** Moves the cursor down. A line that was plainly printed at the bottom is final, and so are those above it. */
  private lineFeed(emit: Emit): void {
    this.home = 'away';
    if (this.at === this.rows.length) {
      this.rows.push({ text: '', before: this.colours, colour: this.colours !== '', drawn: false });
    }
    this.at++;
    if ((this.at === this.rows.length && !this.rows[this.at - 1]?.drawn) || this.at > maxRows) {
      this.emitRows(this.at, emit);
    } else if (this.at < this.rows.length) {
      this.home = 'fed';
    }
  }

  private emitRows(n: number, emit: Emit): void {
    const rows = this.rows.splice(0, n);
    this.at = Math.max(0, this.at - n);
    for (const row of rows) {
      if (!row.drawn || row.text.trim() !== '') {
        emit(wholeLine(row)); // a bar that cleared itself leaves nothing
      }
    }
  }

  /** Obeys the control sequence that text begins with, and returns its length; 0 if its end has not come. */
  private control(text: string): number {
    for (const form of sequences) {
      form.lastIndex = 0;
      const found = form.exec(text);
      if (found) {
        if (form === csi) {
          this.csi(found[2] ?? '', found[1] ?? '', found[0]);
        }
        return found[0].length;
      }
    }
    return text.length < maxEscape && unfinished.test(text) ? 0 : 1;
  }

  private csi(final: string, params: string, all: string): void {
    const n = /^\d+$/.test(params) ? Number(params) : 1;
    const row = this.rows[this.at];
    switch (final) {
      case 'm':
        this.colour(params, all);
        break;
      case 'A': // up
      case 'F':
        if (this.at < n && this.rows.length > 0 && this.rows.length < maxRows) {
          // That row is final already. New text must not replace one that is not.
          this.rows.unshift({ text: '', before: '', colour: false, drawn: true });
        }
        this.at = Math.max(0, this.at - n);
        break;
      case 'B': // down
      case 'E':
        this.at = Math.min(this.rows.length, this.at + n);
        break;
      case 'K': // erase to the right, or all
        if (row && (this.home !== 'away' || params === '2')) {
          Object.assign(row, { text: '', before: '', colour: false });
        }
    }
    if (final === 'E' || final === 'F' || (final === 'G' && n === 1)) {
      this.home = 'returned';
    }
  }

  /** Takes a colour code. It is added to the text, except at the beginning of a row, which starts with the active colours anyway. */
  private colour(params: string, all: string): void {
    if (params === '' || params === '0' || this.colours.length + all.length > maxColour) {
      this.colours = '';
    } else {
      this.colours = params.startsWith('0;') ? all : this.colours + all;
    }
    const row = this.rows[this.at];
    if (row && this.home === 'away' && row.text !== '') {
      row.text += all;
      row.colour = this.colours !== '';
    }
  }
}

const special = /[\n\r\x1b\b]/g; // a backspace is dropped: what it takes back is drawn over
const csi = /\x1b\[([ -?]*)([@-~])/y;
const sequences = [
  csi,
  /\x1b\][^\n\x07\x1b]*(?:\x07|\x1b\\)/y, // a title or a link
  /\x1b[ -/]*[0-Z\\^-~]/y, // ESC ( B and the like
];
const unfinished = /^\x1b(?:\[[ -?]*|\][^\n\x07]*|[ -/]*)$/;
const hidden = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** Replaces the control characters of text, but tabs and line feeds, by their pictures. */
export function visible(text: string): string {
  return text.replace(hidden, (c) => {
    const code = c.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? '\u2421' : '\ufffd';
  });
}

/** Text without colours. */
export function plain(text: string): string {
  return text.includes('\x1b') ? text.replace(/\x1b\[[ -?]*[@-~]/g, '') : text;
}

function wholeLine(row: Row): string {
  return row.colour ? `${row.before}${row.text}\x1b[0m` : row.before + row.text;
}

function isLowSurrogate(code: number): boolean {
  return code >= 0xdc00 && code < 0xe000;
}
