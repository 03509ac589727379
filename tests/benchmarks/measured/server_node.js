// node's http server, which tells which header lines it saw; argument: the port.
const http = require('http');
const crypto = require('crypto');

const server = http.createServer((request, response) => {
  request.on('data', () => {});
  request.on('end', () => {
    const raw = request.rawHeaders;
    const seen = [];
    for (let at = 0; at < raw.length; at += 2) seen.push([raw[at], raw[at + 1]]);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(seen));
  });
});
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.end('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
