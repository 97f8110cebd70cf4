import { button, byId } from './page.ts';
import type { Size } from './sizes.ts';
import { type Sketch, sketch } from './sketch.ts';
import type { Body, Model, Names } from './types.ts';

const MAX_UNITS = 8;

/** The ControlNets of a request, each a section with its own board. There is always a first. */
export function sketches() {
  const first = byId('control', HTMLDetailsElement);
  const pristine = first.cloneNode(true) as HTMLDetailsElement;
  const all: Sketch[] = [sketch(first)];
  let offered: [Model[], Names] | undefined;
  let size: Size = { width: 512, height: 512 };
  let made = 1;
  const another = button('Another ControlNet', () => {
    const added = add();
    added.element.open = true;
    added.element.querySelector('summary')!.focus();
  });
  first.append(another);

  const update = () => {
    another.disabled = all.length >= MAX_UNITS;
  };
  const add = (): Sketch => {
    const element = copyOf(pristine, ++made);
    all.at(-1)!.element.after(element);
    const added = sketch(element);
    element.append(
      button('Remove', () => {
        all.splice(all.indexOf(added), 1);
        element.remove();
        update();
        another.focus();
      }),
    );
    added.setSize(size);
    if (offered) added.offer(...offered);
    all.push(added);
    update();
    return added;
  };

  return {
    /** For what is pasted. */
    sections: () => all,
    offer(nets: Model[], names: Names): void {
      offered = [nets, names];
      for (const each of all) each.offer(nets, names);
    },
    setSize(next: Size): void {
      size = next;
      for (const each of all) each.setSize(next);
    },
    async read(): Promise<Pick<Body, 'control'>> {
      // Sections that are open and empty are no units.
      const parts = all.filter((each) => each.takesPart());
      for (const { element } of all) placeAt(element, undefined);
      for (const [i, { element }] of parts.entries()) placeAt(element, i);
      return parts.length > 0 ? { control: await Promise.all(parts.map((each) => each.read())) } : {};
    },
    async restore({ control }: Body): Promise<void> {
      const units = control ?? [];
      while (all.length > Math.max(1, units.length)) all.pop()!.element.remove();
      while (all.length < units.length) add();
      await Promise.all(all.map((each, i) => each.restore(units[i])));
      update();
    },
  };
}

/** Errors name units by their place in the request. */
function placeAt(element: HTMLElement, i: number | undefined): void {
  const params = [element, ...element.querySelectorAll<HTMLElement>('[data-field]')];
  for (const each of params) {
    const { field } = each.dataset;
    each.dataset.param = i === undefined ? '' : `control[${i}]${field ? `.${field}` : ''}`;
  }
}

/** With ids of its own. */
function copyOf(section: HTMLDetailsElement, number: number): HTMLDetailsElement {
  const copy = section.cloneNode(true) as HTMLDetailsElement;
  for (const element of [copy, ...copy.querySelectorAll<HTMLElement>('[id]')]) element.id += `-${number}`;
  for (const label of copy.querySelectorAll('label')) label.htmlFor += `-${number}`;
  for (const field of copy.querySelectorAll<HTMLInputElement>('[name]')) field.name += `-${number}`;
  copy.querySelector('summary')!.firstChild!.textContent = `Sketch ${number} `;
  for (const bar of copy.querySelectorAll('[role=toolbar]')) bar.ariaLabel = `Drawing tools ${number}`;
  for (const board of copy.querySelectorAll('canvas')) board.ariaLabel = `${board.ariaLabel}, ${number}`;
  copy.open = false;
  return copy;
}
