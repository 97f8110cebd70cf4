/** What one request may bring and ask for. */
export interface Limits {
  /** Bytes of a body with pictures, at most: of `/v1/images/…` and `/sdapi/v1/…`. */
  imageBodyBytes: number;
  /** Pixels of all images of a reply, at most. */
  replyPixels: number;
}

/** A body of 16 MiB is held several times over while it is read; four images of 2048×2048 of noise are 68 MB as JSON. */
export const defaultLimits: Limits = { imageBodyBytes: 16 * 2 ** 20, replyPixels: 16 * 2 ** 20 };

/** Beyond, a picture would not fit into what the sidecar takes in one message (64 MiB). */
export const MAX_IMAGE_BODY_BYTES = 64 * 2 ** 20;
