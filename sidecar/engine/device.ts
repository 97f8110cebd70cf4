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
  if (options.device !== 'auto') return addon.open(options);
  try {
    return await addon.open({ ...options, device: 'cuda:0' });
  } catch (error) {
    say(`computing on the CPU: ${error instanceof Error ? error.message : error}`);
    return addon.open({ ...options, device: 'cpu' });
  }
}
