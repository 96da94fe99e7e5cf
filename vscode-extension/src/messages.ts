/** The messages of the extension, all of them: what they quote, such as an exception's text or a cell's title, never becomes a link. */
import * as vscode from 'vscode';
import { said } from './arguments';

export type Kind = 'error' | 'warning' | 'information';

/** Shows a message; answers which of its buttons was pressed. */
export function showMessage<T extends string | vscode.MessageItem>(
  kind: Kind,
  text: string,
  ...buttons: readonly T[]
): Thenable<T | undefined> {
  const show = {
    error: vscode.window.showErrorMessage,
    warning: vscode.window.showWarningMessage,
    information: vscode.window.showInformationMessage,
  }[kind] as (text: string, ...buttons: readonly T[]) => Thenable<T | undefined>;
  return show(said(text), ...buttons);
}

/** Asks a question that the user has to answer before anything else; answers whether the button of its action was pressed. */
export async function confirmed(text: string, detail: string, action: string): Promise<boolean> {
  return (await vscode.window.showWarningMessage(said(text), { modal: true, detail }, action)) === action;
}
