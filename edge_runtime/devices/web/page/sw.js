// Keeps the app for use without a network, and adds the two headers that threads need where the server does not send
// them. FILES and VERSION are written above this line.
const CACHE = `edgekit ${self.registration.scope} ${VERSION}`;

self.addEventListener("install", (event) => {
  const requests = FILES.map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)));
});

self.addEventListener("activate", (event) => {
  const mine = `edgekit ${self.registration.scope} `;
  event.waitUntil(caches.keys().then((names) => {
    const old = names.filter((name) => name.startsWith(mine) && name !== CACHE);
    return Promise.all(old.map((name) => caches.delete(name)));
  }).then(() => self.clients.claim()));
});

async function answer(request) {
  const cache = await caches.open(CACHE), known = await cache.match(request, { ignoreSearch: true });
  const found = known ?? (await fetch(request));
  if (!known && found.ok) await cache.put(request, found.clone()); // what only some browsers need
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}

self.addEventListener("fetch", (event) => {
  const own = event.request.url.startsWith(self.registration.scope);
  if (own && event.request.method === "GET") event.respondWith(answer(event.request));
});
