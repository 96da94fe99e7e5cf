/** Questions of the server. Their messages may be hidden: the status bar says that one waits, and leads to it. */
import * as vscode from 'vscode';
import type { MessageActionItem, ShowMessageRequestParams } from 'vscode-languageclient/node';
import { MessageType } from 'vscode-languageclient/node';
import { type Kind, showMessage } from './messages';

/** Asks the user something, and gives the answer; null for none. */
export type Ask = (
  question: ShowMessageRequestParams,
  takenBack: vscode.CancellationToken,
) => Promise<MessageActionItem | null>;

export class Questions implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('dip.question', vscode.StatusBarAlignment.Left, 9);
  private readonly open = new Set<ShowMessageRequestParams>();

  constructor() {
    this.item.name = 'Dip Question';
    this.item.text = '$(question) Dip: waiting for your answer';
    this.item.command = 'dip.showQuestion';
    this.item.backgroundColor = new vscode.ThemeColor('statusBarItem.warningBackground');
    this.item.accessibilityInformation = { label: 'Dip: waiting for your answer', role: 'button' };
  }

  readonly ask: Ask = async (question, takenBack) => {
    const { type, message, actions = [] } = question;
    const over = new Promise<undefined>((resolve) => {
      takenBack.onCancellationRequested(() => {
        resolve(undefined);
      });
    });
    this.open.add(question);
    this.update();
    try {
      return (await Promise.race([showMessage<MessageActionItem>(kindOf(type), message, ...actions), over])) ?? null;
    } finally {
      this.open.delete(question);
      this.update();
    }
  };

  dispose(): void {
    this.item.dispose();
  }

  private update(): void {
    const [first] = this.open;
    this.item.tooltip = first?.message;
    if (first) {
      this.item.show();
    } else {
      this.item.hide();
    }
  }
}

/** How a message of the server is shown. */
export function kindOf(type: MessageType): Kind {
  return type === MessageType.Error ? 'error' : type === MessageType.Warning ? 'warning' : 'information';
}
