/** The language server: its process, its life, and typed requests, so that no other module knows how it is reached. */
import * as vscode from 'vscode';
import {
  type ConfigurationParams,
  type DynamicFeature,
  LanguageClient,
  type LanguageClientOptions,
  State,
  type StaticFeature,
} from 'vscode-languageclient/node';
import type {
  CellsAnswer,
  CellsChangedParams,
  CellsParams,
  CommandAnswers,
  CommandArguments,
  DipEvent,
  InitializationOptions,
} from './generated/server';
import { serverPath } from './serverPath';

/** The documents that the server is for. Untitled ones have no file, but cells. */
export const documents: vscode.DocumentSelector & object = [
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
 * begun: they are there from the first moment, and take what they are about from the editor.
 */
class Client extends LanguageClient {
  override registerFeature(feature: StaticFeature | DynamicFeature<object>): void {
    if ('registrationType' in feature && feature.registrationType.method === 'workspace/executeCommand') {
      return;
    }
    super.registerFeature(feature);
  }
}

/** One for the window. What it tells comes by its events, in the order in which the server says it. */
export class Server implements vscode.Disposable {
  private readonly eventEmitter = new vscode.EventEmitter<DipEvent>();
  private readonly cellsEmitter = new vscode.EventEmitter<vscode.Uri>();
  private readonly stateEmitter = new vscode.EventEmitter<ServerState>();
  private readonly client: Client;
  private starting: Promise<void> | undefined;

  /** What runs do. */
  readonly onEvent = this.eventEmitter.event;
  /** The states of a document's cells have changed. Changes of its text are not told. */
  readonly onCellsChanged = this.cellsEmitter.event;
  readonly onState = this.stateEmitter.event;

  constructor(
    context: vscode.ExtensionContext,
    /** Where the server's own words go: what it logs, not what runs print. */
    readonly log: vscode.LogOutputChannel,
    interpreter: Interpreter,
  ) {
    const options: LanguageClientOptions = {
      documentSelector: [
        { language: 'python', scheme: 'file' },
        { language: 'python', scheme: 'untitled' },
      ],
      outputChannel: log,
      initializationOptions: (): InitializationOptions => ({
        events: true,
        cells: true,
        trusted: vscode.workspace.isTrusted,
      }),
      middleware: {
        workspace: {
          configuration: async (params: ConfigurationParams, token, next) => {
            const answer = await next(params, token);
            if (!Array.isArray(answer)) {
              return answer;
            }
            return Promise.all(
              params.items.map((item, i) =>
                withInterpreter(answer[i], item.scopeUri === undefined ? undefined : vscode.Uri.parse(item.scopeUri), interpreter),
              ),
            );
          },
        },
      },
    };
    this.client = new Client('dip', 'Dip', { command: serverPath(context), args: ['lsp'] }, options);
    this.client.onNotification('dip/event', (event: DipEvent) => {
      this.eventEmitter.fire(event);
    });
    this.client.onNotification('dip/cellsChanged', (changed: CellsChangedParams) => {
      this.cellsEmitter.fire(vscode.Uri.parse(changed.uri));
    });
    this.client.onDidChangeState(({ newState }) => {
      this.stateEmitter.fire(newState === State.Running ? 'running' : newState === State.Starting ? 'starting' : 'stopped');
    });
  }

  /** Starts the server, once; an error says what to do. */
  start(): Promise<void> {
    this.starting ??= this.client.start();
    return this.starting;
  }

  /** Ends the server, and with it all that it has started, and starts another. */
  async restart(): Promise<void> {
    this.starting = this.client.restart();
    await this.starting;
  }

  /** Executes a command. An error is one that the server tells the user about: it says why and what to do. */
  async execute<C extends keyof CommandArguments>(command: C, args: CommandArguments[C]): Promise<CommandAnswers[C]> {
    await this.start();
    return this.client.sendRequest<CommandAnswers[C]>('workspace/executeCommand', { command, arguments: [args] });
  }

  /** The cells of a document as the server has it, all of them or those that touch a range. */
  async cells(document: vscode.TextDocument, range?: vscode.Range): Promise<CellsAnswer> {
    await this.start();
    const params: CellsParams = {
      textDocument: { uri: this.client.code2ProtocolConverter.asUri(document.uri) },
      ...(range && { range: this.client.code2ProtocolConverter.asRange(range) }),
    };
    return this.client.sendRequest<CellsAnswer>('dip/cells', params);
  }

  /** Tells the server that the user has come to trust the workspace. */
  async trust(): Promise<void> {
    await this.start();
    await this.client.sendNotification('dip/trusted');
  }

  /** Has the server ask for its settings again, as when the interpreter that another extension knows has changed. */
  async settingsChanged(): Promise<void> {
    await this.start();
    await this.client.sendNotification('workspace/didChangeConfiguration', { settings: null });
  }

  async stop(): Promise<void> {
    if (this.starting) {
      await this.client.stop();
    }
  }

  dispose(): void {
    this.eventEmitter.dispose();
    this.cellsEmitter.dispose();
    this.stateEmitter.dispose();
  }
}

/** The settings of a folder, with the interpreter that another extension knows where they name none. */
async function withInterpreter(settings: unknown, folder: vscode.Uri | undefined, interpreter: Interpreter): Promise<unknown> {
  if (typeof settings !== 'object' || settings === null || ('python' in settings && settings.python !== '')) {
    return settings;
  }
  const python = await interpreter(folder);
  return python === undefined ? settings : { ...settings, python };
}
