/** When output opens the results view. */
import type { Output } from '../timeline';

export type Reveal = 'never' | 'onOutput' | 'onRich' | 'onError';

/** Whether an output opens the view. What can be seen elsewhere does not. */
export function reveals(setting: Reveal, output: Output): boolean {
  switch (setting) {
    case 'never':
      return false;
    case 'onError':
      return output.kind === 'failure';
    case 'onRich':
      return output.kind === 'failure' || (output.kind === 'rich' && isRich(output.data));
    case 'onOutput':
      return true;
  }
}

function isRich(data: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(data).some((mime) => mime !== 'text/plain');
}
