// Ask for every case with a client of node's; arguments: http, http-insecure, fetch or undici, then the URL.
// As client_aiohttp.py.
const http = require('http');
const fs = require('fs');
const [, , kind, url] = process.argv;

function viaHttp(address, field) {
  return new Promise((resolve, reject) => {
    const options = {agent: false, insecureHTTPParser: kind === 'http-insecure'};
    const request = http.get(address, options, (response) => {
      response.on('data', () => {});
      response.on('error', reject);
      response.on('aborted', () => reject(new Error('aborted')));
      response.on('end', () => resolve([response.headers[field.toLowerCase()] ?? []].flat()));
    });
    request.on('error', reject);
    request.on('upgrade', (response, socket) => { socket.destroy(); reject(new Error('upgraded')); });
    const timer = setTimeout(() => request.destroy(new Error('timeout')), 5000);
    request.on('close', () => clearTimeout(timer));
  });
}

async function viaFetch(address, field) {
  const {fetch} = kind === 'undici' ? require('undici') : globalThis;
  let response;
  for (let tries = 3; response === undefined; tries--) {
    try {
      response = await fetch(address, {signal: AbortSignal.timeout(5000)});
    } catch (error) {
      // The case before was ended by a close, which a pooled connection may not have noticed yet.
      if (tries === 1 || error.name === 'TimeoutError') throw error;
    }
  }
  await response.arrayBuffer();
  const value = response.headers.get(field);
  return value === null ? [] : [value];
}

(async () => {
  const told = {};
  for (const [name, field] of JSON.parse(fs.readFileSync(0))) {
    try {
      told[name] = {values: await (kind.startsWith('http') ? viaHttp : viaFetch)(`${url}/${name}`, field)};
    } catch (error) {
      told[name] = {refused: `${error.message} ${error.cause?.message ?? ''} ${error.code ?? ''}`.trim()};
    }
  }
  console.log(JSON.stringify(told));
  process.exit(0);
})();
