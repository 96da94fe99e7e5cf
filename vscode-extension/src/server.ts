/** The language server: its process, its life, and typed requests, so that no other module knows how it is reached. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import * as vscode from 'vscode';
import {
  CloseAction,
  type ConfigurationParams,
  type DynamicFeature,
  ErrorAction,
  LanguageClient,
  type LanguageClientOptions,
  NotificationType0,
  RevealOutputChannelOn,
  ShowMessageNotification,
  ShowMessageRequest,
  type StaticFeature,
} from 'vscode-languageclient/node';
import type {
  CellsAnswer,
  CellsChangedParams,
  CellsParams,
  ClientNotifications,
  CommandAnswers,
  CommandArguments,
  DipEvent,
  FoldedParams,
  GoneParams,
  GoneRun,
  InitializationOptions,
  InputParams,
  SessionParams,
  SplitAnswer,
  SplitParams,
} from './generated/server';
import { askInput } from './input';
import { showMessage } from './messages';
import { type Ask, kindOf } from './questions';
import { Restarts } from './restarts';
import { ending, serverPath, startServer } from './serverPath';
import type { Sessions } from './sessions/sessions';

/** The scheme of cells of notebooks: each is a document of its own. */
export const notebookCell = 'vscode-notebook-cell';

/** The documents that the server handles. Untitled ones have no file, but may have cells. */
const documents = [
  { language: 'python', scheme: 'file' },
  { language: 'python', scheme: 'untitled' },
  { language: 'python', scheme: notebookCell },
];

/** Whether the server knows a document. */
export function isOurs(document: vscode.TextDocument): boolean {
  return vscode.languages.match(documents, document) > 0;
}

/** Whether a document is a cell of a notebook, which shows by itself where it begins and how it ran. */
export function inNotebook(document: vscode.TextDocument): boolean {
  return document.uri.scheme === notebookCell;
}

export type ServerState = 'starting' | 'running' | 'stopped';

/** What another extension knows of the interpreter, for folders whose setting `dip.python` is empty. */
export type Interpreter = (folder: vscode.Uri | undefined) => Promise<string | undefined>;

/**
 * Commands are registered by `registerCommands` when the extension is activated, not by the client when the server has started. So
 * they are there from the first moment, and take their arguments from the editor. [[Server]] reports failures once,
 * not for every request.
 */
class Client extends LanguageClient {
  override registerFeature(feature: StaticFeature | DynamicFeature<object>): void {
    if ('registrationType' in feature && feature.registrationType.method === 'workspace/executeCommand') {
      return;
    }
    super.registerFeature(feature);
  }

  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

/** With a name alone the client would send an empty list of parameters. */
const trusted = new NotificationType0('dip/trusted' satisfies keyof ClientNotifications);

/** How long a server's processes may take to end, in milliseconds, before another server is started beside them. */
const patience = 15_000;

/** After so many milliseconds without a change of cells, their lenses are asked for once more. */
const quiet = 2_000;

/** One per window. Its events come in the server's order. */
export class Server implements vscode.Disposable {
  private readonly eventEmitter = new vscode.EventEmitter<DipEvent>();
  private readonly foldedEmitter = new vscode.EventEmitter<FoldedParams>();
  private readonly goneEmitter = new vscode.EventEmitter<readonly GoneRun[]>();
  private readonly cellsEmitter = new vscode.EventEmitter<vscode.Uri>();
  private readonly stateEmitter = new vscode.EventEmitter<ServerState>();
  private readonly restarts = new Restarts();
  private running: Promise<Client> | undefined;
  private process: ChildProcessWithoutNullStreams | undefined;
  /** Settled once the previous server has ended: there is never more than one. */
  private ended: Promise<void> = Promise.resolve();
  private current: ServerState = 'stopped';
  private lensTimer: NodeJS.Timeout | undefined;

  /** The events of runs. */
  readonly onEvent = this.eventEmitter.event;
  /** The same, folded for a person to read, as on a terminal. */
  readonly onFolded = this.foldedEmitter.event;
  /** What runs have left is gone: their namespaces have ended. */
  readonly onGone = this.goneEmitter.event;

  /** The states of a document's cells have changed. Changes of its text do not count. */
  readonly onCellsChanged = this.cellsEmitter.event;
  readonly onState = this.stateEmitter.event;

  constructor(
    private readonly context: vscode.ExtensionContext,
    /** The server's own log, not what runs print. */
    readonly log: vscode.LogOutputChannel,
    private readonly interpreter: Interpreter,
    private readonly sessions: Sessions,
    private readonly ask: Ask,
  ) {}

  get state(): ServerState {
    return this.current;
  }

