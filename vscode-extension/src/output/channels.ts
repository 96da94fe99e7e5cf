/**
 * The output channels. `Dip` has what a person wants to read, folded by the server; `Dip: local` and `Dip: rank N` have everything of one
 * process. Where a pool is on several hosts, the channel of a rank says which: `Dip: rank 11 (gpu2)`. A channel is made when it gets its first text.
 */
import * as vscode from 'vscode';
import type { DipEvent, FoldedItem, FoldedParams } from '../generated/server';
import { whose } from '../ranks';
import type { Runs } from '../runs';
import { plain } from '../screen';
import type { Server } from '../server';
import type { Sessions } from '../sessions/sessions';
import { paint } from './colours';
import { Page } from './page';
import { heading, headline, marked, processOf, Transcript } from './transcript';

/** How long new text is collected before it is shown, in milliseconds. */
const gather = 50;

/**
 * How many bytes a channel gets before a new one replaces it. VS Code writes everything that a channel is ever given, replaced text
 * included, to a file. At 30 MB it rotates that file, and the channel would be empty.
 */
const wornOut = 20_000_000;

/** Scheme of the documents that show output channels. */
const scheme = 'output';

/** A channel, and what it is filled with. */
class Channel implements vscode.Disposable {
  private channel: vscode.OutputChannel;
  private written = 0;
  readonly page: Page;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private name: string,
    pointer: () => string,
  ) {
    this.channel = vscode.window.createOutputChannel(name);
    this.page = new Page(
      {
        append: (text) => {
          this.channel.append(text);
          this.wear(text);
        },
        replace: (text) => {
          this.channel.replace(text);
          this.wear(text);
        },
      },
      plain,
      pointer,
    );
  }

  write(lines: readonly string[], live: readonly string[]): void {
    this.page.add(lines);
    this.page.setLive(live, Date.now());
    this.flushSoon(gather);
  }

  flushSoon(after: number): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const again = this.page.flush(Date.now(), this.visible());
      if (again !== undefined) {
        this.flushSoon(Math.max(again, gather));
      }
    }, after);
  }

  show(): void {
    this.channel.show(true);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.channel.dispose();
  }

  /** Whether a document shows this channel. */
  isIn(document: vscode.TextDocument): boolean {
    return document.uri.scheme === scheme && document.uri.path.endsWith(`-${this.name}`);
  }

  private wear(text: string): void {
    this.written += Buffer.byteLength(text);
    if (this.written >= wornOut) {
      this.renew();
    }
  }

  /** Gives the channel another name. Its text stays. */
  rename(name: string): void {
    if (name !== this.name) {
      this.name = name;
      this.renew();
    }
  }

  /** Replaces VS Code's channel by one with what is shown now. */
  private renew(): void {
    const visible = this.visible();
    this.channel.dispose();
    this.channel = vscode.window.createOutputChannel(this.name);
    const { shown } = this.page;
    this.channel.append(shown);
    this.written = Buffer.byteLength(shown);
    if (visible) {
      this.show();
    }
  }

  private visible(): boolean {
    return vscode.window.visibleTextEditors.some((editor) => this.isIn(editor.document));
  }
}

/** The channels of the window. */
export class OutputChannels implements vscode.Disposable {
  private readonly channels = new Map<number | undefined, Channel>(); // by rank; undefined: of all processes
  private readonly transcripts = new Map<number, Transcript>();
  private readonly hosts = new Map<number, string | undefined>(); // of ranks, where a pool is on several
  private readonly disposable: vscode.Disposable;

