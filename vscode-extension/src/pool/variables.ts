/** The variables of all namespaces, as rows. */
import type { VariableValue, VariablesReply } from '../generated/server';
import { type HostOf, LOCAL, parseRanks, whose } from '../ranks';
import { bytes } from './words';

/** A value, and the processes that hold it. */
export interface Value {
  local: boolean;
  /** In ascending order. */
  ranks: readonly number[];
  object: VariableValue;
}

/** A name, and what it is bound to: one value if all processes that have it agree. */
export interface Row {
  name: string;
  values: readonly Value[];
}

export interface Variables {
  rows: readonly Row[];
  /** Processes that have not answered: `rank 2`. What is shown of them is what they held before. */
  busy: string;
  /** How many were left out. */
  more: number;
}

export const none: Variables = { rows: [], busy: '', more: 0 };

/** The processes that a phrase of the server names: `local`, `ranks 0,2-3`, `local and ranks 1-2`. */
export function busyProcesses(text: string): Set<number> {
  const ranks = /ranks? ([\d,\s-]+)/.exec(text)?.[1];
  return new Set([...(/\blocal\b/.test(text) ? [LOCAL] : []), ...(ranks === undefined ? [] : parseRanks(ranks))]);
}

function valueOf(value: VariableValue): Value {
  return {
    local: value.local === true,
    ranks: value.ranks === undefined ? [] : parseRanks(value.ranks),
    object: value,
  };
}

/** A value with only some of its processes. */
function only(value: Value, wanted: (process: number) => boolean): Value | undefined {
  const local = value.local && wanted(LOCAL);
  const ranks = value.ranks.filter(wanted);
  return local || ranks.length > 0 ? { ...value, local, ranks } : undefined;
}

/** Whether two values look alike, by the rule by which the server folds them. */
function alike(a: VariableValue, b: VariableValue): boolean {
  return (
    a.type === b.type &&
    a.text === b.text &&
    a.dtype === b.dtype &&
    a.device === b.device &&
    (a.shape ?? []).join() === (b.shape ?? []).join()
  );
}

function join(values: Value[], value: Value): Value[] {
  const i = values.findIndex((other) => alike(other.object, value.object));
  const same = values[i];
  if (!same) {
    return [...values, value];
  }
  const ranks = [...new Set([...same.ranks, ...value.ranks])].sort((a, b) => a - b);
  return values.with(i, { ...same, local: same.local || value.local, ranks });
}

/**
 * The variables after an answer, which replaces the one before. Modules are left out: there are many, and they are neither
 * pushed nor pulled. A busy process has not answered; what it held before is kept if it is still the same process (`stays`).
 */
export function merge(before: Variables, reply: VariablesReply, stays: (process: number) => boolean): Variables {
  const busy = busyProcesses(reply.busy ?? '');
  const rows = new Map<string, Value[]>();
  for (const { name, values } of reply.variables) {
    const kept = values.filter(({ kind }) => kind !== 'module').map(valueOf);
    if (kept.length > 0) {
      rows.set(name, kept);
    }
  }
  for (const { name, values } of before.rows) {
    for (const value of values) {
      const kept = only(value, (process) => busy.has(process) && stays(process));
      if (kept) {
        rows.set(name, join(rows.get(name) ?? [], kept));
      }
    }
  }
  return {
    rows: [...rows].map(([name, values]) => ({ name, values })).sort((a, b) => (a.name < b.name ? -1 : 1)),
    busy: reply.busy ?? '',
    more: reply.more ?? 0,
  };
}

/** Who has a value: `local`, `rank 2`, `local and ranks 0-3`. */
export function holders({ local, ranks }: Pick<Value, 'local' | 'ranks'>, hostOf?: HostOf): string {
  return whose(local ? [LOCAL, ...ranks] : ranks, hostOf);
}

/** `Tensor[2, 500] float32 cuda:0`: the type without its module, with shape, element type and device. */
export function typeText({ type, shape, dtype, device, length }: VariableValue): string {
  const name = type.slice(type.lastIndexOf('.') + 1);
  const size = shape ? `[${shape.join(', ')}]` : length === undefined ? '' : `[${length}]`;
  return [name + size, dtype, device].filter(Boolean).join(' ');
}

/** The text after a name: the type, the value if there is only one, and who has it. */
export function rowText(row: Row, hostOf?: HostOf): string {
  const [first, second] = row.values;
  if (!first) {
    return '';
  }
  if (!second) {
    return valueText(first, true, hostOf);
  }
  const types = new Set(row.values.map((value) => typeText(value.object)));
  const local = row.values.some((value) => value.local);
  const ranks = row.values.flatMap((value) => value.ranks).sort((a, b) => a - b);
  return `${types.size === 1 ? [...types].join() : `${types.size} types`} · ${row.values.length} values · ${holders({ local, ranks }, hostOf)}`;
}

/** The text of a value: with its processes, or, as one of several, with the text in which arrays differ. */
export function valueText(value: Value, withWhose: boolean, hostOf?: HostOf): string {
  const { object } = value;
  const parts = [
    typeText(object),
    object.shape && withWhose ? '' : object.text,
    withWhose ? holders(value, hostOf) : '',
  ];
  return parts.filter((part) => part !== '').join(' · ');
}

/** Everything about a value, a line each. */
export function valueDetails({ local, ranks, object }: Value, hostOf?: HostOf): string[] {
  return [
    `${object.type}${object.shape ? ` of shape (${object.shape.join(', ')})` : ''}`,
    ...(object.dtype ? [object.dtype] : []),
    ...(object.device ? [`on ${object.device}`] : []),
    ...(object.bytes === undefined ? [] : [bytes(object.bytes)]),
    holders({ local, ranks }, hostOf),
  ];
}

/** The icon of a kind of object. */
export function kindIcon(object: VariableValue): string {
  switch (object.kind) {
    case 'function':
      return 'symbol-method';
    case 'class':
      return 'symbol-class';
    case 'module':
      return 'symbol-module';
    default:
      return object.shape ? 'symbol-array' : 'symbol-variable';
  }
}

/** Whether the local namespace has a variable, so that it can be pushed. */
export function canPush(row: Row): boolean {
  return row.values.some((value) => value.local);
}

/** The rank that a variable is pulled from: 0, as `%dipull` has it, or the first that has it; undefined if none has. */
export function pullRank(values: readonly Value[]): number | undefined {
  const ranks = values.flatMap((value) => value.ranks);
  return ranks.length === 0 ? undefined : Math.min(...ranks);
}
