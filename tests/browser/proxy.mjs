// What stands in front of coda where an organisation logs people in: a proxy that knows who somebody is and says so in
// headers. Here each person has a port of their own, and whoever opens it is that person.
//
//   node proxy.mjs CODA_ADDRESS SECRET_FILE NAME…     prints one line 'NAME URL' for each person, then serves

import { readFileSync } from "node:fs";
import http from "node:http";

const [target, secretFile, ...names] = process.argv.slice(2);
const { hostname, port } = new URL(target);
const secret = readFileSync(secretFile, "utf8").trim();

// What a browser may not bring along itself.
const OURS = ["x-forwarded-email", "x-forwarded-host", "x-proxy-secret"];

function forwarded(request, name) {
  const headers = { ...request.headers };
  for (const header of OURS) delete headers[header];
  return {
    hostname,
    port,
    method: request.method,
    path: request.url,
    headers: { ...headers, "x-forwarded-email": name, "x-forwarded-host": request.headers.host, "x-proxy-secret": secret },
  };
}

function serve(name) {
  const server = http.createServer((request, response) => {
    const onward = http.request(forwarded(request, name), (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  server.on("upgrade", (request, socket, head) => {
    const onward = http.request(forwarded(request, name));
    const end = () => socket.destroy();
    onward.on("error", end);
    onward.on("response", (answer) => {
      socket.write(`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\nconnection: close\r\n\r\n`);
      answer.pipe(socket);
    });
    onward.on("upgrade", (answer, other, otherHead) => {
      const lines = [];
      for (let i = 0; i < answer.rawHeaders.length; i += 2) lines.push(`${answer.rawHeaders[i]}: ${answer.rawHeaders[i + 1]}`);
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`);
      socket.write(otherHead);
      other.write(head);
      socket.pipe(other).pipe(socket);
      socket.on("error", () => other.destroy());
      other.on("error", end);
    });
    onward.end();
  });
  server.listen(0, "127.0.0.1", () => console.log(`${name} http://127.0.0.1:${server.address().port}`));
}

for (const name of names) serve(name);