  /** Starts the server, if it does not run. An error says why it cannot; the user has been told. */
  async start(): Promise<void> {
    await this.connected();
  }

  /** Ends the server, and starts another. Sessions that outlive it go on meanwhile. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Ends the server, and waits a limited time for everything that ends with it. */
  stop(): Promise<void> {
    const { running } = this;
    if (running) {
      this.running = undefined;
      this.become('stopped'); // at once: requests from now on are for the next one
      this.ended = this.end(running);
    }
    return this.ended;
  }

  private async end(running: Promise<Client>): Promise<void> {
    try {
      const client = await running;
      await client.dispose();
    } catch (error) {
      this.log.warn(String(error)); // it was about to end by itself
    }
    const { process } = this;
    if (process && (await ending(process, patience)) === undefined) {
      process.kill();
    }
  }

  /** Executes a command. An error of the server is a sentence for the user: it says why and what to do. */
  async execute<C extends keyof CommandArguments>(command: C, args: CommandArguments[C]): Promise<CommandAnswers[C]> {
    const client = await this.connected();
    return client.sendRequest<CommandAnswers[C]>('workspace/executeCommand', { command, arguments: [args] });
  }

  /** The cells of a document as the server has it, all of them or those that touch a range. */
  async cells(document: vscode.TextDocument, range?: vscode.Range): Promise<CellsAnswer> {
    const client = await this.connected();
    const params: CellsParams = {
      textDocument: { uri: client.code2ProtocolConverter.asUri(document.uri) },
      ...(range && { range: client.code2ProtocolConverter.asRange(range) }),
    };
    return client.sendRequest<CellsAnswer>('dip/cells', params);
  }

  /** The cells of a text, which need not be a document's. */
  async split(text: string): Promise<SplitAnswer> {
    const client = await this.connected();
    return client.sendRequest<SplitAnswer>('dip/split', { text } satisfies SplitParams);
  }

  /** Tells the server that the user has come to trust the workspace. */
  async trust(): Promise<void> {
    const client = await this.connected();
    await client.sendNotification(trusted);
  }

  /** Makes the server ask for its settings again, for example when the interpreter of another extension has changed. */
  async settingsChanged(): Promise<void> {
    const client = await this.connected();
    await client.sendNotification('workspace/didChangeConfiguration', { settings: null });
  }

  dispose(): void {
    clearTimeout(this.lensTimer);
    this.eventEmitter.dispose();
    this.foldedEmitter.dispose();
    this.goneEmitter.dispose();
    this.cellsEmitter.dispose();
    this.stateEmitter.dispose();
  }

  private connected(): Promise<Client> {
    this.running ??= this.launch();
    return this.running;
  }

  private async launch(): Promise<Client> {
    await this.ended;
    const client = this.newClient();
    this.become('starting');
    try {
      await client.start();
    } catch (error) {
      const process = this.process;
      const end = process && (await ending(process, 1000));
      const why = end === undefined ? sentence(error) : `it has ended at once (${end})`;
      process?.kill();
      this.become('stopped');
      this.tell('error', `The Dip server does not start: ${why}.`, true);
      throw new Error(`the Dip server does not run: ${why}; see its log, then use the command 'Dip: Restart Server'`, {
        cause: error,
      });
    }
    this.become('running');
    return client;
  }

