/** When what runs put out brings the results view up. */
import type { Output } from '../timeline';

export type Reveal = 'never' | 'onOutput' | 'onRich' | 'onError';

/** Whether an output brings up the view: what can be seen elsewhere need not. */
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
