/** The server's commands in the palette, in menus and under keys. Arguments come from the place of the cursor; what is missing is asked for. */
import * as vscode from 'vscode';
import { fill, type Place, problem } from './arguments';
import { askNames, askRank, askRanks, askRun } from './ask';
import {
  type CommandAnswers,
  type CommandArguments,
  type CommandName,
  type CommandRow,
  commands,
  type Variable,
} from './generated/server';
import type { TargetCommand } from './cells/names';
import { folderOf } from './pool/focus';
import { workspaceOf } from './pool/rows';
import { hostsInPool, LOCAL, type OnHost, whose } from './ranks';
import { showMessage } from './messages';
import type { Run } from './runs';
import { isOurs, type Server } from './server';
import { askSession, askSessionName, confirmStop } from './sessions/ask';
import type { Sessions, Tie } from './sessions/sessions';

/** What commands need from the rest of the extension. */
export interface Surroundings {
  /** Decides whether a command may be executed; it may ask the user. */
  confirm(command: CommandName, args: object): Promise<boolean>;
  /** The runs that are known, oldest first. */
  runs(): readonly Run[];
  /** The sessions of the window's folders. */
  readonly sessions: Sessions;
}

/**
 * Registers every command of the server. Arguments of lenses, quick fixes and key bindings win over the cursor. A command returns the
 * server's answer, or undefined if it was not executed, or failed and the user was told.
 */
export function registerCommands(server: Server, around: Surroundings): vscode.Disposable {
  const register = (id: string, { name, title }: Pick<CommandRow, 'name' | 'title'>, also: object) =>
    vscode.commands.registerCommand(id, async (...given: unknown[]) => {
      try {
        return await execute(server, around, name, title, given, also);
      } catch (error) {
        void tellProblem(error);
        return undefined;
      }
    });
  return vscode.Disposable.from(
    ...commands.filter(({ name }) => !own.includes(name)).map((row) => register(row.name, row, {})),
    vscode.commands.registerCommand('dip.sessions', () => vscode.commands.executeCommand('dip.attachSession')),
    ...Object.entries(targets).map(([id, target]) => register(id, { name: 'dip.runCell', title: '' }, { target })),
  );
}

/** Tells the user what went wrong. Where that may be for want of trust, a button leads to it. */
async function tellProblem(error: unknown): Promise<void> {
  const trust = 'Manage Workspace Trust';
  const ways = vscode.workspace.isTrusted ? [] : [trust];
  if ((await showMessage('error', problem(error), ...ways)) === trust) {
    await vscode.commands.executeCommand('workbench.trust.manage');
  }
}

/** Commands of the server that the extension implements itself, because it can show documents that cannot be edited, and lists to choose from. */
const own: readonly CommandName[] = ['dip.showStacks', 'dip.sessions', 'dip.export'];

/** The targets of the commands that are `dip.runCell` with a target. */
const targets: Record<TargetCommand, string> = {
  'dip.runCellOnRanks': 'remote',
  'dip.runCellLocally': 'local',
  'dip.runCellEverywhere': 'everywhere',
};

async function execute<C extends CommandName>(
  server: Server,
  around: Surroundings,
  name: C,
  title: string,
  given: readonly unknown[],
  also: object,
): Promise<CommandAnswers[C] | undefined> {
  const { named, place } =
    given.length > 0 ? told(given[0]) : { named: {}, place: placeOf(vscode.window.activeTextEditor) };
  const filled = fill(name, { ...named, ...also }, place);
  if (!filled) {
    throw new Error('this is for a Python file: open one first');
  }
  const args = await asked(server, around, name, title, filled);
  if (!args || !(await around.confirm(name, args))) {
    return undefined;
  }
  const answer = await server.execute(name, args as CommandArguments[C]);
  tell(name, answer);
  return answer;
}

/**
 * The argument that a lens, a key or a menu passes. Menus of an editor pass its document; those of its gutter, the line as well; those of a cell of a
 * notebook, the cell.
 */
function told(given: unknown): { named: Readonly<Record<string, unknown>>; place: Place | undefined } {
  const active = vscode.window.activeTextEditor;
  if (given instanceof vscode.Uri) {
    return { named: {}, place: placeOf(editorOf(given)) };
  }
  if (typeof given !== 'object' || given === null) {
    return { named: {}, place: placeOf(active) };
  }
  if (
    'lineNumber' in given &&
    typeof given.lineNumber === 'number' &&
    'uri' in given &&
    given.uri instanceof vscode.Uri
  ) {
    const start = new vscode.Position(given.lineNumber - 1, 0);
    return { named: {}, place: { uri: given.uri.toString(), position: start, range: { start, end: start } } };
  }
  if ('notebook' in given && 'document' in given) {
    return { named: { uri: (given as vscode.NotebookCell).document.uri.toString(), cell: 1 }, place: undefined };
  }
  return { named: given as Readonly<Record<string, unknown>>, place: placeOf(active) };
}

