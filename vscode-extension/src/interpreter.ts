/**
 * The interpreter that the user has chosen in another extension. `dip.python` counts more; without any the server looks by itself.
 *
 * The extensions' interfaces are declared as far as they are used, by hand: each is a field of another extension's exports, and what
 * is not as expected there is no interpreter, rather than a fault.
 */
import * as vscode from 'vscode';
import type { Interpreter } from './server';

/** The exports of ms-python.python, of its stable interface. It asks ms-python.vscode-python-envs itself where that is in use. */
interface PythonExports {
  environments: {
    getActiveEnvironmentPath(resource?: vscode.Uri): { path: string };
    resolveEnvironment(environment: { path: string }): Promise<{ executable: { uri?: vscode.Uri } } | undefined>;
    onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
  };
}

/** The exports of ms-python.vscode-python-envs, for those who have it alone. */
interface EnvironmentsExports {
  getEnvironment(scope: vscode.Uri | undefined): Promise<{ execInfo: { run: { executable: string } } } | undefined>;
  onDidChangeEnvironment: vscode.Event<unknown>;
}

/** Who knows of interpreters. */
interface Source {
  interpreter: Interpreter;
  onDidChange: vscode.Event<unknown>;
}

/** How long another extension may take to begin, in milliseconds; the server does not wait much longer for its settings. */
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

  /** The interpreter of a folder; undefined if nobody knows one, or the workspace is not trusted: then no other extension is begun. */
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

  /** Looks again where nobody knew of interpreters: an extension may have come. */
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

  /** What another extension exports, once it has begun; undefined if it is not there or cannot. */
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
