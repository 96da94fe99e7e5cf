/** Asks the user for what code wants to be typed: `input()` and `getpass()`. */
import * as vscode from 'vscode';
import { said } from './arguments';
import type { DipEvent, InputAnswer, InputParams } from './generated/server';
import { whose } from './ranks';

const each: vscode.QuickInputButton = {
  iconPath: new vscode.ThemeIcon('list-ordered'),
  tooltip: 'Answer for each rank',
};

/**
 * What the user types for all ranks that ask, or for each of them. It is null if the user closes the box, or nobody waits for an answer any more; then the
 * command "Answer Input" asks again.
 */
export async function askInput(
  params: InputParams,
  token: vscode.CancellationToken,
  events: vscode.Event<DipEvent>,
): Promise<InputAnswer | null> {
  const { title, prompt, password, who, ranks = [] } = params;
  const box = { prompt, password: password === true, token };
  const asked = (by: string) => `${by === '' ? '' : `${by} ${/^ranks /.test(by) ? 'ask' : 'asks'} · `}${title}`;
  const grown = (told: (by: string) => void) =>
    events((event) => {
      if (event.event === 'input' && event.run === params.run && event.input === params.input) {
        const now = event.state === 'asked' ? event.ranks : event.waiting;
        if (now && now.length > 0) {
          told(asked(whose(now)));
        }
      }
    });
  const typed = await type({ ...box, title: asked(who), buttons: ranks.length > 1 ? [each] : [] }, grown);
  if (typed === undefined) {
    return null;
  }
  if (typeof typed === 'string') {
    return { text: typed };
  }
  const texts: Record<string, string> = {};
  for (const [i, rank] of ranks.entries()) {
    const text = await type({ ...box, title: asked(whose([rank])), buttons: [], step: [i + 1, ranks.length] });
    if (typeof text !== 'string') {
      break; // what was typed for the others counts
    }
    texts[rank] = text;
  }
  return { texts };
}

interface Box {
  readonly title: string;
  readonly prompt: string;
  readonly password: boolean;
  readonly buttons: readonly vscode.QuickInputButton[];
  readonly token: vscode.CancellationToken;
  readonly step?: readonly [number, number];
}

/** What the user types into a box, which button was pressed, or undefined if the box was closed. */
function type(
  { title, prompt, password, buttons, token, step }: Box,
  retitled?: (told: (title: string) => void) => vscode.Disposable,
): Promise<string | vscode.QuickInputButton | undefined> {
  return new Promise((resolve) => {
    if (token.isCancellationRequested) {
      resolve(undefined);
      return;
    }
    const box = vscode.window.createInputBox();
    box.title = title;
    box.prompt = said(prompt);
    box.password = password;
    box.ignoreFocusOut = true; // a look at the code closes no question
    box.buttons = buttons;
    [box.step, box.totalSteps] = step ?? [undefined, undefined];
    const also = [
      token.onCancellationRequested(() => {
        box.hide();
      }),
      ...(retitled
        ? [
            retitled((text) => {
              box.title = text;
            }),
          ]
        : []),
    ];
    const end = (result: string | vscode.QuickInputButton | undefined) => {
      resolve(result); // the first time counts
      box.hide();
    };
    box.onDidAccept(() => {
      end(box.value);
    });
    box.onDidTriggerButton(end);
    box.onDidHide(() => {
      resolve(undefined);
      for (const one of also) {
        one.dispose();
      }
      box.dispose();
    });
    box.show();
  });
}
