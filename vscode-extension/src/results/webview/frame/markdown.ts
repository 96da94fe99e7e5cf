/** Markdown and LaTeX. */
import katex from '@vscode/markdown-it-katex';
import { renderToString } from 'katex';
import MarkdownIt from 'markdown-it';

globalThis.dipRenderer = (value, element, { mime }) => {
  const text = String(value);
  // Elements of HTML may stand in Markdown. Nothing of them runs or is loaded: the frame's policy sees to that.
  element.innerHTML =
    mime === 'text/latex' ? latex(text) : new MarkdownIt({ html: true, linkify: false }).use(katex).render(text);
  return Promise.resolve(undefined);
};

/** LaTeX as IPython prints it: formulas between dollars, text around them. */
function latex(source: string): string {
  const form = /\$\$([^]+?)\$\$|\$((?:\\.|[^$\\])+?)\$|\\\[([^]+?)\\\]|\\\(([^]+?)\\\)|(\\begin\{[^]+\\end\{\w+\*?\})/g;
  let html = '';
  let at = 0;
  for (const match of source.matchAll(form)) {
    const [all, display, inline, bracket, parenthesis, environment] = match;
    html += escaped(source.slice(at, match.index));
    at = match.index + all.length;
    const large = display ?? bracket ?? environment;
    html += renderToString(large ?? inline ?? parenthesis ?? '', {
      displayMode: large !== undefined,
      throwOnError: false,
    });
  }
  return html + escaped(source.slice(at));
}

function escaped(text: string): string {
  const element = document.createElement('span');
  element.textContent = text;
  return element.innerHTML;
}
