/** One execution of a notebook's cell: the runs of its code, and their output. */
import * as vscode from 'vscode';
import type { Run } from '../runs';
import type { Entry } from '../timeline';
import { type Block, Blocks } from './blocks';
import { Painter } from './painter';

/** For how long changes are gathered before they are drawn, in milliseconds. */
const gather = 100;

/** How a cell's runs have ended. */
type Outcome = 'ok' | 'failed' | 'skipped';

/** What a cell needs of its notebook. */
export interface Notebook {
  /** The number of the execution that begins now. */
  next(): number;
  /** A traceback with the places in cells of notebooks as people know them. */
  named(traceback: string): string;
  /** The cell's execution has ended. */
  ended(): void;
}

export class CellRun {
  private readonly painter: Painter;
  private readonly ids = new Set<string>(); // of runs that have not ended
  private readonly blocks = new Map<Run, Blocks>();
  private worst: Outcome = 'ok';
  private begun = false;
  private over = false;
  private timer: NodeJS.Timeout | undefined;
  private drawing: Promise<void> = Promise.resolve();

  constructor(
    readonly execution: vscode.NotebookCellExecution,
    private readonly notebook: Notebook,
  ) {
    this.painter = new Painter(execution);
  }

  /** The first of its runs that has not ended. */
  get current(): string | undefined {
    return [...this.ids][0];
  }

  /** Its runs, in their order. Without any there is nothing to run. */
  expect(ids: readonly string[]): void {
    for (const id of ids) {
      this.ids.add(id);
    }
    if (ids.length === 0) {
      this.end('ok');
    }
  }

  /** Whether a run is one of its own, or was asked for by one. */
  has({ event }: Run): boolean {
    const of = (id: string | undefined) => id !== undefined && (this.ids.has(id) || this.byId(id) !== undefined);
    return of(event.run) || of(event.parent);
  }

  /** One of its runs has begun, changed or ended. */
  changed(run: Run): void {
    if (this.over) {
      return;
    }
    if (!this.begun) {
      this.begun = true;
      this.execution.executionOrder = this.notebook.next();
      this.execution.start(run.started);
      void this.execution.clearOutput();
    }
    const known = this.blocks.get(run);
    if (!known) {
      this.blocks.set(run, new Blocks(run, (traceback) => this.notebook.named(traceback)));
    } else if (run.event.quiet && !run.running) {
      known.anew();
    }
    this.redraw();
    if (run.status !== undefined) {
      this.finished(run.id, run.status === 'ok' ? 'ok' : run.status === 'skipped' ? 'skipped' : 'failed');
    }
  }

  spliced(run: Run, index: number, removed: number, added: readonly Entry[]): void {
    if (added.length === 0 && index === 0 && removed > 0) {
      this.blocks.get(run)?.anew();
    } else {
      this.blocks.get(run)?.changed(index);
    }
    this.redraw();
  }

  entryChanged(run: Run, entry: Entry): void {
    this.blocks.get(run)?.entryChanged(entry);
    this.redraw();
  }

  /** Shows its output as it is now, in a moment. */
  redraw(): void {
    if (!this.over) {
      this.timer ??= setTimeout(() => {
        this.drawing = this.drawing.then(() => this.draw()).catch(() => undefined); // the notebook was closed
      }, gather);
    }
  }

  /** A run has ended; one whose turn never came is told of only here. */
  finished(id: string, outcome: Outcome): void {
    if (!this.ids.delete(id)) {
      return;
    }
    if (outcome !== 'ok' && this.worst !== 'failed') {
      this.worst = outcome;
    }
    if (this.ids.size === 0) {
      this.end(this.worst);
    }
  }

  /** Ends it with what went wrong. */
  fail(error: Error): void {
    this.execution.start(Date.now());
    void this.execution.replaceOutput(
      new vscode.NotebookCellOutput([
        vscode.NotebookCellOutputItem.error({ name: '', message: error.message, stack: '' }),
      ]),
    );
    this.end('failed');
  }

  /** Ends it, though its runs may go on: nobody tells of them any more. */
  abandon(): void {
    this.end(this.begun ? 'failed' : 'skipped');
  }

  private end(outcome: Outcome): void {
    if (this.over) {
      return;
    }
    this.over = true;
    clearTimeout(this.timer);
    this.timer = undefined;
    const now = Date.now();
    void this.drawing
      .then(() => this.draw())
      .catch(() => undefined) // the notebook was closed
      .then(() => {
        this.execution.end(outcome === 'skipped' ? undefined : outcome === 'ok', this.begun ? now : undefined);
        this.notebook.ended();
      });
  }

  private byId(id: string): Run | undefined {
    return [...this.blocks.keys()].find((run) => run.id === id);
  }

  private async draw(): Promise<void> {
    this.timer = undefined;
    if (!this.begun) {
      return;
    }
    const shown: Block[] = [];
    for (const [run, blocks] of this.blocks) {
      run.timeline.settle();
      shown.push(...blocks.take());
    }
    await this.painter.draw(shown);
  }
}
