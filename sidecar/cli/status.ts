/** Exit status where no device is left: supervision starts it again, and finds out which devices still open. */
export const LOST = 69;
