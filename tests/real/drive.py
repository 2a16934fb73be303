#!/usr/bin/env python3
"""Imports the corpus through the HTTP API and compares what became of each release with the manifest.

    drive.py import CORPUS EXPECT     imports all; EXPECT gets the tree that the library must show (hard links)
    drive.py takedown CORPUS          reads `Taken.Down.Later` after its second article is gone
    drive.py strict CORPUS            imports and reads what is damaged, of a server with `cache.early_delivery: off`: no answer has
                                      a wrong byte, not even one that breaks off

Server from the environment: BASE (http://...), API_KEY, DAV_USER, DAV_PASSWORD. A line of `ok` or `FAIL` for each check.
"""
import base64
import http.client
import json
import os
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ET
from pathlib import Path

LIMIT = 120  # seconds for one import
failed = False
strict = False


def check(name, problem=None):
    """Says how a check went; `problem` is nothing, or what is wrong."""
    global failed
    failed = failed or bool(problem)
    print(f"FAIL {name}: {problem}" if problem else f"ok   {name}", flush=True)


class Server:
    def __init__(self):
        self.address = urllib.parse.urlsplit(os.environ["BASE"]).netloc
        self.key = os.environ["API_KEY"]
        login = f"{os.environ['DAV_USER']}:{os.environ['DAV_PASSWORD']}"
        self.login = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body, whole): `whole` is false where the connection ended before the promised length."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            try:
                return answer.status, answer.headers, answer.read(), True
            except http.client.IncompleteRead as cut:
                return answer.status, answer.headers, cut.partial, False
            except ConnectionError:
                return answer.status, answer.headers, b"", False
        finally:
            connection.close()

    def api(self, method, path, body=None, key=None):
        headers = {"X-Api-Key": self.key if key is None else key}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        status, headers, text, _ = self.request(method, path, data, headers)
        if headers.get_content_type() != "application/json":
            raise RuntimeError(f"{method} {path}: {status} is not JSON but {headers.get_content_type()}")
        return status, json.loads(text)

    def dav(self, method, path, **headers):
        return self.request(method, "/webdav" + urllib.parse.quote(path), None, {**self.login, **headers})

    def listing(self, path):
        """{name: length} of the files in a folder."""
        status, _, text, _ = self.dav("PROPFIND", path.rstrip("/") + "/", Depth="1")
        if status != 207:
            raise RuntimeError(f"PROPFIND {path}: {status}")
        found = {}
        for entry in ET.fromstring(text).iter("{DAV:}response"):
            href = urllib.parse.unquote(urllib.parse.urlsplit(entry.findtext("{DAV:}href")).path)
            if entry.find(".//{DAV:}collection") is None:
                found[href.rstrip("/").rsplit("/", 1)[1]] = int(entry.findtext(".//{DAV:}getcontentlength"))
        return found

    def submit(self, release):
        body = {"file_path": release["nzb"]}
        if release["relative_path"]:
            body["relative_path"] = release["relative_path"]
        status, answer = self.api("POST", "/api/import/file", body)
        if status != 200:
            raise RuntimeError(f"{release['name']} was refused with {status}: {answer}")
        number = answer["data"]["queue_id"]
        text = f"File successfully added to import queue with ID {number}"
        right = {"data": {"queue_id": number, "message": text}, "meta": None}
        if answer != right:
            raise RuntimeError(f"the answer is {answer}, not {right}")
        return number

    def finished(self, number):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            status, answer = self.api("GET", f"/api/queue/{number}")
            if status != 200:
                raise RuntimeError(f"GET /api/queue/{number}: {status} {answer}")
            if answer["data"]["state"] in ("completed", "failed", "cancelled"):
                return answer["data"]
            time.sleep(0.05)
        raise RuntimeError(f"job {number} was not done after {LIMIT} s: {answer['data']}")


def guarded(name, what, *arguments):
    """One check that may also end with an exception."""
    try:
        check(name, what(*arguments))
    except Exception as problem:
        check(name, f"{type(problem).__name__}: {problem}")


def refusals(server):
    cases = [
        ("a wrong key", "POST", "/api/import/file", {"file_path": "/x.nzb"}, "wrong", 401),
        ("a file that is not there", "POST", "/api/import/file", {"file_path": "/nowhere/x.nzb"}, None, 404),
        ("a relative path", "POST", "/api/import/file", {"file_path": "x.nzb"}, None, 400),
        ("a missing member", "POST", "/api/import/file", {}, None, 400),
        ("an unknown route", "GET", "/api/nothing", None, None, 404),
        ("an unknown job", "GET", "/api/queue/999999999", None, None, 404),
    ]
    for name, method, path, body, key, wanted in cases:
        def case():
            status, answer = server.api(method, path, body, key)
            if status != wanted:
                return f"{status}, not {wanted}"
            if set(answer) != {"error"} or set(answer["error"]) != {"message", "details"}:
                return f"the answer is {answer}"
        guarded(f"api: {name} is {wanted}", case)


