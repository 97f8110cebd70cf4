import type { DeviceInfoResponse__Output } from '../../proto/gen/latentedge/v1/DeviceInfoResponse.ts';
import type { EffectiveParameters__Output } from '../../proto/gen/latentedge/v1/EffectiveParameters.ts';
import type { GenerateEvent__Output } from '../../proto/gen/latentedge/v1/GenerateEvent.ts';
import type { GenerateRequest } from '../../proto/gen/latentedge/v1/GenerateRequest.ts';
import type { Image__Output } from '../../proto/gen/latentedge/v1/Image.ts';
import type { ListNamesResponse__Output } from '../../proto/gen/latentedge/v1/ListNamesResponse.ts';
import type { Model__Output } from '../../proto/gen/latentedge/v1/Model.ts';
import type { PreprocessRequest } from '../../proto/gen/latentedge/v1/PreprocessRequest.ts';
import type { Result__Output } from '../../proto/gen/latentedge/v1/Result.ts';
import type { Trace } from '../../proto/tracing/index.ts';

export type {
  DeviceInfoResponse__Output as DeviceInfo,
  EffectiveParameters__Output as EffectiveParameters,
  GenerateEvent__Output as GenerateEvent,
  GenerateRequest,
  Image__Output as Image,
  ListNamesResponse__Output as Names,
  Model__Output as Model,
  PreprocessRequest,
  Result__Output as Result,
};

export interface CallOptions {
  /** Cancels the call: the work stops within one denoising step. */
  signal?: AbortSignal;
  requestId?: string;
  /** That the call belongs to. */
  trace?: Trace | undefined;
  /** With the same, the same request is not run again; at most 128 characters of ASCII. */
  idempotencyKey?: string | undefined;
  /** Whether the caller chose the seeds: what it sends again is the same request, and goes to the same sidecar. */
  isSeeded?: boolean | undefined;
  /** Whether it has been tried at this sidecar: where that is a name for several, another may do better. */
  isAgain?: boolean | undefined;
  /** Milliseconds from now. */
  timeoutMs?: number;
}

/** What the edge needs of a sidecar, however it is reached. Every method throws SidecarError, and nothing else. */
export interface SidecarClient {
  /** Queued, Progress…, Result. Returning early from the iteration cancels the call. */
  generate(request: GenerateRequest, options?: CallOptions): AsyncIterable<GenerateEvent__Output>;
  listModels(options?: CallOptions): Promise<Model__Output[]>;
  deviceInfo(options?: CallOptions): Promise<DeviceInfoResponse__Output>;
  listNames(options?: CallOptions): Promise<ListNamesResponse__Output>;
  preprocess(request: PreprocessRequest, options?: CallOptions): Promise<Image__Output>;
  close(): void;
}

/** A call that failed, as the sidecar said it, or because it could not be reached. */
export class SidecarError extends Error {
  override name = 'SidecarError';
  /** `queue_full`, `model_not_found`, …; `sidecar_unreachable`. */
  readonly code: string;
  /** The HTTP status that says the same. */
  readonly httpStatus: number;
  /** The field at fault, as the .proto spells it. */
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    details: { code: string; httpStatus: number; field?: string; retryAfterMs?: number; cause?: unknown },
  ) {
    super(message, { cause: details.cause });
    this.code = details.code;
    this.httpStatus = details.httpStatus;
    this.field = details.field;
    this.retryAfterMs = details.retryAfterMs;
  }
}
