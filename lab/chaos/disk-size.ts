/** Of each host's bricks: room for all that a run uploads, and for what storage servers keep in reserve. */
export const BRICK_DISK_BYTES = 6 * 1024 ** 3
