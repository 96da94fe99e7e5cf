/**
 * The interpreter that the user has chosen in another extension. The setting `dip.python` wins over it; without either the server searches.
 *
 * The interfaces of the other extensions are declared here by hand, as far as they are used. If an extension's exports are not as
 * expected, it counts as having no interpreter, and nothing fails.
 */
import * as vscode from 'vscode';
import type { Interpreter } from '../server';

/** The exports of ms-python.python: its stable interface. It asks ms-python.vscode-python-envs itself where that is in use. */
interface PythonExports {
  environments: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { path: string };
    resolveEnvironment(environment: { path: string }): Promise<{ executable: { uri?: vscode.Uri } } | undefined>;
    onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
  };
}

/** The exports of ms-python.vscode-python-envs, for users who have only that one. */
interface EnvironmentsExports {
  getEnvironment(scope: vscode.Uri | undefined): Promise<{ execInfo: { run: { executable: string } } } | undefined>;
  onDidChangeEnvironment: vscode.Event<unknown>;
}

/** An extension that knows interpreters. */
interface Source {
  interpreter: Interpreter;
  onDidChange: vscode.Event<unknown>;
}

/** How long another extension may take to activate, in milliseconds. The server does not wait much longer for its settings. */
const patience = 4000;

export class Interpreters implements vscode.Disposable {
  private readonly changeEmitter = new vscode.EventEmitter<void>();
  private readonly disposables: { dispose(): unknown }[] = [this.changeEmitter];
  private source: Promise<Source | undefined> | undefined;

  /** Another interpreter may be chosen now. */
  readonly onDidChange = this.changeEmitter.event;

  constructor(private readonly log: vscode.LogOutputChannel) {
    this.disposables.push(
      vscode.extensions.onDidChange(() => {
        void this.look();
      }),
    );
  }

  /** The interpreter of a folder. Undefined if none is known, or if the workspace is not trusted: then no other extension is activated. */
  readonly of: Interpreter = async (folder) => {
    if (!vscode.workspace.isTrusted) {
      return undefined;
    }
    this.source ??= this.find();
    const source = await within(this.source, patience);
    if (source === late) {
      void this.source.then((found) => {
        if (found) {
          this.changeEmitter.fire();
        }
      });
      return undefined;
    }
    const python = await source?.interpreter(folder).catch((error: unknown) => {
      this.log.warn(`the interpreter of ${folder?.fsPath ?? 'the window'} is not known: ${String(error)}`);
      return undefined;
    });
    return python;
  };

  dispose(): void {
    vscode.Disposable.from(...this.disposables).dispose();
  }

  /** Looks again where no extension knew interpreters: one may have been installed. */
  private async look(): Promise<void> {
    if (this.source && !(await this.source)) {
      this.source = this.find();
      if (await this.source) {
        this.changeEmitter.fire();
      }
    }
  }

  private async find(): Promise<Source | undefined> {
    const source = (await this.python()) ?? (await this.environments());
    if (source) {
      this.disposables.push(
        source.onDidChange(() => {
          this.changeEmitter.fire();
        }),
      );
    }
    return source;
  }

  private async python(): Promise<Source | undefined> {
    const { environments } = (await this.exports<Partial<PythonExports>>('ms-python.python')) ?? {};
    return (
      environments && {
        interpreter: async (folder) => {
          const resolved = await environments.resolveEnvironment(environments.getActiveEnvironmentPath(folder));
          return resolved?.executable.uri?.fsPath;
        },
        onDidChange: environments.onDidChangeActiveEnvironmentPath,
      }
    );
  }

  private async environments(): Promise<Source | undefined> {
    const exports = await this.exports<EnvironmentsExports>('ms-python.vscode-python-envs');
    return (
      exports && {
        interpreter: async (folder) => (await exports.getEnvironment(folder))?.execInfo.run.executable,
        onDidChange: exports.onDidChangeEnvironment,
      }
    );
  }

  /** What another extension exports once it is activated. Undefined if it is not there, or activation fails. */
  private async exports<T>(id: string): Promise<T | undefined> {
    try {
      return await vscode.extensions.getExtension<T | undefined>(id)?.activate();
    } catch (error) {
      this.log.warn(`${id} does not begin: ${String(error)}`);
      return undefined;
    }
  }
}

const late = Symbol('late');

/** What a promise gives, or `late` if that takes longer. */
function within<T>(promise: Promise<T>, milliseconds: number): Promise<T | typeof late> {
  let timer: NodeJS.Timeout;
  const alarm = new Promise<typeof late>((resolve) => {
    timer = setTimeout(() => {
      resolve(late);
    }, milliseconds);
  });
  return Promise.race([promise, alarm]).finally(() => {
    clearTimeout(timer);
  });
}