  private newClient(): Client {
    const options: LanguageClientOptions = {
      documentSelector: documents,
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: (): InitializationOptions => ({
        events: true,
        folded: true,
        cells: true,
        input: true,
        trusted: vscode.workspace.isTrusted,
      }),
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          void this.closed(client);
          return { action: CloseAction.DoNotRestart, handled: true };
        },
      },
      middleware: {
        // Hints say how a cell went, and so do the lenses right above: once is enough.
        provideInlayHints: (document, range, token, next) =>
          showsLenses(document) ? [] : next(document, range, token),
        // The editor asks one server about tokens, and Python's knows more of them. A grammar of the extension's marks magics.
        provideDocumentSemanticTokens: () => null,
        provideDocumentRangeSemanticTokens: () => null,
        // A lens that tells how a cell ran leads to its results; elsewhere, to a file.
        resolveCodeLens: async (lens, token, next) => {
          const resolved = await next(lens, token);
          if (resolved?.command?.command === 'dip.showOutput') {
            resolved.command.command = 'dip.goToOutput';
          }
          return resolved;
        },
        workspace: {
          configuration: async (params: ConfigurationParams, token, next) => {
            const answer = await next(params, token);
            if (!Array.isArray(answer)) {
              return answer;
            }
            return Promise.all(
              params.items.map((item, i) =>
                withInterpreter(
                  answer[i],
                  item.scopeUri === undefined ? undefined : vscode.Uri.parse(item.scopeUri),
                  this.interpreter,
                ),
              ),
            );
          },
        },
      },
    };
    const client = new Client(
      'dip',
      'Dip',
      async () => (this.process = await startServer(serverPath(this.context))),
      options,
    );
    client.onRequest(ShowMessageRequest.type, this.ask); // instead of the client's own
    client.onNotification(ShowMessageNotification.type, ({ type, message }) => {
      void showMessage(kindOf(type), message); // likewise
    });
    client.onNotification('dip/event', (event: DipEvent) => {
      this.eventEmitter.fire(event);
    });
    client.onRequest('dip/input', (params: InputParams, token: vscode.CancellationToken) =>
      askInput(params, token, this.onEvent),
    );
    client.onNotification('dip/folded', (folded: FoldedParams) => {
      this.foldedEmitter.fire(folded);
    });
    client.onNotification('dip/session', (session: SessionParams) => {
      this.sessions.apply(vscode.Uri.parse(session.folder).fsPath, session);
    });
    client.onNotification('dip/gone', ({ runs }: GoneParams) => {
      this.goneEmitter.fire(runs);
    });
    client.onNotification('dip/cellsChanged', (changed: CellsChangedParams) => {
      this.cellsEmitter.fire(vscode.Uri.parse(changed.uri));
      this.lookAgainAtLenses(client);
    });
    return client;
  }

  /**
   * Makes VS Code ask for lenses once more when the cells have been quiet for a while. If the window's layout changes at the same
   * moment, VS Code may miss that lenses have changed. Then a long run would show nothing, not even how to interrupt it.
   */
  private lookAgainAtLenses(client: Client): void {
    clearTimeout(this.lensTimer);
    this.lensTimer = setTimeout(() => {
      const feature = client.getFeature('textDocument/codeLens');
      for (const { document } of vscode.window.visibleTextEditors) {
        feature.getProvider(document)?.onDidChangeCodeLensEmitter.fire();
      }
    }, quiet);
  }

  /** A connection has ended. If nobody wanted that, the server is restarted, and the user is told. */
  private async closed(client: Client): Promise<void> {
    const { running, process } = this;
    if (this.current !== 'running' || (await running) !== client) {
      return; // it was asked to end, or never started: the caller of that reports it
    }
    this.running = undefined;
    const { outlive } = this.sessions;
    this.become('stopped');
    const end = (process && (await ending(process, 1000))) ?? 'the connection was closed';
    const again = this.restarts.allows(Date.now());
    this.tell(
      again ? 'warning' : 'error',
      `The Dip server has ended by itself (${end})${aftermath(outlive, again)}`,
      !again,
    );
    if (again) {
      await this.start().catch(() => undefined); // the user has been told
    }
  }

  /** Tells the user something, and offers what can be done. */
  private tell(how: 'warning' | 'error', text: string, restart: boolean): void {
    this.log.error(text);
    const show = 'Show Log';
    const start = 'Restart Server';
    const ways = restart ? [start, show] : [show];
    void showMessage(how, text, ...ways).then((chosen) => {
      if (chosen === show) {
        this.log.show();
      } else if (chosen === start) {
        this.restart().catch(() => undefined); // the user has been told
      }
    });
  }

  private become(state: ServerState): void {
    if (state !== this.current) {
      this.current = state;
      this.stateEmitter.fire(state);
      if (state === 'stopped') {
        this.sessions.leave();
      }
    }
  }
}

/** What has become of the rest when a server has ended by itself; `outlived` if sessions go on without it. */
function aftermath(outlived: boolean, again: boolean): string {
  if (outlived) {
    return again
      ? '. It was started anew, and attaches to the session again: nothing is lost.'
      : '. It keeps ending. The session goes on: dipls attach shows it in a terminal.';
  }
  return `, and with it Python and all variables. ${again ? 'It was started anew.' : 'It keeps ending.'}`;
}

/** Whether cells of a document have lenses. */
function showsLenses(document: vscode.TextDocument): boolean {
  const of = (section: string) => vscode.workspace.getConfiguration(section, document);
  return of('editor').get<boolean>('codeLens', true) && of('dip').get<readonly string[]>('codeLens', []).length > 0;
}

/** The message of an error, without the full stop. */
function sentence(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
}

/** The settings of a folder, with the interpreter of another extension where they name none. */
async function withInterpreter(
  settings: unknown,
  folder: vscode.Uri | undefined,
  interpreter: Interpreter,
): Promise<unknown> {
  if (typeof settings !== 'object' || settings === null || ('python' in settings && settings.python !== '')) {
    return settings;
  }
  const python = await interpreter(folder);
  return python === undefined ? settings : { ...settings, python };
}
