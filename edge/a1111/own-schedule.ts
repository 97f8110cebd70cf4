import { type GenerateEvent, type GenerateRequest, type Names, SidecarError } from '../sidecar/client.ts';

type Run = (request: GenerateRequest) => AsyncIterable<GenerateEvent>;

/**
 * A run that, as in that UI, goes by its sampler's own schedule where this has no other; one that nobody knows is
 * refused.
 * @param names is asked in that case alone.
 * @param ignored is told of it.
 */
export async function* withOwnSchedule(
  request: GenerateRequest,
  run: Run,
  { names, ignored }: { names: () => Promise<Names>; ignored: string[] },
): AsyncGenerator<GenerateEvent> {
  const { schedule } = request;
  try {
    yield* run(request);
  } catch (error) {
    const isRefused = error instanceof SidecarError && error.httpStatus === 400 && error.field === 'schedule';
    if (!isRefused || !schedule || !isKnown(schedule, await names())) throw error;
    ignored.push('scheduler: the sampler has one of its own');
    yield* run({ ...request, schedule: '' });
  }
}

const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '');

function isKnown(schedule: string, { schedules }: Names): boolean {
  const all = schedules.flatMap(({ name, aliases }) => [name, ...aliases]);
  return all.some((name) => plain(name) === plain(schedule));
}
