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
  InitializationOptions,
} from './generated/server';
import { Restarts } from './restarts';
import { ending, serverPath, startServer } from './serverPath';

/** The documents that the server is for. Untitled ones have no file, but cells. */
const documents = [
  { language: 'python', scheme: 'file' },
  { language: 'python', scheme: 'untitled' },
];

/** Whether the server knows a document. */
export function isOurs(document: vscode.TextDocument): boolean {
  return vscode.languages.match(documents, document) > 0;
}

export type ServerState = 'starting' | 'running' | 'stopped';

/** What another extension knows of the interpreter, for folders whose setting `dip.python` is empty. */
export type Interpreter = (folder: vscode.Uri | undefined) => Promise<string | undefined>;

/**
 * Commands are registered by `registerCommands`, when the extension is activated, not by the client when the server has
 * begun: they are there from the first moment, and take what they are about from the editor. What goes wrong is told
 * by [[Server]], once, and not for every request.
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

/** How long the processes of a server that was asked to end may take, in milliseconds, before another one is started beside it. */
const patience = 15_000;

/** Milliseconds without a change of cells after which their lenses are asked for once more. */
const quiet = 2_000;

/** One for the window. What it tells comes by its events, in the order in which the server says it. */
export class Server implements vscode.Disposable {
  private readonly eventEmitter = new vscode.EventEmitter<DipEvent>();
  private readonly foldedEmitter = new vscode.EventEmitter<FoldedParams>();
  private readonly cellsEmitter = new vscode.EventEmitter<vscode.Uri>();
  private readonly stateEmitter = new vscode.EventEmitter<ServerState>();
  private readonly restarts = new Restarts();
  private running: Promise<Client> | undefined;
  private process: ChildProcessWithoutNullStreams | undefined;
  /** Settled once the server before has ended: there is never more than one. */
  private ended: Promise<void> = Promise.resolve();
  private current: ServerState = 'stopped';
  private lensTimer: NodeJS.Timeout | undefined;

  /** What runs do. */
  readonly onEvent = this.eventEmitter.event;
  /** What a person reads of it, as on a terminal. */
  readonly onFolded = this.foldedEmitter.event;
  /** The states of a document's cells have changed. Changes of its text are not told. */
  readonly onCellsChanged = this.cellsEmitter.event;
  readonly onState = this.stateEmitter.event;

  constructor(
    private readonly context: vscode.ExtensionContext,
    /** Where the server's own words go: what it logs, not what runs print. */
    readonly log: vscode.LogOutputChannel,
    private readonly interpreter: Interpreter,
  ) {}

  get state(): ServerState {
    return this.current;
  }

  /** Starts the server, if it has not been; an error says why it does not run. The user has been told then. */
  async start(): Promise<void> {
    await this.connected();
  }

  /** Ends the server, and with it all that it has started, and starts another. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Ends the server and waits, within reason, for what it has started to end. */
  stop(): Promise<void> {
    const { running } = this;
    if (running) {
      this.running = undefined;
      this.become('stopped'); // at once: what is asked for meanwhile is for the next one
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

  /** Executes a command. An error is one that the server tells the user about: it says why and what to do. */
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

  /** Tells the server that the user has come to trust the workspace. */
  async trust(): Promise<void> {
    const client = await this.connected();
    await client.sendNotification(trusted);
  }

  /** Has the server ask for its settings again, as when the interpreter that another extension knows has changed. */
  async settingsChanged(): Promise<void> {
    const client = await this.connected();
    await client.sendNotification('workspace/didChangeConfiguration', { settings: null });
  }

  dispose(): void {
    clearTimeout(this.lensTimer);
    this.eventEmitter.dispose();
    this.foldedEmitter.dispose();
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
        // They say how a cell went, as its lenses do right above: once is enough.
        provideInlayHints: (document, range, token, next) =>
          showsLenses(document) ? [] : next(document, range, token),
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
    client.onNotification('dip/event', (event: DipEvent) => {
      this.eventEmitter.fire(event);
    });
    client.onNotification('dip/folded', (folded: FoldedParams) => {
      this.foldedEmitter.fire(folded);
    });
    client.onNotification('dip/cellsChanged', (changed: CellsChangedParams) => {
      this.cellsEmitter.fire(vscode.Uri.parse(changed.uri));
      this.lookAgainAtLenses(client);
    });
    return client;
  }

  /**
   * Has VS Code ask for lenses once more when their cells have been quiet for a while. It was seen to miss that they have changed when the
   * window's layout changes at that moment, and a run that is not told of further would show nothing of it, not even how to interrupt it.
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

  /** A connection has ended. If nobody wanted that, the server is started anew, and the user hears of it. */
  private async closed(client: Client): Promise<void> {
    const { running, process } = this;
    if (this.current !== 'running' || (await running) !== client) {
      return; // it was asked to end, or has not begun: whoever waits for that tells
    }
    this.running = undefined;
    this.become('stopped');
    const end = (process && (await ending(process, 1000))) ?? 'the connection was closed';
    const again = this.restarts.allows(Date.now());
    this.tell(
      again ? 'warning' : 'error',
      `The Dip server has ended by itself (${end}), and with it Python and all variables. ${again ? 'It was started anew.' : 'It keeps ending.'}`,
      !again,
    );
    if (again) {
      await this.start().catch(() => undefined); // the user has been told
    }
  }

  /** Tells the user something, with the ways on. */
  private tell(how: 'warning' | 'error', text: string, restart: boolean): void {
    this.log.error(text);
    const show = 'Show Log';
    const start = 'Restart Server';
    const ways = restart ? [start, show] : [show];
    const asked =
      how === 'error' ? vscode.window.showErrorMessage(text, ...ways) : vscode.window.showWarningMessage(text, ...ways);
    void asked.then((chosen) => {
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
    }
  }
}

/** Whether cells of a document have lenses. */
function showsLenses(document: vscode.TextDocument): boolean {
  const of = (section: string) => vscode.workspace.getConfiguration(section, document);
  return of('editor').get<boolean>('codeLens', true) && of('dip').get<readonly string[]>('codeLens', []).length > 0;
}

/** What an error says, without the stop at its end. */
function sentence(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
}

/** The settings of a folder, with the interpreter that another extension knows where they name none. */
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
