#!/usr/bin/env python3
"""outputs.py NZB ORIGINAL MOUNT: every way out of the server, as an *arr uses it: addfile, Completed, read, move, delete.

NZB       a release whose media file is ORIGINAL
MOUNT     where the library is mounted
BASE, API_KEY   the server and its key; its categories are plain (mount), links (symlinks), players (strm), copies (copy)

A line of `ok` or `FAIL` for each check; exit status 1 if one failed.
"""
import hashlib, json, os, shutil, subprocess, sys, time, urllib.error, urllib.parse, urllib.request

nzb, original, mount = sys.argv[1:4]
base, key = os.environ["BASE"], os.environ["API_KEY"]
size = os.path.getsize(original)
failed = False


def sha(stream):
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


with open(original, "rb") as file:
    wanted = sha(file)


def check(name, work):
    global failed
    try:
        result = work()
        assert result is not False, "it is not so"
        print(f"ok   outputs: {name}", flush=True)
        return result
    except Exception as error:  # each kind of failure is a failed check
        print(f"FAIL outputs: {name}: {type(error).__name__}: {error}"[:400].replace("\n", " "), flush=True)
        failed = True


def sab(body=None, kind=None, **parameters):
    query = urllib.parse.urlencode({**parameters, "apikey": key, "output": "json"})
    request = urllib.request.Request(f"{base}/sabnzbd/api?{query}", data=body)
    if kind:
        request.add_header("Content-Type", kind)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def add(category, name):
    with open(nzb, "rb") as file:
        content = file.read()
    mark = "-----------------------------08dcaf0123456789"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="name"; filename="{name}.nzb"\r\nContent-Type: application/x-nzb\r\n\r\n'
    body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
    answer = sab(body, f"multipart/form-data; boundary={mark}", mode="addfile", cat=category, priority=-100)
    assert answer["status"] is True and len(answer["nzo_ids"]) == 1, answer
    return answer["nzo_ids"][0]


def completed(nzo):
    """The history's entry, and what is at its path at the moment that it is Completed."""
    for _ in range(1200):
        slots = [slot for slot in sab(mode="history", start=0, limit=60)["history"]["slots"] if slot["nzo_id"] == nzo]
        if slots and slots[0]["status"] == "Failed":
            raise AssertionError(slots[0]["fail_message"])
        if slots and slots[0]["status"] == "Completed":
            path = slots[0]["storage"]
            assert os.path.isabs(path) and os.path.isdir(path), f"Completed, and {path} is not there"
            return slots[0], path
        assert not slots or not slots[0]["storage"], "a path before it is completed"
        time.sleep(0.1)
    raise AssertionError("not completed within two minutes")


def below(folder):
    return sorted(os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)


def media(folder):
    found = [path for path in below(folder) if path.endswith((".mkv", ".mp4", ".strm"))]
    assert len(found) == 1, below(folder)
    return found[0]


def address(path):
    with open(path) as file:
        text = file.read()
    assert text.startswith(base + "/strm/") and text.endswith("\n") and text.count("\n") == 1, text[:60]
    return text.strip()


def is_original(path):
    if path.endswith(".strm"):
        with urllib.request.urlopen(address(path), timeout=120) as answer:
            assert int(answer.headers["Content-Length"]) == size
            return sha(answer) == wanted
    assert os.path.getsize(path) == size, os.path.getsize(path)
    with open(path, "rb") as file:
        return sha(file) == wanted


def has_range(path):
    request = urllib.request.Request(address(path), headers={"Range": f"bytes={size // 2}-{size // 2 + 999}"})
    with urllib.request.urlopen(request, timeout=60) as answer, open(original, "rb") as file:
        file.seek(size // 2)
        return answer.status == 206 and answer.read() == file.read(1000)


def probed(path):
    where = address(path) if path.endswith(".strm") else path
    shown = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", where],
        capture_output=True, text=True, timeout=120,
    )
    return shown.returncode == 0 and not shown.stderr and float(shown.stdout) > 1


def move(path, library):
    """As an *arr does: a link is made anew, anything else is renamed."""
    os.makedirs(library, exist_ok=True)
    to = os.path.join(library, os.path.basename(path))
    if os.path.islink(path):
        os.symlink(os.path.join(os.path.dirname(path), os.readlink(path)), to)
        os.unlink(path)
    else:
        os.rename(path, to)
    return to


def delete(nzo):
    answer = sab(mode="history", name="delete", del_files=1, value=nzo, archive=1)
    left = [slot for slot in sab(mode="history", start=0, limit=60)["history"]["slots"] if slot["nzo_id"] == nzo]
    return answer == {"status": True} and not left


def gone(path):
    for _ in range(100):
        if not os.path.lexists(path):
            return True
        time.sleep(0.1)
    return False


scratch = os.path.join(os.path.dirname(os.path.abspath(nzb)), "outputs-library")
shutil.rmtree(scratch, ignore_errors=True)
for category in ("plain", "links", "players", "copies"):
    library = os.path.join(mount, "library") if category == "plain" else os.path.join(scratch, category)
    name = f"Imported.{category}.2026.1080p"
    nzo = check(f"{category}: addfile", lambda: add(category, name))
    entry = nzo and check(f"{category}: Completed means that it is there", lambda: completed(nzo))
    if not entry:
        continue
    folder = entry[1]
    path = check(f"{category}: one media file", lambda: media(folder))
    if not path:
        continue
    check(f"{category}: the right SHA-256", lambda: is_original(path))
    check(f"{category}: ffprobe accepts it", lambda: probed(path))
    if category == "links":
        check("links: it leads to an id of the mount", lambda: os.readlink(path).startswith(f"{mount}/.ids/"))
    if category == "players":
        check("players: a range of it", lambda: has_range(path))
    moved = check(f"{category}: the *arr's move", lambda: move(path, library))
    if not moved:
        continue
    check(f"{category}: rm -rf of what is left", lambda: shutil.rmtree(folder, ignore_errors=category != "plain") or gone(folder))
    check(f"{category}: the entry is deleted", lambda: delete(nzo))
    check(f"{category}: what was moved reads as before", lambda: is_original(moved))

    name = f"Unwanted.{category}.2026.1080p"
    nzo = check(f"{category}: one that nobody imports", lambda: add(category, name))
    entry = nzo and check(f"{category}: is Completed too", lambda: completed(nzo))
    if entry:
        check(f"{category}: is deleted with its files", lambda: delete(nzo))
        check(f"{category}: leaves no folder behind", lambda: gone(entry[1]))
        in_mount = os.path.join(mount, category, name)
        check(f"{category}: and no release", lambda: category == "copies" or gone(in_mount))

shutil.rmtree(scratch, ignore_errors=True)
sys.exit(failed)
