// Adds a token to each request, for clients that cannot send one, and passes everything else on as it is: the conformance
// suite takes an address and nothing more, and lies about Host and Origin on purpose.
//
//   CODA_TEST_URL=… CODA_TEST_TOKEN=… node bearer.mjs          prints its own address of the same endpoint, then serves

import http from "node:http";

const { hostname, port, pathname } = new URL(process.env.CODA_TEST_URL);
const authorization = `Bearer ${process.env.CODA_TEST_TOKEN}`;

const server = http.createServer((request, response) => {
  const headers = { ...request.headers, authorization };
  const onward = http.request({ hostname, port, method: request.method, path: request.url, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders);
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  // A client that gives up ends the server's side too.
  response.on("close", () => onward.destroy());
  request.pipe(onward);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}${pathname}`));
