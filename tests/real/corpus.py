#!/usr/bin/env python3
"""Makes the suite's releases, posts them, and writes what each must become.

    corpus.py DIR --port P --tls-port P --user U      (password in NNTP_PASSWORD)

DIR gets sources/ (the originals), nzb/ (what is queued) and manifest.json. The files are made by the tools of their
formats: ffmpeg, par2, Python's own generator for noise.
"""
import argparse
import json
import os
import random
import subprocess
from pathlib import Path

from post import ARTICLE, File, Server, post


def run(*command, cwd):
    subprocess.run(command, cwd=cwd, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


class Corpus:
    def __init__(self, root, plain, tls):
        self.sources, self.nzbs = root / "sources", root / "nzb"
        self.plain, self.tls = plain, tls
        self.releases = []
        self.sources.mkdir(parents=True)
        self.nzbs.mkdir()

    def noise(self, name, size):
        path = self.sources / name
        path.write_bytes(random.randbytes(size))
        return path

    def add(self, name, files, *, ending=".nzb", folder="", outcome="completed", tls=False, hidden=(), names=None, **how):
        """Posts one release.

        outcome: the job's state, or the kind of its failure; `unreadable` where it may be imported and then must
        refuse to read. hidden: files that are posted and not listed. names: the listed name of each file where it is
        not the file's own; None where any name will do.
        """
        nzb = self.nzbs / folder / (name + ending)
        nzb.parent.mkdir(exist_ok=True)
        ids = post(self.tls if tls else self.plain, files, nzb, **how)
        listed = [f for f in files if f.path not in hidden]
        names = names or [f.path.name for f in listed]
        self.releases.append({
            "name": name,
            "nzb": str(nzb),
            "relative_path": str(self.nzbs) if folder else None,
            "destination": "/" + "/".join(filter(None, [folder, name])),
            "outcome": outcome,
            "files": [
                {"name": n, "source": str(f.path), "parts": f.parts(), "damaged": sorted(f.missing | f.corrupt)}
                for n, f in zip(names, listed, strict=True)
            ],
            "ids": ids[0],
        })


def media(sources):
    """A film in Matroska, the same in MP4 with its index in front, and a song."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    quiet = ["ffmpeg", "-v", "error", "-y"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-g", "50", "-c:a", "aac", "-shortest"]
    run(*quiet, *picture, *sound, "-t", "30", *codec, "feature.mkv", cwd=sources)
    run(*quiet, "-i", "feature.mkv", "-c", "copy", "-movflags", "+faststart", "feature.mp4", cwd=sources)
    run(*quiet, *sound, "-t", "30", "-c:a", "flac", "song.flac", cwd=sources)
    return [sources / name for name in ("feature.mkv", "feature.mp4", "song.flac")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls-port", type=int, required=True)
    parser.add_argument("--user", required=True)
    given = parser.parse_args()
    random.seed(20260101)
    password = os.environ["NNTP_PASSWORD"]
    plain, tls = (Server(p, given.user, password, t) for p, t in ((given.port, False), (given.tls_port, True)))
    corpus = Corpus(given.dir.absolute(), plain, tls)
    noise, add = corpus.noise, corpus.add

    sizes = [0, 1, 127, 128, 129, ARTICLE - 1, ARTICLE, ARTICLE + 1, 5_000_000]
    add("Plain.Sizes", [File(noise(f"size-{size}.bin", size)) for size in sizes])
    add("Plain.Large", [File(noise("large.bin", 40_000_000))])
    mkv, mp4, song = media(corpus.sources)
    info = corpus.sources / "feature.nfo"
    info.write_text("A test picture and a tone.\n")
    add("Feature.2026.360p", [File(mkv), File(info)], folder="films", meta=[("title", "Feature"), ("category", "Movies")])
    add("Feature.2026.MP4", [File(mp4)], tls=True)
    add("A Song", [File(song)])
    alias = [random.randbytes(16).hex() for _ in range(2)]
    hidden = File(noise("hidden-name.mkv", 3_000_000), name=alias[0].encode(), subject=alias[1])
    add("Obfuscated.Single", [hidden], names=[None])
    add("Compressed.Nzb", [File(noise("compressed.bin", 2_000_000))], ending=".nzb.gz")

    covered = noise("covered.mkv", 6_000_000)
    run("par2", "create", "-q", "-q", "-r10", "-n3", "covered.mkv.par2", "covered.mkv", cwd=corpus.sources)
    sidecars = sorted(corpus.sources.glob("covered.mkv*.par2"))
    if len(sidecars) < 4:
        raise RuntimeError(f"par2 made {len(sidecars)} files")
    add("With.Par2", [File(covered)] + [File(path) for path in sidecars], hidden=sidecars)

    add("Ünïcödé 東京", [File(noise("Ünïcödé – 東京 (1).mkv", 1_500_000)), File(noise("naïve & 100% + #1 (x) [y] %20.txt", 1000))])
    add("Utf16.Nzb", [File(noise("wide – 東京.bin", 900_000))], encoding="utf-16")
    add("Latin1.Nzb", [File(noise("Café.bin", 900_000), name="Café.bin".encode("latin-1"))], encoding="iso-8859-1")
    uneven = noise("uneven.bin", 4_000_000)
    cuts = [0, *sorted(random.sample(range(1, 4_000_000), 11)), 4_000_000]
    add("Uneven.Parts", [File(uneven, sizes=[b - a for a, b in zip(cuts, cuts[1:])])])
    add("Shuffled.Segments", [File(noise("shuffled.bin", 9_000_000))], shuffle=True)
    add("Over.Tls", [File(noise("over-tls.bin", 5_000_000))], tls=True)
    add("Taken.Down.Later", [File(noise("taken-down.bin", 4 * ARTICLE))])

    # Damage at the end is found before a release counts as imported; damage in the middle at the latest by a read.
    add("Missing.Tail", [File(noise("missing-tail.mkv", 6 * ARTICLE), missing=frozenset({6}))], outcome="missing")
    add("Corrupt.Tail", [File(noise("corrupt-tail.mkv", 6 * ARTICLE), corrupt=frozenset({6}))], outcome="corrupt")
    add("Missing.Middle", [File(noise("missing-middle.mkv", 40 * ARTICLE), missing=frozenset({23}))], outcome="unreadable")
    add("Corrupt.Middle", [File(noise("corrupt-middle.mkv", 40 * ARTICLE), corrupt=frozenset({23}))], outcome="unreadable")

    manifest = given.dir / "manifest.json"
    manifest.write_text(json.dumps(corpus.releases, ensure_ascii=False, indent=1) + "\n")
    articles = sum(len(f["parts"]) for r in corpus.releases for f in r["files"])
    print(f"corpus: {len(corpus.releases)} releases, {articles} articles of listed files")


if __name__ == "__main__":
    main()
