/** The text of a page of the results, without the editor. */

interface Parts {
  /** Names the page's own script. */
  readonly nonce: string;
  /** Where files of the extension are loaded from, for a policy. */
  readonly source: string;
  /** Whether outputs may use the network. */
  readonly network: boolean;
  /** May come from code: the title of a cell, the name of a variable. */
  readonly title: string;
  readonly style: string;
  readonly script: string;
  readonly renderers: string;
}

export function pageText({ nonce, source, network, title, style, script, renderers }: Parts): string {
  const from = network ? ' https:' : '';
  const policy = [
    `default-src 'none'`,
    `form-action 'none'`,
    `base-uri 'none'`,
    `script-src 'nonce-${nonce}'${from}`,
    `style-src ${source} 'unsafe-inline'${from}`,
    `img-src data: blob:${from}`,
    `media-src data: blob:${from}`,
    `font-src data:${from}`,
    `connect-src ${source}${network ? ' https: wss:' : ''}`,
  ].join('; ');
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${escaped(title)}</title>
<link rel="stylesheet" href="${style}">
</head>
<body>
<script nonce="${nonce}" src="${script}" data-renderers="${renderers}" data-network="${String(network)}"></script>
</body>
</html>`;
}

/** Text as HTML that shows it. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
