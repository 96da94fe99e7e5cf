/** Places in cells of notebooks, as people and VS Code know them. */

/** `File vscode-notebook-cell:/train.ipynb#W2:3`, with or without colours. */
const place = /File (?:\x1b\[[\d;]*m)*(vscode-notebook-cell:[^\s\x1b"]+)(?:\x1b\[[\d;]*m)*:(\d+)((?:\x1b\[[\d;]*m)*)/g;

/** A traceback in which places in cells of notebooks are as IPython writes them, `Cell In[3], line 2`. VS Code makes links of these. */
export function named(traceback: string, orderOf: (uri: string) => number | undefined): string {
  return traceback.replaceAll(place, (_, uri: string, line: string, end: string) => {
    const order = orderOf(uri);
    return `Cell ${order === undefined ? '' : `In[${order}], `}line ${line}${end}`;
  });
}
