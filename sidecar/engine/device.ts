import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type NativeAddon, type NativeDevice, native, type OpenOptions } from '../native.ts';

/**
 * Opens a device; `auto` is the first GPU, or the CPU where none can be used.
 * @param say receives one line on why `auto` is the CPU.
 * @throws Error when there is no such device, or the addon is not built.
 */
export async function openDevice(
  options: OpenOptions,
  say: (line: string) => void = console.error,
  addon: NativeAddon = native(),
): Promise<NativeDevice> {
  const given = options.providers === 'auto' ? { choicesFile: await choicesFile(), ...options } : options;
  if (options.device !== 'auto') return addon.open(given);
  try {
    return await addon.open({ ...given, device: 'cuda:0' });
  } catch (error) {
    say(`computing on the CPU: ${error instanceof Error ? error.message : error}`);
    return addon.open({ ...given, device: 'cpu' });
  }
}

/** `gpu-choices.tsv` in the user's folder of caches; none where there can be no such folder. */
async function choicesFile(): Promise<string | undefined> {
  const dir = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'latent-edge');
  try {
    await mkdir(dir, { recursive: true });
    return join(dir, 'gpu-choices.tsv');
  } catch {
    return undefined;
  }
}
