#!/usr/bin/env python3
"""Imports the releases of make.py and compares what became of each with the manifest; prints a table.

    drive.py DIR [--ranges N] [--only GLOB]

Server from the environment, as for ../drive.py. Every listed file is read whole by WebDAV and compared by its SHA-256; N random
ranges (default 10,000) over all listed files are read on four kept connections and compared. A line of `ok` or `FAIL` for
each release, one for its shuffled NZB, one for what lies outside of the releases' folders, and one for the ranges.
"""
import argparse
import fnmatch
import hashlib
import http.client
import json
import random
import sys
import threading
import time
import xml.etree.ElementTree as ET
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from drive import Server


def walk(server, path):
    """{path below the release: length} of all files."""
    status, _, text, _ = server.dav("PROPFIND", path.rstrip("/") + "/", Depth="1")
    if status == 404:
        return {}
    if status != 207:
        raise RuntimeError(f"PROPFIND {path}: {status}")
    found = {}
    for entry in ET.fromstring(text).iter("{DAV:}response"):
        href = urllib.parse.unquote(urllib.parse.urlsplit(entry.findtext("{DAV:}href")).path)
        name = href.rstrip("/").rsplit("/", 1)[1]
        if entry.find(".//{DAV:}collection") is None:
            found[name] = int(entry.findtext(".//{DAV:}getcontentlength"))
        elif href.rstrip("/") != "/webdav" + path.rstrip("/"):
            found |= {f"{name}/{below}": size for below, size in walk(server, f"{path.rstrip('/')}/{name}").items()}
    return found


def judge(server, release, job, readable):
    """What is wrong, or nothing; and how many of its files are right."""
    kinds, wanted = release["kinds"], release["files"]
    if job["state"] == "failed":
        kind = job["failure"]["kind"]
        if walk(server, job["destination"]):
            return "it failed and is in the library", 0
        message = job["failure"]["message"]
        if kind not in kinds:
            return f"it failed: {kind}: {message}", 0
        if release["says"] and release["says"].lower() not in message.lower():
            return f"it says nothing of {release['says']}: {message}", 0
        return None, 0
    if job["state"] != "completed":
        return job["state"], 0
    if kinds and not release["refuses"]:
        return f"it was imported and should have failed: {kinds}", 0
    shown = walk(server, job["destination"])
    left, right, problems = dict(shown), 0, []
    for file in wanted:
        if left.get(file["path"]) != file["size"]:
            problems.append(f"'{file['path']}' of {file['size']} bytes is not there")
            continue
        del left[file["path"]]
        path = f"{job['destination']}/{file['path']}"
        status, _, body, whole = server.dav("GET", path)
        if status == 200 and whole and len(body) == file["size"]:
            if hashlib.sha256(body).hexdigest() != file["sha256"]:
                problems.append(f"'{file['path']}' has other bytes")
            elif kinds:
                problems.append(f"'{file['path']}' is damaged and was read whole")
            else:
                right += 1
                if file["media"] and file["size"]:
                    readable.append((path, file["media"], file["size"]))
        elif not kinds:
            problems.append(f"'{file['path']}': {status}, {len(body)} of {file['size']} bytes")
    if release["only"] and left:
        problems.append(f"these are there too: {sorted(left)[:5]}")
    return "; ".join(problems) or None, right


