/** Short ways to make elements. */

type Properties = Readonly<Record<string, string | boolean | ((event: MouseEvent) => void) | undefined>>;

/**
 * Makes an element. Properties are attributes, `true` one without a value; `click` is a listener. Text is text, never HTML.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') {
      element.addEventListener('click', value as EventListener);
    } else if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  element.append(...children);
  return element;
}

/** A button with a text or a symbol, and a name for screen readers. */
export function button(label: string, sign: string, click: () => void, more: Properties = {}): HTMLButtonElement {
  return h('button', { type: 'button', title: label, 'aria-label': label, click, ...more }, sign);
}
