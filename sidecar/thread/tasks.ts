import { fillMasked } from '../engine/masked-content.ts';
import {
  choosePreprocessor,
  type Hint,
  hintOf,
  type ResizeMode,
  type RgbImage,
} from '../preprocessors/index.ts';

/** Work on whole pictures, by name; what each takes and gives can be passed from one thread to another. */
export const tasks = {
  hint(
    preprocessor: string,
    options: Record<string, number>,
    image: RgbImage,
    size: { width: number; height: number },
    mode: ResizeMode,
    mask?: Uint8Array,
  ): Hint {
    return hintOf(choosePreprocessor(preprocessor, options), image, size, mode, mask);
  },
  fillMasked,
};

export type Tasks = typeof tasks;
export type TaskName = keyof Tasks;

/** Does it here. */
export function perform<N extends TaskName>(name: N, given: Parameters<Tasks[N]>): ReturnType<Tasks[N]> {
  return (tasks[name] as (...given: unknown[]) => ReturnType<Tasks[N]>)(...given);
}
