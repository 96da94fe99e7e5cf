/** Asks before a command ends processes that hold variables. */
import * as vscode from 'vscode';
import type { CommandName } from '../generated/server';
import { confirmed } from '../messages';
import type { Server } from '../server';
import type { Focus } from './focus';
import { ends, question } from './losses';
import type { Pools } from './pools';
import { workspaceOf } from './rows';

/** Decides whether a command may be executed. */
export type Confirm = (command: CommandName, args: object) => Promise<boolean>;

/**
 * The question is modal, the only modal one of this extension: variables may be hours of work, and cannot be restored. It is asked only if
 * there are variables, and says how many. The setting `dip.confirmRestart` turns it off.
 */
export function confirmLosses(server: Server, pools: Pools, focus: Focus): Confirm {
  return async (command, args) => {
    const workspace = workspaceOf(pools.workspaces, focus.folder);
    const found = ends(command, args, workspace);
    if (!workspace || !found || !vscode.workspace.getConfiguration('dip').get<boolean>('confirmRestart', true)) {
      return true;
    }
    // A process that does not answer is busy, and nobody knows what it holds.
    const held = await server
      .execute('dip.variables', focus.where)
      .catch(() => ({ variables: [], busy: found.local ? 'local' : 'rank 0' }));
    const asked = question(found, held, workspace.pool.size);
    if (!asked) {
      return true;
    }
    const { text, detail, action } = asked;
    return confirmed(text, detail, action);
  };
}
