"""faiss's exact index behind a minimal server, as one writes it in Python: `serve_peer.py threads|asyncio VECTORS.npy`.

`threads` is http.server's ThreadingHTTPServer, a thread a connection; `asyncio` reads requests from streams on one thread and searches on
a pool of threads, so that it goes on reading. Both search a query at a time, as their requests come. Prints the port.
"""

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import faiss
import numpy as np


def answer(index, body):
    asked = json.loads(body)
    queries = np.array([query["vector"] for query in asked["queries"]], dtype=np.float32)
    scores, rows = index.search(queries, asked["k"])
    results = [
        {"hits": [{"rank": i + 1, "id": str(r), "score": float(s)} for i, (r, s) in enumerate(zip(*both))]}
        for both in zip(rows, scores)
    ]
    return json.dumps({"metric": "dot", "results": results}).encode()


def threads(index):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_POST(self):
            body = answer(index, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


async def streams(index):
    pool = ThreadPoolExecutor(THREADS)

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length"))
                body = await reader.readexactly(length)
                body = await asyncio.get_running_loop().run_in_executor(pool, answer, index, body)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    kind, path = sys.argv[1:]
    vectors = np.load(path)
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    if kind == "threads":
        threads(index)
    else:
        asyncio.run(streams(index))