def ranges(server, root, readable, count):
    """Random ranges of random files, by several readers at once. How many were other bytes."""
    originals = {name: (root / "media" / name).read_bytes() for _, name, _ in readable}
    wrong, lock = [], threading.Lock()

    def read(seed, share):
        source = random.Random(seed)
        connection = http.client.HTTPConnection(server.address, timeout=60)
        for _ in range(share):
            path, name, size = source.choice(readable)
            start = source.randrange(size)
            end = min(size, start + source.choice((1, 15, 16, 17, 4096, 65536, 200_000)))
            headers = {**server.login, "Range": f"bytes={start}-{end - 1}"}
            connection.request("GET", "/webdav" + urllib.parse.quote(path), None, headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 206 or body != originals[name][start:end]:
                with lock:
                    wrong.append(f"{path} {start}-{end}: {answer.status}, {len(body)} bytes")
        connection.close()

    readers = [threading.Thread(target=read, args=(seed, count // 4)) for seed in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return wrong


def top(server):
    """Names in the library's top folder, files and folders alike."""
    status, _, text, _ = server.dav("PROPFIND", "/", Depth="1")
    if status != 207:
        raise RuntimeError(f"PROPFIND /: {status}")
    hrefs = [urllib.parse.unquote(entry.findtext("{DAV:}href")).rstrip("/") for entry in ET.fromstring(text).iter("{DAV:}response")]
    return {href.rsplit("/", 1)[1] for href in hrefs if href != "/webdav"}


def submit(server, release, nzb, below):
    """The job's number, or the refusal's words. `below` is cut from the destination."""
    body = {"file_path": str(nzb)}
    if below:
        body["relative_path"] = str(below)
    if release["password"]:
        body["password"] = release["password"]
    status, answer = server.api("POST", "/api/import/file", body)
    if status == 200:
        return answer["data"]["queue_id"]
    return f"{status}: {answer['error']['message']}: {answer['error']['details']}"


def outcome(server, release, job, readable):
    """What is wrong, or nothing; how many files are right; and what became of it in words."""
    if isinstance(job, str):  # refused at once, with a reason
        right = "refused" in release["kinds"] and job.startswith("400: ")
        return (None if right else f"it was refused with {job}"), 0, "refused"
    problem, right = judge(server, release, job, readable)
    secret = release["password"]
    if secret and secret in json.dumps(job):
        problem = "the job shows its password"
    return problem, right, f"{job['state']} {(job['failure'] or {}).get('kind', '')}".strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--ranges", type=int, default=10_000)
    parser.add_argument("--only", default="*")
    given = parser.parse_args()
    root, server = given.dir.absolute(), Server()
    releases = json.loads((root / "manifest.json").read_text())
    releases = [r for r in releases if fnmatch.fnmatch(r["name"], given.only)]
    started, readable, failed = time.monotonic(), [], False
    before = top(server)
    jobs = [(release, "", submit(server, release, root / release["nzb"], None)) for release in releases]
    # Named from the folder above, so that they land in a folder of their own.
    jobs += [(release, " shuffled", submit(server, release, root / release["shuffled"], root / "nzb"))
             for release in releases if release["shuffled"]]
    destinations = set()
    for release, which, number in jobs:
        try:
            job = number if isinstance(number, str) else server.finished(number)
            problem, right, state = outcome(server, release, job, readable)
            if not isinstance(job, str):
                destinations.add(job["destination"].lstrip("/").split("/")[0])
        except Exception as error:
            problem, right, state = f"{type(error).__name__}: {error}", 0, "?"
        wanted = "/".join(release["kinds"]) or "files"
        row = f"release {release['name'] + which:<31} wanted {wanted:<18} got {state:<24} files {right}/{len(release['files'])}"
        print(f"FAIL {row}: {problem}" if problem else f"ok   {row}", flush=True)
        failed = failed or bool(problem)
    stray = top(server) - before - destinations
    print(f"FAIL releases: outside of their folders there is {sorted(stray)}" if stray else "ok   releases: nothing outside of their folders")
    failed = failed or bool(stray)
    print(f"releases: {len(jobs)} imports in {time.monotonic() - started:.0f} s")
    started = time.monotonic()
    if readable:
        wrong = ranges(server, root, readable, given.ranges)
        text = f"releases: {given.ranges // 4 * 4} random ranges of {len(readable)} files in {time.monotonic() - started:.0f} s"
        print(f"FAIL {text}: {len(wrong)} are wrong, such as {wrong[:3]}" if wrong else f"ok   {text}")
        failed = failed or bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