function editorOf(uri: vscode.Uri): vscode.TextEditor | undefined {
  const shows = (editor: vscode.TextEditor | undefined) => editor?.document.uri.toString() === uri.toString();
  const active = vscode.window.activeTextEditor;
  return shows(active) ? active : vscode.window.visibleTextEditors.find(shows);
}

function placeOf(editor: vscode.TextEditor | undefined): Place | undefined {
  if (!editor || !isOurs(editor.document)) {
    return undefined;
  }
  const { selection, document } = editor;
  const { active: position, start, end } = selection;
  return { uri: document.uri.toString(), position, range: { start, end } };
}

/** The arguments, completed by questions to the user where the command needs more. Undefined if the user cancels. */
async function asked(
  server: Server,
  around: Surroundings,
  name: CommandName,
  title: string,
  args: object,
): Promise<object | undefined> {
  switch (name) {
    case 'dip.push':
    case 'dip.pushAndRun': {
      if ('names' in args) {
        return args;
      }
      const { variables } = await server.execute('dip.variables', { rank: LOCAL, ...uriOf(args) });
      const names = await askNames(title, variables, atCursor(variables));
      if (!names) {
        return undefined;
      }
      const pool = name === 'dip.push' ? await poolRanks(server, args) : [];
      const ranks = pool.length > 1 ? await askRanks(title, pool) : 'all';
      return ranks === undefined ? undefined : { ...args, names, ...(name === 'dip.push' && { ranks }) };
    }
    case 'dip.pull': {
      if ('names' in args) {
        return args;
      }
      const pool = await poolRanks(server, args);
      const rank = await askRank(title, pool);
      if (rank === undefined) {
        return undefined;
      }
      const { variables } = await server.execute('dip.variables', { rank, ...uriOf(args) });
      const names = await askNames(
        `Pull variables from ${whose([rank], hostsInPool(pool))}`,
        variables,
        atCursor(variables),
      );
      return names && { ...args, names, rank };
    }
    case 'dip.showOutput': {
      const run = 'run' in args ? args.run : await askRun(title, around.runs());
      return run ? { ...args, run } : undefined;
    }
    case 'dip.attachSession': {
      const session = 'name' in args || 'dir' in args ? {} : await askSession(server, title, uriOf(args));
      return session && { ...args, ...session };
    }
    case 'dip.renameSession': {
      const named = 'name' in args ? {} : { name: await askSessionName(title, tieOf(around, args)?.name ?? '') };
      return 'name' in named && named.name === undefined ? undefined : { ...args, ...named };
    }
    case 'dip.stopSession':
      return (await confirmStop(server, args)) ? args : undefined;
    case 'dip.autodip': {
      if ('on' in args) {
        return args;
      }
      const { autodip } = await server.execute('dip.autodip', uriOf(args));
      return { ...args, on: autodip === '' };
    }
    default:
      return args;
  }
}

/** Tells the user what a command has done, where nothing else shows it. */
function tell<C extends CommandName>(name: C, answer: CommandAnswers[C]): void {
  if (name === 'dip.autodip' && 'autodip' in answer) {
    vscode.window.setStatusBarMessage(
      answer.autodip === '' ? 'Dip: autodip off' : `Dip: autodip on · ${answer.autodip}`,
      4000,
    );
  } else if (name === 'dip.interrupt' && 'interrupted' in answer && answer.interrupted === 0) {
    vscode.window.setStatusBarMessage('Dip: nothing runs', 4000);
  } else if (name === 'dip.free' && 'freed' in answer && !answer.freed) {
    vscode.window.setStatusBarMessage('Dip: nothing runs on the ranks', 4000);
  } else if (/^dip\.\w+Session$/.test(name) && 'text' in answer) {
    vscode.window.setStatusBarMessage(`Dip: ${answer.text}`, 4000);
  }
}

/** The session of the folder that a command is about. */
function tieOf({ sessions }: Surroundings, args: object): Tie | undefined {
  const { uri } = uriOf(args);
  return sessions.of(uri === undefined ? undefined : folderOf(vscode.Uri.parse(uri)));
}

function uriOf(args: object): { uri?: string } {
  return 'uri' in args && typeof args.uri === 'string' ? { uri: args.uri } : {};
}

/** The number of ranks of the pool in question. */
async function poolRanks(server: Server, args: object): Promise<readonly OnHost[]> {
  const { workspaces } = await server.execute('dip.status', {});
  const { uri } = uriOf(args);
  const folder = uri === undefined ? undefined : folderOf(vscode.Uri.parse(uri));
  return workspaceOf(workspaces, folder)?.pool.ranks ?? [];
}

/** The variable at the cursor, or those that are selected. */
function atCursor(variables: readonly Variable[]): string[] {
  const editor = vscode.window.activeTextEditor;
  if (!editor || !isOurs(editor.document)) {
    return [];
  }
  const { document, selection } = editor;
  const range = selection.isEmpty ? document.getWordRangeAtPosition(selection.active) : selection;
  const words = range ? document.getText(range).split(/\W+/u) : [];
  return variables.map(({ name }) => name).filter((name) => words.includes(name));
}
