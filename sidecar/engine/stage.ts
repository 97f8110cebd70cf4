/** A stretch of a request's way that is over, in `performance.now()`'s milliseconds; for traces. */
export interface Stage {
  name: 'queue' | 'load model' | 'encode text' | 'begin' | 'step' | 'preview' | 'decode' | 'encode images';
  began: number;
  ended: number;
  attributes?: Record<string, number | string>;
  /** Traceparents of the calls whose requests it was shared with. */
  links?: readonly string[];
}

export type OnStage = (stage: Stage) => void;

/** Tells of each stage when it is over; it began when the one before was. */
export function stages(
  onStage: OnStage | undefined,
): (name: Stage['name'], attributes?: Stage['attributes'], links?: Stage['links']) => void {
  let began = performance.now();
  return (name, attributes, links) => {
    const ended = performance.now();
    onStage?.({ name, began, ended, ...(attributes && { attributes }), ...(links && { links }) });
    began = ended;
  };
}
