/** The cells in view of each editor. They are requested again when the text, the view, or how they ran has changed. */
import * as vscode from 'vscode';
import type { CellInfo } from '../generated/server';
import { inNotebook, isOurs, type Server } from '../server';
import { around, covers, type Lines } from './places';

/** The cells of some lines of a version of a document. */
export interface Shown {
  readonly version: number;
  readonly lines: Lines;
  readonly cells: readonly CellInfo[];
}

/** How long changes are gathered before the server is asked, in milliseconds. */
const pause = 50;

/**
 * There is at most one request at a time per editor. It is for the lines in view and as many above and below, so documents of any length
 * cost the same. An answer for a text that has changed since is dropped: the change has made another request.
 */
export class Watch implements vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<vscode.TextEditor>();
  private readonly editors = new Map<vscode.TextEditor, Watched>();
  private readonly subscription: vscode.Disposable;

  /** Other cells came into view in an editor, or those in view have changed. */
  readonly onChange = this.emitter.event;

  constructor(private readonly server: Server) {
    const all = () => {
      this.editors.forEach((watched) => {
        watched.ask();
      });
    };
    const ofDocument = (uri: vscode.Uri) => {
      this.editors.forEach((watched, editor) => {
        if (editor.document.uri.toString() === uri.toString()) {
          watched.ask();
        }
      });
    };
    this.subscription = vscode.Disposable.from(
      this.emitter,
      vscode.window.onDidChangeVisibleTextEditors(() => {
        this.follow();
      }),
      vscode.workspace.onDidOpenTextDocument(() => {
        this.follow(); // a document whose language was changed is opened anew
      }),
      vscode.window.onDidChangeTextEditorVisibleRanges(({ textEditor }) => this.editors.get(textEditor)?.look()),
      vscode.workspace.onDidChangeTextDocument(({ document }) => {
        ofDocument(document.uri);
      }),
      server.onCellsChanged(ofDocument),
      server.onState(all),
    );
    this.follow();
  }

  /** What is known of the cells that an editor shows. */
  shown(editor: vscode.TextEditor): Shown | undefined {
    return this.editors.get(editor)?.shown;
  }

  dispose(): void {
    this.editors.forEach((watched) => {
      watched.dispose();
    });
    this.subscription.dispose();
  }

  /** Begins with editors that have appeared, and ends with those that are gone. */
  private follow(): void {
    const visible = vscode.window.visibleTextEditors.filter(
      ({ document }) => isOurs(document) && !inNotebook(document),
    );
    for (const [editor, watched] of this.editors) {
      if (!visible.includes(editor)) {
        watched.dispose();
        this.editors.delete(editor);
        this.emitter.fire(editor);
      }
    }
    for (const editor of visible) {
      if (!this.editors.has(editor)) {
        const watched = new Watched(this.server, editor, () => {
          this.emitter.fire(editor);
        });
        this.editors.set(editor, watched);
        watched.ask();
      }
    }
  }
}

/** An editor and what is known of the cells that it shows. */
class Watched implements vscode.Disposable {
  shown: Shown | undefined;
  private timer: NodeJS.Timeout | undefined;
  private asking = false;
  private again = false;
  private gone = false;

  constructor(
    private readonly server: Server,
    private readonly editor: vscode.TextEditor,
    private readonly changed: () => void,
  ) {}

  /** Requests cells if lines are in view that nothing is known of. */
  look(): void {
    if (!covers(this.shown?.lines, this.visible())) {
      this.ask();
    }
  }

  /** Requests cells after a short delay. */
  ask(): void {
    if (this.asking) {
      this.again = true;
    } else {
      this.timer ??= setTimeout(() => void this.fetch(), pause);
    }
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.gone = true;
    this.shown = undefined;
  }

  private async fetch(): Promise<void> {
    this.timer = undefined;
    this.asking = true;
    const { document } = this.editor;
    const lines = around(this.visible(), document.lineCount);
    const answer = await this.answer(document, lines);
    this.asking = false;
    if (this.gone) {
      return;
    }
    if (this.again) {
      this.again = false;
      this.ask();
    }
    if (answer === undefined || answer.version === document.version) {
      this.shown = answer && { version: answer.version, lines, cells: answer.cells };
      this.changed();
    }
  }

  /** The cells of some lines. Undefined if no server can answer. */
  private async answer(
    document: vscode.TextDocument,
    { first, last }: Lines,
  ): Promise<Omit<Shown, 'lines'> | undefined> {
    if (this.server.state !== 'running') {
      return undefined; // another request is made once it runs
    }
    try {
      return await this.server.cells(document, new vscode.Range(first, 0, last, 0));
    } catch (error) {
      this.server.log.debug(String(error)); // it has ended, or the document was closed
      return undefined;
    }
  }

  private visible(): Lines[] {
    const ranges = this.editor.visibleRanges.map(({ start, end }) => ({ first: start.line, last: end.line }));
    return ranges.length > 0 ? ranges : [{ first: 0, last: 0 }];
  }
}
