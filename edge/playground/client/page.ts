type Kind<T> = new () => T;

/**
 * The element of that id.
 * @throws Error when the page has none of that kind.
 */
export function byId<T extends HTMLElement>(id: string, kind: Kind<T> = HTMLElement as Kind<T>): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`expected a ${kind.name} with id ${id}`);
  return found;
}

/** A new element with these properties and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A button that sends no form. */
export function button(text: string, onClick: () => void, properties: Partial<HTMLButtonElement> = {}) {
  const made = make('button', { type: 'button', ...properties }, text);
  made.addEventListener('click', onClick);
  return made;
}

/** Puts options after the first `kept` of a select; what was chosen stays chosen, where it is still there. */
export function setOptions(
  select: HTMLSelectElement,
  kept: number,
  options: { value: string; text: string }[],
) {
  const chosen = select.value;
  select.length = kept;
  select.append(...options.map(({ value, text }) => make('option', { value }, text)));
  if ([...select.options].some(({ value }) => value === chosen)) select.value = chosen;
}

/** Says it to who does not see the page. */
export function announce(text: string): void {
  byId('status').textContent = text;
}

/** Shows an image by its bytes; those it showed before are let go. */
export function showBlob(img: HTMLImageElement, blob: Blob): void {
  if (img.src.startsWith('blob:')) URL.revokeObjectURL(img.src);
  img.src = URL.createObjectURL(blob);
}

export function download(blob: Blob, name: string): void {
  const href = URL.createObjectURL(blob);
  make('a', { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
