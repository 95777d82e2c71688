"""The server beside faiss behind a minimal Python server, in turns, in the same minutes.

    pip install faiss-cpu numpy
    python bench/serve.py            # builds our half, runs both, writes docs/results/serve.md
    python bench/serve.py soak 10    # ten minutes of searches, additions, deletions and compactions: no error, flat memory

100,000 random unit vectors of 128 values, exact search for 10 neighbours by dot product, one query a request, JSON both ways. Clients ask
again as soon as they have their answer (bench/src/bin/load.rs), on the same 2 cores as the server. A figure is the median of RUNS runs of
SECONDS, the servers in turns.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import version

import numpy as np

THREADS, RUNS, SECONDS = 2, 3, 8
ROWS, DIM, K, QUERIES = 100_000, 128, 10, 512
CLIENTS = (1, 16, 64)
ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def unit(n, seed):
    x = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def start_ours(folder):
    subprocess.run([TARGET / "nearkin", "--quiet", "index", folder / "v.npy", "--metric", "dot", "--kind", "exact", "--out", folder / "v.index"], check=True)
    server = subprocess.Popen(
        [TARGET / "nearkin", "--json", "--threads", str(THREADS), "serve", folder / "v.index", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    return server, json.loads(server.stdout.readline())["address"]


def start_peer(kind, folder):
    peer = pathlib.Path(__file__).with_name("serve_peer.py")
    server = subprocess.Popen([sys.executable, peer, kind, folder / "v.npy"], stdout=subprocess.PIPE, text=True)
    return server, f"127.0.0.1:{server.stdout.readline().strip()}"


def load(address, clients, bodies, seconds=SECONDS):
    done = subprocess.run([TARGET / "nearkin-load", address, "/v1/search", str(clients), str(seconds), bodies], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["refused"] == 0, found
    return found


def same_answers(addresses, bodies):
    """Every server finds the same rows: else there is nothing to compare."""
    for body in bodies.read_text().splitlines()[:50]:
        found = []
        for address in addresses:
            request = urllib.request.Request(f"http://{address}/v1/search", body.encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request) as answer:
                found.append([hit["id"] for hit in json.load(answer)["results"][0]["hits"]])
        assert all(ids == found[0] for ids in found), found


def main():
    for package in ("nearkin", "nearkin-bench"):
        subprocess.run(["cargo", "build", "--release", "--package", package], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.save(folder / "v.npy", unit(ROWS, 0))
        bodies = folder / "bodies"
        queries = [[round(float(x), 6) for x in query] for query in unit(QUERIES, 1)]
        bodies.write_text("\n".join(json.dumps({"queries": [{"vector": q}], "k": K}) for q in queries) + "\n")
        servers = {"nearkin": start_ours(folder), "threads": start_peer("threads", folder), "asyncio": start_peer("asyncio", folder)}
        try:
            same_answers([address for _, address in servers.values()], bodies)
            runs = {(name, clients): [] for name in servers for clients in CLIENTS}
            for _ in range(RUNS):
                for clients in CLIENTS:
                    for name, (_, address) in servers.items():
                        found = load(address, clients, bodies)
                        runs[name, clients].append(found)
                        print(name, clients, found, flush=True)
        finally:
            for server, _ in servers.values():
                server.terminate()
                server.wait()
    write(runs)


def write(runs):
    def median(name, clients, what):
        return statistics.median(run[what] for run in runs[name, clients])

    names = {"nearkin": "nearkin serve", "threads": "faiss, ThreadingHTTPServer", "asyncio": "faiss, asyncio"}
    lines = []
    for clients in CLIENTS:
        for name, title in names.items():
            per_second, p50, p99 = (median(name, clients, what) for what in ("per_second", "p50_ms", "p99_ms"))
            spread = [run["per_second"] for run in runs[name, clients]]
            lines.append(
                f"| {clients} | {title} | {per_second:,.0f} | {min(spread):,.0f} to {max(spread):,.0f} | {p50:.2f} | {p99:.2f} |"
            )
    verdicts = []
    for clients in CLIENTS:
        best = max(("threads", "asyncio"), key=lambda name: median(name, clients, "per_second"))
        ratio = median("nearkin", clients, "per_second") / median(best, clients, "per_second")
        late = median("nearkin", clients, "p99_ms") / min(median(name, clients, "p99_ms") for name in ("threads", "asyncio"))
        verdicts.append(f"- {clients} client{'s' if clients > 1 else ''}: {ratio:.2f} times the throughput of the better peer, {late:.2f} of its p99.")
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    page = f"""# The server beside a Python server

