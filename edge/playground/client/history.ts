import { button, byId, make, showBlob } from './page.ts';
import { allMade, forget, forgetAll, keep } from './store.ts';
import type { Made } from './types.ts';

/** The pictures that were made, in this browser's storage. @param onChoose called with the one that is chosen. */
export function history(onChoose: (made: Made) => void) {
  const list = byId('history', HTMLUListElement);
  const items = new Map<number, HTMLLIElement>();

  const update = () => {
    const none = items.size === 0;
    byId('no-history').hidden = !none;
    byId('clear-history').hidden = none;
  };
  const itemOf = (made: Made) => {
    const words = made.effective.prompt || 'without words';
    const img = make('img', { alt: `${words}, seed ${made.effective.seeds[0]}`, loading: 'lazy' });
    if (made.effective.width <= 128) img.className = 'small';
    showBlob(img, made.images[0]!);
    const open = button('', () => onChoose(made), { title: words });
    open.append(img);
    const item = make('li', {}, open);
    items.set(made.id!, item);
    return item;
  };
  const remove = (id: number) => {
    const item = items.get(id);
    URL.revokeObjectURL(item?.querySelector('img')?.src ?? '');
    item?.remove();
    items.delete(id);
    update();
  };
  byId('clear-history').addEventListener('click', async () => {
    if (!confirm('Delete all pictures of the history?')) return;
    await forgetAll();
    for (const id of [...items.keys()]) remove(id);
  });

  return {
    async load(): Promise<void> {
      list.append(...(await allMade()).map(itemOf));
      update();
    },
    /** Gives it its id. @throws DOMException when this browser keeps nothing. */
    async add(made: Made): Promise<void> {
      made.id = await keep(made);
      list.prepend(itemOf(made));
      update();
    },
    async delete(id: number): Promise<void> {
      await forget(id);
      remove(id);
    },
    /** Marks the one that is shown. */
    mark(id: number | undefined): void {
      for (const [each, item] of items) {
        if (each === id) item.firstElementChild!.setAttribute('aria-current', 'true');
        else item.firstElementChild!.removeAttribute('aria-current');
      }
    },
  };
}
