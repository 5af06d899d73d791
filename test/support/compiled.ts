/** For the processes that a test starts: where `npm test` keeps compiled code. */
export const COMPILED = { NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] }
