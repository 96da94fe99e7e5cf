/** VS Code's own notebooks: their cells run where the cells of files do, in the session of their folder. */
import * as vscode from 'vscode';
import { problem } from '../arguments';
import type { Run, Runs } from '../runs';
import type { Server } from '../server';
import { CellRun } from './cellRun';
import { named } from './places';
import { percentType, registerPercent } from './serializer';

/** One per window. */
export class Notebooks implements vscode.Disposable {
  private readonly cells = new Map<vscode.NotebookCell, CellRun>(); // what runs, or waits for its turn
  private readonly chosen = new Set<vscode.NotebookDocument>(); // notebooks whose kernel this is
  private readonly counts = new WeakMap<vscode.NotebookDocument, number>(); // of executions
  private readonly orders = new Map<string, number>(); // by document: the number of its cell's last execution
  private readonly subscription: vscode.Disposable;
  private readonly controllers = new Map<string, vscode.NotebookController>(); // by type of notebook

  constructor(
    private readonly server: Server,
    private readonly runs: Runs,
  ) {
    this.subscription = vscode.Disposable.from(
      this.control('dip', 'jupyter-notebook'),
      this.control('dip-percent', percentType),
      registerPercent(server),
      new vscode.Disposable(
        runs.listen({
          changed: (run) => {
            this.of(run)?.changed(run);
          },
          spliced: (run, index, removed, added) => {
            this.known(run)?.spliced(run, index, removed, added);
          },
          ranksChanged: (run, entry) => {
            this.known(run)?.entryChanged(run, entry);
          },
          waits: (run) => {
            this.known(run)?.redraw();
          },
          live: (run) => {
            this.known(run)?.redraw();
          },
        }),
      ),
      server.onEvent((event) => {
        if (event.event === 'run_finished' && event.run !== undefined) {
          const { run, status } = event;
          this.cells.forEach((cell) => {
            cell.finished(run, status === 'ok' ? 'ok' : status === 'skipped' ? 'skipped' : 'failed');
          });
        }
      }),
      server.onState((state) => {
        if (state === 'stopped') {
          this.cells.forEach((cell) => {
            cell.abandon();
          });
        }
      }),
    );
  }

  /** Whether a notebook shows a run's output. */
  readonly shows = (run: Run): boolean => this.known(run) !== undefined;

  dispose(): void {
    this.subscription.dispose();
  }

  private control(id: string, type: string): vscode.NotebookController {
    const controller = vscode.notebooks.createNotebookController(id, type, 'Dip');
    controller.description = 'locally, on ranks, or everywhere';
    controller.detail = 'Runs in the session of the folder: the variables are those of its files.';
    controller.supportedLanguages = ['python'];
    controller.supportsExecutionOrder = true;
    controller.executeHandler = (cells) => this.execute(cells);
    controller.interruptHandler = (notebook) => this.interrupt(notebook);
    controller.onDidChangeSelectedNotebooks(({ notebook, selected }) => {
      if (selected) {
        this.chosen.add(notebook);
      } else {
        this.chosen.delete(notebook);
      }
    });
    this.controllers.set(type, controller);
    return controller;
  }

  /** Runs cells one after the other, up to the first that fails. */
  private async execute(cells: readonly vscode.NotebookCell[]): Promise<void> {
    const begun = cells.map((cell) => this.begin(cell));
    try {
      const { runs } = await this.server.execute('dip.runDocuments', {
        uris: cells.map(({ document }) => document.uri.toString()),
      });
      begun.forEach((cell, i) => {
        cell.expect(runs[i] ?? []);
      });
    } catch (error) {
      const [first, ...others] = begun;
      first?.fail(new Error(problem(error)));
      others.forEach((cell) => {
        cell.abandon();
      });
    }
  }

  /** Interrupts what runs of a notebook; the cells after it are skipped. Each further time goes a step further. */
  private async interrupt(notebook: vscode.NotebookDocument): Promise<void> {
    const [first] = [...this.cells].filter(([cell]) => cell.notebook === notebook);
    const run = first?.[1].current;
    if (run !== undefined) {
      await vscode.commands.executeCommand('dip.interrupt', { run });
    }
  }

  private begin(cell: vscode.NotebookCell): CellRun {
    const controller = this.controllers.get(cell.notebook.notebookType) as vscode.NotebookController; // it is chosen for none of another type
    const begun = new CellRun(controller.createNotebookCellExecution(cell), {
      next: () => this.count(cell),
      named: (traceback) => named(traceback, (uri) => this.orders.get(uri)),
      ended: () => {
        this.cells.delete(cell);
      },
    });
    this.cells.set(cell, begun);
    return begun;
  }

  private known(run: Run): CellRun | undefined {
    return [...this.cells.values()].find((cell) => cell.has(run));
  }

  /** Where a run is shown. One that a command has started, and not the notebook, is shown at its cell as well. */
  private of(run: Run): CellRun | undefined {
    const known = this.known(run);
    if (known || !run.running || this.runs.past) {
      return known;
    }
    const cell = [...this.chosen]
      .flatMap((notebook) => notebook.getCells())
      .find(({ document }) => document.uri.toString() === run.event.path);
    if (!cell || this.cells.has(cell)) {
      return undefined;
    }
    const begun = this.begin(cell);
    begun.expect([run.id]);
    return begun;
  }

  /** The number of a cell's execution that begins now: it counts those of its notebook. */
  private count({ notebook, document }: vscode.NotebookCell): number {
    const orders = notebook.getCells().map((cell) => cell.executionSummary?.executionOrder ?? 0);
    const count = 1 + (this.counts.get(notebook) ?? Math.max(0, ...orders));
    this.counts.set(notebook, count);
    this.orders.set(document.uri.toString(), count);
    return count;
  }
}
