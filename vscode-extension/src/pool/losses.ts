/** What would be lost with the processes that a command ends, so that a wrong key does not cost hours of work. */
import type { CommandArguments, CommandName, VariablesReply, WorkspaceStatus } from '../generated/server';
import { LOCAL } from '../ranks';
import { hasPool } from './rows';
import { busyProcesses, isModule, merge, none } from './variables';
import { count } from './words';

/** The processes that a command ends. */
export interface Ends {
  ranks: boolean;
  local: boolean;
  /** What the user has asked for: `Restart pool`. */
  action: string;
}

/** The living processes that a command would end; undefined if there are none. */
export function ends(
  command: CommandName,
  args: Partial<CommandArguments['dip.makePool']>,
  workspace: WorkspaceStatus | undefined,
): Ends | undefined {
  const pool = hasPool(workspace);
  const local = workspace !== undefined && workspace.pool.local !== null;
  const found: Ends | undefined = {
    'dip.restartPool': { ranks: pool, local: false, action: 'Restart pool' },
    'dip.killPool': { ranks: pool, local: false, action: 'End pool' },
    'dip.restartLocal': { ranks: false, local, action: 'Restart local namespace' },
    'dip.restart': { ranks: pool, local, action: 'Restart Python' },
    'dip.restartAndRunAll': { ranks: pool, local, action: 'Restart and run all' },
    'dip.restartAndRunTo': { ranks: pool, local, action: 'Restart and run up to here' },
    'dip.makePool': { ranks: pool && args.restart === true, local: false, action: 'Replace pool' },
  }[command as string];
  return found && (found.ranks || found.local) ? found : undefined;
}

export interface Question {
  text: string;
  detail: string;
  action: string;
}

/** What to ask before processes end, from what they hold; undefined if nothing would be lost. */
export function question(found: Ends, held: VariablesReply, size: number): Question | undefined {
  const ending = (process: number) => (process === LOCAL ? found.local : found.ranks);
  const busy = [...busyProcesses(held.busy ?? '')].some(ending);
  const names = merge(none, held, () => false).rows.filter(
    (row) =>
      !isModule(row) &&
      row.values.some(({ local, ranks }) => (local && found.local) || (ranks.length > 0 && found.ranks)),
  );
  if (!busy && names.length === 0) {
    return undefined;
  }
  const whose = [...(found.local ? ['the local namespace'] : []), ...(found.ranks ? [count(size, 'rank')] : [])].join(
    ' and ',
  );
  const what = names.length === 0 ? 'The variables' : count(names.length + (held.more ?? 0), 'variable');
  return {
    text: `${found.action}?`,
    detail: `${busy ? 'What runs is interrupted. ' : ''}${what} of ${whose} will be lost.`,
    action: found.action,
  };
}