Made by `python bench/serve.py`: {ROWS:,} random unit vectors of {DIM} values, exact search for {K} neighbours, one query a request, JSON both
ways. Clients ask again as soon as they have their answer, on the same {THREADS} cores as the server. Medians of {RUNS} runs of {SECONDS} s, the
servers in turns; the answers of the three are the same.

{cpu}, {os.cpu_count()} cores. faiss-cpu {version("faiss-cpu")}, Python {platform.python_version()}.

| clients | server | requests a second | of runs | p50, ms | p99, ms |
|---|---|---|---|---|---|
{chr(10).join(lines)}

{chr(10).join(verdicts)}

The peer is faiss's `IndexFlatIP` behind a server as one writes it in an hour (`bench/serve_peer.py`): `http.server`'s
`ThreadingHTTPServer`, and a reader of streams on asyncio that searches on two threads. Both search each request by itself. Ours takes what
waits as one batch: the vectors are read once for all of it, and the products of many queries run at the processor's rate.
"""
    (ROOT / "docs/results/serve.md").write_text(page)
    print(page)


def soak(minutes):
    """Mixed load by eight clients. Every answer must be 200, the rows at the end those that were acknowledged, and memory flat."""
    import http.client
    import random
    import threading

    subprocess.run(["cargo", "build", "--release", "--package", "nearkin"], cwd=ROOT, check=True)
    rows, counts, lock, errors = 20_000, {}, threading.Lock(), []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.save(folder / "v.npy", unit(rows, 0))
        server, address = start_ours(folder)
        end = time.monotonic() + 60 * minutes
        net = [0]

        def client(number):
            draw, made, mine = random.Random(number), 0, []
            connection = http.client.HTTPConnection(address, timeout=120)
            pool = [[round(float(x), 5) for x in v] for v in unit(64, 100 + number)]

            def ask(method, path, body=None):
                connection.request(method, path, json.dumps(body) if body is not None else None, {"content-type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
                with lock:
                    counts[f"{method} {path.split('?')[0]}"] = counts.get(f"{method} {path.split('?')[0]}", 0) + 1
                return json.loads(text)

            compacted = time.monotonic()
            try:
                while time.monotonic() < end:
                    kind = draw.random()
                    if number == 0 and time.monotonic() - compacted > 30:
                        ask("POST", "/v1/compact")
                        compacted = time.monotonic()
                    elif kind < 0.1:
                        ids = [f"soak/{number}/{made + i}" for i in range(5)]
                        made += 5
                        items = [{"id": i, "vector": draw.choice(pool), "label": "new"} for i in ids]
                        assert ask("POST", "/v1/items", {"items": items})["added"] == 5
                        mine += ids
                        with lock:
                            net[0] += 5
                    elif kind < 0.2 and len(mine) >= 5:
                        ids, mine[:] = mine[:5], mine[5:]
                        assert ask("POST", "/v1/items/delete", {"ids": ids})["deleted"] == 5
                        with lock:
                            net[0] -= 5
                    elif kind < 0.3 and mine:
                        assert ask("GET", f"/v1/item?id={mine[-1]}")["label"] == "new"
                    else:
                        found = ask("POST", "/v1/search", {"queries": [{"vector": draw.choice(pool)}], "k": K})
                        assert len(found["results"][0]["hits"]) == K
            except Exception as error:
                errors.append(f"client {number}: {error!r}")

        clients = [threading.Thread(target=client, args=(n,)) for n in range(8)]
        for thread in clients:
            thread.start()
        memory = []
        while any(thread.is_alive() for thread in clients):
            time.sleep(5)
            status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
            memory.append(int(next(l for l in status.splitlines() if l.startswith("VmRSS")).split()[1]) / 1024)
        health = json.load(urllib.request.urlopen(f"http://{address}/health"))
        server.terminate()
        server.wait()
    assert not errors, errors
    assert health["index"]["rows"] == rows + net[0], (health, net)
    third = max(1, len(memory) // 3)
    print(json.dumps({
        "minutes": minutes, "requests": counts, "errors": len(errors), "rows": health["index"]["rows"],
        "memory_mib": {"first_third": statistics.median(memory[:third]), "last_third": statistics.median(memory[-third:]), "most": max(memory)},
    }, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["soak"]:
        soak(float(sys.argv[2]))
    else:
        main()