  constructor(
    server: Server,
    private readonly runs: Runs,
    sessions: Sessions,
  ) {
    this.disposable = vscode.Disposable.from(
      server.onFolded((folded) => {
        this.folded(folded);
      }),
      server.onEvent((event) => {
        this.event(event);
      }),
      sessions.listen({
        past: (again) => {
          if (again) {
            this.empty();
          }
        },
        left: (outlived) => {
          if (!outlived) {
            this.ended();
          }
        },
      }),
      vscode.window.onDidChangeVisibleTextEditors((editors) => {
        for (const editor of editors) {
          this.paint(editor);
          this.channelOf(editor.document)?.flushSoon(0); // live lines are drawn only while somebody is looking
        }
      }),
      vscode.window.onDidChangeTextEditorVisibleRanges(({ textEditor }) => {
        this.paint(textEditor);
      }),
      vscode.workspace.onDidChangeTextDocument(({ document }) => {
        if (document.uri.scheme === scheme) {
          vscode.window.visibleTextEditors
            .filter((editor) => editor.document === document)
            .forEach((editor) => {
              this.paint(editor);
            });
        }
      }),
      vscode.commands.registerCommand('dip.showChannel', (rank?: number) => {
        this.show(rank);
      }),
    );
  }

  /** Shows the channel of a process, or that of all, without taking the focus. */
  show(rank?: number): void {
    (this.channels.get(rank) ?? this.channel(undefined)).show();
  }

  dispose(): void {
    vscode.Disposable.from(this.disposable, ...this.channels.values()).dispose();
  }

  private folded(told: FoldedParams): void {
    const items = told.items ?? [];
    if (this.channels.has(undefined) || items.length > 0 || told.live !== undefined) {
      const lines = items.flatMap(textOf);
      this.channel(undefined).write(lines, told.live ?? []);
    }
  }

  private event(event: DipEvent): void {
    const rank = processOf(event);
    if (rank === undefined) {
      return;
    }
    let transcript = this.transcripts.get(rank);
    if (!transcript) {
      transcript = new Transcript(rank, (run) => {
        const known = this.runs.get(run);
        return known && heading(known.event);
      });
      this.transcripts.set(rank, transcript);
    }
    if (event.event === 'rank_state' && event.state === 'busy') {
      this.hosts.set(rank, event.host);
      this.channels.get(rank)?.rename(this.nameOf(rank));
    }
    const lines = transcript.take(event);
    const live = transcript.live();
    if (this.channels.has(rank) || lines.length > 0 || live.length > 0) {
      this.channel(rank).write(lines, live);
    }
  }

  /** The server has ended, and with it every process: live lines do not change any more. */
  private ended(): void {
    for (const [rank, transcript] of this.transcripts) {
      this.channels.get(rank)?.write(transcript.end(), []);
    }
    this.channels.get(undefined)?.write([marked('✗ the server has ended, and Python with it')], []);
  }

  /** A session is about to tell again what the channels have. */
  private empty(): void {
    this.transcripts.clear();
    for (const channel of this.channels.values()) {
      channel.page.empty();
    }
  }

  private channel(rank: number | undefined): Channel {
    let channel = this.channels.get(rank);
    if (!channel) {
      channel = new Channel(this.nameOf(rank), () => this.pointer());
      this.channels.set(rank, channel);
    }
    return channel;
  }

  private nameOf(rank: number | undefined): string {
    return rank === undefined ? 'Dip' : `Dip: ${whose([rank], (of) => this.hosts.get(of))}`;
  }

  /** Where all of the output is kept. */
  private pointer(): string {
    const journal = this.runs.list.findLast((run) => run.event.journal !== undefined)?.event.journal;
    return journal === undefined ? 'See the journal.' : `The journal is ${journal}`;
  }

  private channelOf(document: vscode.TextDocument): Channel | undefined {
    return [...this.channels.values()].find((channel) => channel.isIn(document));
  }

  private paint(editor: vscode.TextEditor): void {
    const channel = editor.document.uri.scheme === scheme ? this.channelOf(editor.document) : undefined;
    if (channel) {
      paint(editor, (line) => channel.page.line(line));
    }
  }
}

function textOf({ kind, text }: FoldedItem): string[] {
  switch (kind) {
    case 'heading':
      return [headline(text)];
    case 'outcome':
      return [marked(text)];
    default:
      return text.split('\n');
  }
}
