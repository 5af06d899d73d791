// What a person sees who opens the address of the ingress in a browser. It says what this is and
// where to continue; it knows nothing of the installation, of who asks, or whether anything runs.
import type { FastifyInstance } from 'fastify'
import { sendPage } from './oauth/page.ts'

/** GET /: always 200. */
export function registerStartPage(app: FastifyInstance): void {
  app.get('/', (request, reply) =>
    sendPage(request, reply, {
      status: 200,
      title: 'Calstream',
      paragraphs: [
        'This is the address of a calendar sync. It keeps a copy of calendars that people have connected, and tells their apps what changes.',
        'Do you want to connect or disconnect your calendar? The app that you use has the link; there is nothing to sign in to here.',
        'Are you building an app? It asks here with a bearer token of its own. The document below lists every request and answer.',
      ],
      actions: [{ label: 'The HTTP interface (OpenAPI)', href: '/openapi.json' }],
    }),
  )
}
