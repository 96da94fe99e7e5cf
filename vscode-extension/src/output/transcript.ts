/** Everything that one process puts out, as lines of text. */
import type { DipEvent, DisplayEvent, FailureEvent, ResultEvent, RunStartedEvent } from '../generated/server';
import { duration, LOCAL, targetWords } from '../ranks';
import { prompted, Screen } from '../screen';

/** How many displays that may be updated a process has open at a time. */
const maxDisplays = 64;

/** Which process an event is about; undefined if it is about none. */
export function processOf(event: DipEvent): number | undefined {
  return event.local === true ? LOCAL : event.rank;
}

/**
 * A transcript has both streams on one screen, as on a terminal. It says where a run begins and how the process's part in it has ended.
 * A run in which the process puts out nothing leaves no trace.
 */
export class Transcript {
  private readonly screen = new Screen();
  private readonly displays = new Map<string, string>(); // updates that may change again
  private run: string | undefined; // of the last heading
  private failure: string | undefined; // class of the exception that ended its code

  constructor(
    private readonly rank: number,
    /** What a run is called. */
    private readonly headingOf: (run: string) => string | undefined,
  ) {}

  /** Takes an event of the process, and returns the lines that are final. */
  take(event: DipEvent): string[] {
    const lines: string[] = [];
    const emit = (line: string) => lines.push(line);
    switch (event.event) {
      case 'stream':
        this.begin(event.run, emit);
        this.screen.write(event.text, emit);
        break;
      case 'display':
        this.begin(event.run, emit);
        this.display(event, emit);
        break;
      case 'result':
        this.begin(event.run, emit);
        this.screen.finish(emit);
        emitText(
          prompted(`Out[${this.rank === LOCAL ? '' : `${this.rank}:`}${event.execution_count}]:`, richText(event)),
          emit,
        );
        break;
      case 'error':
        this.begin(event.run, emit);
        this.screen.finish(emit);
        emitText(traceback(event), emit);
        this.failure = event.ename;
        break;
      case 'log':
        this.begin(event.run, emit);
        emitText(event.text, emit);
        break;
      case 'rank_state':
        if (event.state === 'dead') {
          this.begin(event.run, emit);
        }
        if (event.state === 'ready' || event.state === 'dead' || event.state === 'stopped') {
          this.finish(emit);
          if (event.run === this.run || event.reason !== undefined) {
            emit(outcome(event.status, event.reason ?? this.failure, event.seconds));
          }
        }
    }
    return lines;
  }

  /** Makes all lines final, and returns them: the process has ended. */
  end(): string[] {
    const lines: string[] = [];
    this.finish((line) => lines.push(line));
    return lines;
  }

  /** The lines that are not final. */
  live(): string[] {
    return [...this.screen.live(), ...[...this.displays.values()].flatMap((text) => text.split('\n'))];
  }

  /** Says which run the output belongs to from here on, if it is another one. */
  private begin(run: string | undefined, emit: (line: string) => void): void {
    if (run !== undefined && run !== this.run) {
      this.finish(emit);
      this.run = run;
      this.failure = undefined;
      const heading = this.headingOf(run);
      if (heading !== undefined) {
        emit(headline(heading));
      }
    }
  }

  private display(event: DisplayEvent, emit: (line: string) => void): void {
    const id = event.display_id;
    if (event.clear === true) {
      this.screen.clear();
      this.displays.clear();
    } else if (
      event.update === true &&
      id !== undefined &&
      (this.displays.has(id) || this.displays.size < maxDisplays)
    ) {
      this.displays.set(id, richText(event)); // only the last one stays
    } else {
      this.screen.settle(emit);
      emitText(richText(event), emit);
    }
  }

  private finish(emit: (line: string) => void): void {
    this.screen.finish(emit);
    for (const text of this.displays.values()) {
      emitText(text, emit);
    }
    this.displays.clear();
  }
}

function emitText(text: string, emit: (line: string) => void): void {
  text.split('\n').forEach(emit);
}

/** Rich output for a reader of text: its text, and the files that hold the rest. */
function richText(event: DisplayEvent | ResultEvent): string {
  const data = event.data ?? {};
  const plain = data['text/plain'];
  let text = typeof plain === 'string' ? plain : `<${Object.keys(data).sort().join(', ')}>`;
  for (const [type, file] of Object.entries(event.files ?? {}).sort()) {
    // HTML says the same as the text (a table does), unless that is only a placeholder such as "<… HTML object>".
    if (type !== 'text/html' || text.startsWith('<')) {
      text += ` [${file}]`;
    }
  }
  return text;
}

function traceback(event: FailureEvent): string {
  const text = event.traceback.join('\n').trimEnd();
  return text === '' ? `${event.ename}: ${event.evalue}` : text;
}

function outcome(status: string | undefined, why: string | undefined, seconds: number | undefined): string {
  const facts = [
    status === 'ok' ? undefined : (why ?? status),
    seconds === undefined ? undefined : duration(seconds),
  ].filter((fact) => fact !== undefined);
  return marked(`${status === 'ok' ? '✓' : '✗'} ${facts.join(' · ')}`);
}

/** A sentence of ours that begins with how something ended, in the colours of the command line. */
export function marked(text: string): string {
  const colour = text.startsWith('✓') ? 32 : 31;
  return `\x1b[${colour}m${text.slice(0, 1)}\x1b[0m\x1b[2m${text.slice(1)}\x1b[0m`;
}

/** A heading as a line. It begins with characters that are no word: editors mark every occurrence of the word at the cursor. */
export function headline(text: string): string {
  return `\x1b[2m--- ${text}\x1b[0m`;
}

/** What a run is called: `Cell 3: Train (all ranks)`. */
export function heading(event: Readonly<Omit<RunStartedEvent, 'event'>>): string {
  const cell = event.cell === undefined || event.cell === 0 ? undefined : `Cell ${event.cell}`;
  const name = [cell, event.title].filter((part) => part !== undefined && part !== '').join(': ');
  return `${name === '' ? 'Run' : name}${event.target === 'local' ? '' : ` (${targetWords(event.target)})`}`;
}