def whole(server, release, job, expect):
    """A release that must be there with exactly its files."""
    if job["state"] != "completed":
        return f"{job['state']}: {job['failure']}"
    if job["destination"] != release["destination"]:
        return f"it lands in {job['destination']}, not {release['destination']}"
    shown = server.listing(release["destination"])
    folder = expect / release["destination"].lstrip("/")
    folder.mkdir(parents=True)
    for file in release["files"]:
        size = os.stat(file["source"]).st_size
        # A file whose name is nobody's business is known by its size.
        name = file["name"] or next((n for n, s in shown.items() if s == size), None)
        if shown.pop(name, None) != size:
            return f"{file['name'] or 'a file'} of {size} bytes is not there"
        os.link(file["source"], folder / name)
    return f"these are there too: {sorted(shown)}" if shown else None


def reads_truly(server, release, file):
    """Damage ends a read: before it every byte is right, and what reaches into it is never whole. Bytes of the article that
    the reader waits for are handed over while it arrives, and its checksum comes last: the answer breaks off. Where nothing
    is handed over early, no byte of the damaged article is."""
    shown = server.listing(release["destination"])
    size = os.stat(file["source"]).st_size
    name = next((n for n, s in shown.items() if s == size), None)
    if name is None:
        return f"no file of {size} bytes among {shown}"
    path, truth = f"{release['destination']}/{name}", Path(file["source"]).read_bytes()
    status, _, body, complete = server.dav("GET", path)
    # Up to here every byte is right.
    sound = len(truth) if strict else min(file["parts"][number - 1][0] for number in file["damaged"])
    if status == 200 and (complete or len(body) == size or not truth.startswith(body[:sound])):
        return f"the whole file was read with {len(body)} bytes of which some are wrong"
    for number in file["damaged"]:
        offset, length = file["parts"][number - 1]
        status, _, body, complete = server.dav("GET", path, Range=f"bytes={offset}-{offset + length - 1}")
        if status == 206 and (complete or len(body) == length):
            return f"the damaged part was read as {len(body)} bytes"
        if strict and status == 206 and body:
            return f"{len(body)} bytes of the damaged part were handed out"
    for number in (1, len(file["parts"])):
        offset, length = file["parts"][number - 1]
        status, _, body, _ = server.dav("GET", path, Range=f"bytes={offset}-{offset + length - 1}")
        if status != 206 or body != truth[offset : offset + length]:
            return f"part {number} is whole and was not read: {status}"
    return None


def damaged(server, release, job):
    """A release whose job says why it is none, or whose reads do."""
    kinds = ("missing", "corrupt")
    if job["state"] == "failed" and (job["failure"] or {}).get("kind") in kinds:
        wanted = release["outcome"]
        if wanted != "unreadable" and job["failure"]["kind"] != wanted:
            return f"the kind is {job['failure']['kind']}, not {wanted}"
        if server.dav("PROPFIND", release["destination"], Depth="0")[0] != 404:
            return "it failed and is in the library"
        return None
    if job["state"] != "completed" or release["outcome"] != "unreadable":
        return f"{job['state']}: {job['failure']}"
    problem = reads_truly(server, release, release["files"][0])
    status = server.dav("DELETE", release["destination"])[0]
    if not problem and status != 204:
        problem = f"DELETE answered {status}"
    if not problem and server.dav("PROPFIND", release["destination"], Depth="0")[0] != 404:
        problem = "it is still there after DELETE"
    return problem


def imports(server, releases, expect):
    jobs = [(release, server.submit(release)) for release in releases]
    for release, number in jobs:
        def outcome():
            job = server.finished(number)
            if release["outcome"] == "completed":
                return whole(server, release, job, expect)
            return damaged(server, release, job)
        guarded(f"import: {release['name']} ({release['outcome']})", outcome)

    def again():
        release = next(r for r in releases if r["outcome"] == "completed")
        job = server.finished(server.submit(release))
        if (job["state"], job["destination"]) != ("completed", release["destination"]):
            return f"{job['state']} in {job['destination']}: {job['failure']}"
        shown = server.listing(release["destination"])
        return None if len(shown) == len(release["files"]) else f"then these are there: {sorted(shown)}"
    guarded("import: the same file again replaces its release", again)


def takedown(server, releases):
    release = next(r for r in releases if r["name"] == "Taken.Down.Later")
    release["files"][0]["damaged"] = [2]
    guarded("read: an article taken down later is an error, the others read", reads_truly, server, release, release["files"][0])


def damage_again(server, releases):
    for release in releases:
        if release["outcome"] == "unreadable":
            def outcome():
                return damaged(server, release, server.finished(server.submit(release)))
            guarded(f"nothing early: {release['name']} (unreadable), no wrong byte", outcome)
    release = next(r for r in releases if r["name"] == "Taken.Down.Later")
    release["files"][0]["damaged"] = [2]
    guarded("nothing early: an article taken down later is an error, the others read", reads_truly, server, release, release["files"][0])


def main():
    global strict
    command, corpus = sys.argv[1], Path(sys.argv[2])
    releases = json.loads((corpus / "manifest.json").read_text())
    server = Server()
    if command == "import":
        refusals(server)
        imports(server, releases, Path(sys.argv[3]))
    elif command == "takedown":
        takedown(server, releases)
    elif command == "strict":
        strict = True
        damage_again(server, releases)
    else:
        sys.exit(f"drive: no command {command}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
