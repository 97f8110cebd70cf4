import { byId } from './page.ts';

const STORED = 'latent-edge key';

export function storedKey(): string | undefined {
  return sessionStorage.getItem(STORED) || undefined;
}

/** Asks for the server's key. @param onKeep called when there may be another. */
export function keyDialog(onKeep: () => void): { open(): void } {
  const dialog = byId('key-dialog', HTMLDialogElement);
  const field = byId('key', HTMLInputElement);
  const open = () => {
    field.value = storedKey() ?? '';
    dialog.showModal();
  };
  byId('open-key').addEventListener('click', open);
  dialog.querySelector('form')!.addEventListener('submit', () => {
    sessionStorage.setItem(STORED, field.value.trim());
    onKeep();
  });
  return { open };
}
