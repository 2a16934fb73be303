#!/usr/bin/env python3
"""Makes releases as they are posted, with the tools of their formats, posts them, and writes what each must become.

    make.py DIR --port P --user U [--only GLOB]      (password in NNTP_PASSWORD)

ffmpeg makes the media, 7z, zip, genisoimage, par2 and the package `rars` the archives; rar4.py and rar5.py write what that package
does not (several files over one RAR 4 set, unsafe names, encrypted RAR 5 volumes as WinRAR lays them out).

DIR gets media/ (the originals), nzb/ (what is queued) and manifest.json, a list of releases:

    name, nzb   nzb is a path below DIR
    files       path, size, sha256, media (the original below DIR/media, or null): what must be listed. `path` null: any name.
    kinds       the kinds of failure that are right; empty where the import must succeed
    only        true where nothing else may be listed
    refuses     a failure or a read that fails; never other bytes
    says        what the failure's message must have in it (a method's name), in any case of letters
    password    what the request gives, or null
    shuffled    a second NZB below DIR of the same articles, its files and their segments in random order, or null

With --second-port a second news server is there, and a release lies on both, each of its articles on one alone.
"""
import argparse
import fnmatch
import gzip
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import rars

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import rar4
import rar5
from post import File, Server, post

KB, MB = 1000, 1000000
PASSWORD = "s3cret pass"
RELEASES = {}


def release(function):
    RELEASES[function.__name__.strip("_").replace("_", "-")] = function
    return function


def run(*command, cwd=None):
    done = subprocess.run([str(c) for c in command], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}\n{(done.stdout + done.stderr)[-2000:].decode(errors='replace')}")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Media:
    """The originals. Each is made once."""

    #        name                seconds, kbit/s, size
    VIDEO = {
        "feature.mkv": (40, 6000, "1280x720"),
        "clip.mp4": (16, 4000, "640x360"),
        "tail.mp4": (8, 3000, "640x360"),
        "Show.S01E01.mkv": (10, 4000, "640x360"),
        "Show.S01E02.mkv": (9, 4000, "640x360"),
        "feature-sample.mkv": (3, 2500, "640x360"),
        "00000.m2ts": (8, 4000, "640x360"),
    }

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.by_digest = {}

    def __getitem__(self, name):
        path = self.folder / name
        if not path.exists():
            if name in self.VIDEO:
                self.video(path, *self.VIDEO[name])
            else:
                path.write_bytes(self.other(name))
            self.by_digest[digest(path)] = name
        return path

    @staticmethod
    def video(path, seconds, rate, size):
        # Noise, so that every encoder spends its bit rate and no archiver gains anything.
        run("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"nullsrc=size={size}:rate=25,geq=random(1)*255:128:128",
            "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", seconds, "-c:v", "mpeg2video" if path.suffix == ".m2ts"
            else "libx264", *([] if path.suffix == ".m2ts" else ["-preset", "ultrafast"]), "-b:v", f"{rate}k", "-maxrate", f"{rate}k",
            "-bufsize", f"{rate}k", "-g", "50", "-c:a", "mp2" if path.suffix == ".m2ts" else "aac", path)

    @staticmethod
    def other(name):
        return {
            "feature.en.srt": "".join(f"{i + 1}\n00:00:{i:02},000 --> 00:00:{i:02},900\nline {i}\n\n" for i in range(50)).encode(),
            "feature.nfo": b"a release of the suite\r\n" * 20,
            "data.bin": random.Random(7).randbytes(5 * MB + 12345),
            "tiny.bin": random.Random(8).randbytes(777),
            "readme.txt": "".join(f"line {i} of a text that shrinks well\n" for i in range(60000)).encode(),
        }[name]


class Release:
    """One in the making."""

    def __init__(self, name, media, folder, servers):
        self.name, self.m, self.dir, self.servers = name, media, folder, servers
        folder.mkdir(parents=True)
        self.random = random.Random(name)
        self.items, self.files, self.meta, self.post = [], [], [], {}
        self.nzb_name, self.raw, self.wrap = name + ".nzb", None, None
        self.kinds, self.only, self.refuses = [], True, False
        self.says, self.password = None, None

    def want(self, path, source):
        source = Path(source)
        value = digest(source)
        self.files.append({"path": path, "size": source.stat().st_size, "sha256": value, "media": self.m.by_digest.get(value)})
        return source

    def add(self, *paths, **how):
        self.items += [File(Path(path), **how) for path in paths]
        return self.items[-1]

    def find(self, glob):
        return next(i for i in self.items if fnmatch.fnmatch(i.path.name, glob))

    def fails(self, *kinds, says=None):
        self.kinds, self.says = list(kinds), says

    def alias(self):
        return "".join(self.random.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(32))

    def obfuscate(self, names=True, subjects=True):
        for item in self.items:
            alias = self.alias()
            if subjects:
                item.subject = alias
            if names:
                item.name = alias.encode()

    def copy(self, source, name):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        return path

    def three(self, prefix=""):
        return [(prefix + n, self.want(prefix + n, self.m[n])) for n in ("clip.mp4", "data.bin", "feature.en.srt")]

    # Archivers: entries are (name in the archive, path).
    def rar(self, entries, stem="rel", volume=2 * MB, four=False, old=True):
        if four:
            return rar4.write(self.dir / stem, entries, volume, old)
        return rar5.write(self.dir / stem, entries, volume)

    def rars(self, entries, stem="rel", version="rar50", volume=None, **how):
        how.setdefault("store", True)
        builder = rars.RarBuilder(format=version, volume_size=volume, **how)
        for name, path in entries:
            builder.add(str(path), name)
        if volume:
            first = f"{stem}.part1.rar" if version > "rar5" else f"{stem}.rar"
            return [Path(p) for p in builder.write_volumes(str(self.dir / first))]
        builder.write(str(self.dir / f"{stem}.rar"))
        return [self.dir / f"{stem}.rar"]

    def sevenz(self, entries, *options, stem="rel", ending="7z"):
        stage = self.dir / "stage"
        for name, path in entries:
            self.copy(path, f"stage/{name}")
        run("7z", "a", "-bd", "-y", *options, self.dir / f"{stem}.{ending}", *sorted(os.listdir(stage)), cwd=stage)
        shutil.rmtree(stage)
        return sorted(self.dir.glob(f"{stem}.{ending}*"))

    def par2(self, paths, stem="rel", redundancy=5):
        run("par2", "create", "-q", "-q", f"-r{redundancy}", "-n3", self.dir / f"{stem}.par2", *paths, cwd=self.dir)
        return sorted(self.dir.glob(f"{stem}*.par2"))


# Plain files.


@release
def plain_mkv(r):
    r.add(r.want("feature.mkv", r.m["feature.mkv"]))


@release
def plain_multi(r):
    for name in ("clip.mp4", "tail.mp4", "feature.en.srt", "feature.nfo", "data.bin"):
        r.add(r.want(name, r.m[name]))


@release
def plain_par2(r):
    clip = r.copy(r.m["clip.mp4"], "clip.mp4")
    r.add(r.want("clip.mp4", clip), *r.par2([clip], "clip"))


@release
def plain_sample(r):
    r.add(r.want("feature.mkv", r.m["feature.mkv"]), r.m["feature-sample.mkv"], r.want("feature.nfo", r.m["feature.nfo"]))


@release
def plain_tv_pack(r):
    for name in ("Show.S01E01.mkv", "Show.S01E02.mkv"):
        r.add(r.want(name, r.m[name]))
    r.meta = [("title", "Show.S01"), ("category", "TV > HD"), ("tag", "suite")]


@release
def plain_tiny(r):
    r.add(r.want("tiny.bin", r.m["tiny.bin"]))


@release
def plain_big_articles(r):
    r.add(r.want("clip.mp4", r.m["clip.mp4"]), part_size=1500 * KB)


@release
def plain_small_articles(r):
    r.add(r.want("clip.mp4", r.m["clip.mp4"]), part_size=100 * KB)


@release
def plain_uu(r):
    r.add(r.want("data.bin", r.m["data.bin"]), uu=True, part_size=45 * 4000)


@release
def split_plain(r):
    whole = r.want("feature.mkv", r.m["feature.mkv"]).read_bytes()
    for number, at in enumerate(range(0, len(whole), 5 * MB), 1):
        piece = r.dir / f"feature.mkv.{number:03}"
        piece.write_bytes(whole[at : at + 5 * MB])
        r.add(piece)


# RAR.


@release
def rar5_store(r):
    volumes = r.rar([("feature.mkv", r.want("feature.mkv", r.m["feature.mkv"]))], volume=5 * MB)
    r.add(*volumes, *r.par2(volumes))


@release
def rar5_store_multi(r):
    r.add(*r.rar(r.three("Feature.2026/")), part_size=384 * KB)


@release
def rar5_single(r):
    r.add(*r.rars(r.three(), recovery_percent=3, comment="a comment"))


@release
def rars_rar5_volumes(r):
    r.add(*r.rars(r.three(), volume=2 * MB))


@release
def rars_rar4_volumes(r):
    r.add(*r.rars([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))], version="rar40", volume=2 * MB))


@release
def rar4_store_old(r):
    r.add(*r.rar([("feature.mkv", r.want("feature.mkv", r.m["feature.mkv"]))], volume=5 * MB, four=True))


@release
def rar4_store_old_multi(r):
    r.add(*r.rar(r.three(), four=True), part_size=384 * KB)


@release
def rar4_store_new_multi(r):
    r.add(*r.rar(r.three(), four=True, old=False), part_size=384 * KB)


@release
def rar4_many_volumes(r):
    # More than 100: .rar .r00 ... .r99 .s00 ...
    r.add(*r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))], volume=70 * KB, four=True))


@release
def rar_two_sets(r):
    for stem, name in (("a", "clip.mp4"), ("b", "tail.mp4")):
        r.add(*r.rar([(name, r.want(name, r.m[name]))], stem))
    r.obfuscate()
    r.random.shuffle(r.items)


@release
def rar_sfx(r):
    # A self-extracting set: its first volume is behind a program. (A program alone stays one: it may be what is wanted.)
    first, *others = r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))])
    program = r.dir / "rel.part01.exe"
    program.write_bytes(Path("/bin/bash").read_bytes()[: 150 * KB] + first.read_bytes())
    r.add(program, *others)


@release
def rar_nested(r):
    inner = r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))], "inner", volume=3 * MB, four=True)
    r.add(*r.rar([(p.name, p) for p in inner], "outer", volume=4 * MB))


@release
def rar_in_7z(r):
    inner = r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))], "inner", volume=3 * MB)
    r.add(*r.sevenz([(p.name, p) for p in inner], "-mx0", f"-p{PASSWORD}", "-mhe=on", stem="outer"))
    r.meta = [("password", PASSWORD)]


@release
def rar_volumes_in_zips(r):
    for number, volume in enumerate(r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))], "inner", volume=3 * MB)):
        r.add(*r.sevenz([(volume.name, volume)], "-tzip", "-mx0", stem=f"outer{number}", ending="zip"))


def encrypted(version, **how):
    def make(r):
        entries = [("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))]
        if version > "rar5":
            entries.append(("feature.en.srt", r.want("feature.en.srt", r.m["feature.en.srt"])))
            volumes = rar5.write(r.dir / "rel", entries, 2 * MB, PASSWORD, **how)
        else:
            volumes = r.rars(entries, version=version, volume=2 * MB, password=PASSWORD, **how)
        r.add(*volumes, part_size=384 * KB)
        r.meta = [("password", PASSWORD)]
    return make


RELEASES["rar5-enc"] = encrypted("rar50")
RELEASES["rar5-enc-headers"] = encrypted("rar50", encrypt_headers=True)
RELEASES["rar4-enc"] = encrypted("rar40")


@release
def rar5_enc_name(r):
    encrypted("rar50", encrypt_headers=True)(r)
    r.meta, r.nzb_name = [], r.name + "{{" + PASSWORD + "}}.nzb"


@release
def rar5_enc_request(r):
    encrypted("rar50")(r)
    r.meta, r.password = [], PASSWORD


@release
def rar5_enc_none(r):
    encrypted("rar50", encrypt_headers=True)(r)
    r.meta = []
    r.fails("password_required")


@release
def rar5_enc_wrong(r):
    encrypted("rar50")(r)
    r.meta = [("password", "not it")]
    r.fails("wrong_password")


def compressed(version, **how):
    def make(r):
        entries = [(n, r.want(n, r.m[n])) for n in ("readme.txt", "tail.mp4")]
        r.add(*r.rars(entries, version=version, store=False, compression=3, **how))
        r.fails("compressed")
    return make


RELEASES["rar5-compressed"] = compressed("rar50")
RELEASES["rar5-solid"] = compressed("rar50", solid=True)
RELEASES["rar4-compressed"] = compressed("rar40")


@release
def rar_in_subject_only(r):
    r.add(*r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))]))
    for item in r.items:
        item.subject, item.name = f'"{item.path.name}" yEnc (1/3)', r.alias().encode()


# 7z, ZIP, images.


def seven(*options, big=False, password=None):
    def make(r):
        entries = [("feature.mkv", r.want("feature.mkv", r.m["feature.mkv"]))] if big else r.three()
        r.add(*r.sevenz(entries, *options), part_size=716800 if big else 384 * KB)
        r.meta = [("password", password)] if password else []
    return make


RELEASES["7z-store"] = seven("-mx0")
RELEASES["7z-split"] = seven("-mx0", "-v5m", big=True)
RELEASES["7z-split-multi"] = seven("-mx0", "-v2m")
RELEASES["7z-enc"] = seven("-mx0", f"-p{PASSWORD}", password=PASSWORD)
RELEASES["7z-enc-headers"] = seven("-mx0", f"-p{PASSWORD}", "-mhe=on", password=PASSWORD)


def seven_packed(*options, says):
    def make(r):
        r.add(*r.sevenz(r.three() + [("readme.txt", r.want("readme.txt", r.m["readme.txt"]))], *options))
        r.fails("compressed", says=says)
    return make


for method in ("lzma2", "lzma", "ppmd", "bzip2", "deflate"):
    RELEASES[f"7z-{method}"] = seven_packed("-mx1", f"-m0={method}", says=method)
RELEASES["7z-lzma-split"] = seven_packed("-mx1", "-m0=lzma", "-v1m", says="lzma")


def zipped(*options, password=None):
    def make(r):
        r.add(*r.sevenz(r.three(), "-tzip", *options, ending="zip"))
        r.meta = [("password", password)] if password else []
    return make


RELEASES["zip-store"] = zipped("-mx0")
RELEASES["zip-split"] = zipped("-mx0", "-v2m")
RELEASES["zip-aes"] = zipped("-mx0", f"-p{PASSWORD}", "-mem=AES256", password=PASSWORD)
RELEASES["zip-aes-128"] = zipped("-mx0", f"-p{PASSWORD}", "-mem=AES128", password=PASSWORD)


@release
def zip_crypto(r):
    zipped("-mx0", f"-p{PASSWORD}", "-mem=ZipCrypto", password=PASSWORD)(r)
    r.fails("unsupported")


@release
def zip_spanned(r):
    stage = r.dir / "stage"
    for name, path in r.three():
        r.copy(path, f"stage/{name}")
    run("zip", "-q", "-0", "-s", "2m", r.dir / "rel.zip", *sorted(os.listdir(stage)), cwd=stage)
    r.add(*sorted(r.dir.glob("rel.z*")))


@release
def zip_deflate(r):
    entries = [(n, r.want(n, r.m[n])) for n in ("readme.txt", "clip.mp4")]
    r.add(*r.sevenz(entries, "-tzip", "-mx5", ending="zip"))
    r.fails("compressed", says="deflate")


@release
def zip_streamed(r):
    # Info-ZIP writes into a pipe: the sizes stand behind the data, in the form of ZIP64.
    source = r.want("-", r.m["clip.mp4"])
    with open(source, "rb") as film, open(r.dir / "rel.zip", "wb") as out:
        subprocess.run(["zip", "-q", "-0", "-fz", "-", "-"], stdin=film, stdout=out, check=True)
    r.add(r.dir / "rel.zip")


def disc(r):
    """An image as a Blu-ray has its files, and what must be listed of it."""
    folder = r.dir / "disc"
    for name, source in (("BDMV/STREAM/00000.m2ts", "00000.m2ts"), ("BDMV/index.bdmv", "tiny.bin"), ("readme.txt", "readme.txt")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(r.want(f"disc/{name}", r.m[source]), path)
    image = r.dir / "disc.iso"
    run("genisoimage", "-quiet", "-V", "SUITE", "-iso-level", "3", "-J", "-R", "-udf", "-o", image, folder)
    return r.want("disc.iso", image)


def playlist(*clips):
    """A Blu-ray playlist (.mpls) of clips, a minute each: the header, and a PlayList of PlayItems."""
    items = b""
    for clip in clips:
        item = clip.encode() + b"M2TS" + bytes([0, 1, 0]) + struct.pack(">II", 0, 60 * 45000) + bytes(12)
        items += struct.pack(">H", len(item)) + item
    body = struct.pack(">HHH", 0, len(clips), 0) + items
    header = b"MPLS0200" + struct.pack(">III", 40, 40 + 4 + len(body), 0)
    return header.ljust(40, b"\0") + struct.pack(">I", len(body)) + body


@release
def bluray(r):
    """A disc whose film is two clips, and a menu: the film is there as one stream as well."""
    folder, whole = r.dir / "movie", r.dir / "whole.m2ts"
    clips = [r.m["00000.m2ts"].read_bytes(), r.random.randbytes(3 * MB), r.random.randbytes(1 * MB)]
    files = {f"BDMV/STREAM/{number:05}.m2ts": data for number, data in enumerate(clips)}
    files["BDMV/PLAYLIST/00000.mpls"] = playlist("00002")
    files["BDMV/PLAYLIST/00800.mpls"] = playlist("00001", "00000")
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        r.want(f"movie/{name}", path)
    image = r.dir / "movie.iso"
    run("genisoimage", "-quiet", "-V", "MOVIE", "-iso-level", "3", "-J", "-R", "-udf", "-o", image, folder)
    whole.write_bytes(clips[1] + clips[0])
    r.want("movie.m2ts", whole)
    r.add(*r.rar([("movie.iso", r.want("movie.iso", image))]))


@release
def iso_plain(r):
    r.add(disc(r))


@release
def iso_joliet(r):
    # ISO 9660 with Joliet's names, and no UDF.
    folder = r.dir / "disc"
    for name, source in (("Ünï – 日本, a long name of a film.mp4", "clip.mp4"), ("Extras/notes.txt", "readme.txt")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(r.want(f"disc/{name}", r.m[source]), path)
    image = r.dir / "disc.iso"
    run("genisoimage", "-quiet", "-V", "SUITE", "-J", "-joliet-long", "-input-charset", "utf-8", "-o", image, folder)
    r.add(r.want("disc.iso", image))


@release
def iso_in_rar(r):
    r.add(*r.rar([("disc.iso", disc(r))]))


# Names that say nothing.


@release
def obf_subject(r):
    r.add(*r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))]))
    r.obfuscate(names=False)


@release
def obf_full_par2(r):
    volumes = r.rar([("feature.mkv", r.want("feature.mkv", r.m["feature.mkv"]))], volume=5 * MB)
    r.add(*volumes, *r.par2(volumes))
    r.obfuscate()
    r.random.shuffle(r.items)


@release
def obf_full_nopar(r):
    r.add(*r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))], volume=1 * MB))
    r.obfuscate()
    r.random.shuffle(r.items)


@release
def obf_rar4_nopar(r):
    r.add(*r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))], volume=1 * MB, four=True))
    r.obfuscate()
    r.random.shuffle(r.items)


@release
def obf_plain(r):
    r.add(r.want("obf-plain.mp4", r.m["clip.mp4"]))
    r.obfuscate()


@release
def obf_plain_par2(r):
    film = r.copy(r.m["clip.mp4"], "Real.Title.2026.mp4")
    r.add(r.want("Real.Title.2026.mp4", film), *r.par2([film], "x"))
    r.obfuscate()


# Damage.


def broken(fault, glob=None, par2=False, part=3, kinds=(), refuses=False):
    """A stored RAR 5 set, or a plain file where `glob` is none, with bad articles."""
    def make(r):
        if glob:
            r.add(*r.rar([("clip.mp4", r.want("clip.mp4", r.m["clip.mp4"]))]), part_size=384 * KB)
        else:
            r.add(r.want("clip.mp4", r.copy(r.m["clip.mp4"], "clip.mp4")), part_size=384 * KB)
        if par2:
            r.add(*r.par2([i.path for i in r.items], redundancy=20))
        item = r.find(glob or "clip.mp4")
        count = len(item.parts())
        parts = range(1, count + 1) if part == "all" else [count if part == "last" else part]
        setattr(item, fault, frozenset(parts))
        r.fails(*kinds)
        r.refuses = refuses
    return make


RELEASES["missing-plain"] = broken("missing", kinds=["missing"])
RELEASES["missing-first"] = broken("missing", part=1, kinds=["missing"])
RELEASES["missing-last"] = broken("missing", part="last", kinds=["missing"])
RELEASES["missing-plain-par2"] = broken("missing", par2=True, kinds=["missing"])
RELEASES["missing-rar"] = broken("missing", "*.part*2.rar", kinds=["missing"])
RELEASES["missing-rar-par2"] = broken("missing", "*.part*2.rar", par2=True, kinds=["missing"])
RELEASES["missing-volume"] = broken("missing", "*.part*2.rar", part="all", kinds=["missing"])
RELEASES["missing-all"] = broken("missing", part="all", kinds=["missing"])
RELEASES["unlisted-plain"] = broken("unlisted", kinds=["missing"])
RELEASES["unlisted-last"] = broken("unlisted", part="last", kinds=["missing"])
RELEASES["corrupt-plain"] = broken("corrupt", kinds=["corrupt"], refuses=True)
RELEASES["corrupt-first"] = broken("corrupt", part=1, kinds=["corrupt"])
RELEASES["corrupt-rar-par2"] = broken("corrupt", "*.part*2.rar", par2=True, kinds=["corrupt"], refuses=True)
RELEASES["cut-short-plain"] = broken("cut_short", kinds=["corrupt"], refuses=True)
RELEASES["wrong-crc-plain"] = broken("wrong_crc", kinds=["corrupt"], refuses=True)
RELEASES["wrong-size-plain"] = broken("wrong_size", kinds=["corrupt", "invalid"], refuses=True)


@release
def missing_par2_only(r):
    clip = r.copy(r.m["clip.mp4"], "clip.mp4")
    r.add(r.want("clip.mp4", clip), *r.par2([clip], "clip"))
    r.items[-1].missing = frozenset({1})


# NZBs of odd shapes.


@release
def nzb_gz(r):
    plain_tv_pack(r)
    r.nzb_name += ".gz"


@release
def nzb_shuffled(r):
    r.add(r.want("clip.mp4", r.m["clip.mp4"]), part_size=200 * KB)
    r.post["shuffle"] = True


@release
def nzb_latin1(r):
    name = "Amélie à l'été.mp4"
    r.add(r.want(name, r.m["clip.mp4"]), name=name.encode("latin-1"), subject=f'"{name}" yEnc (1/12)')
    r.post["encoding"] = "iso-8859-1"


@release
def nzb_utf8_name(r):
    name = "映画 Ünï – 日本 🎬.mp4"
    r.add(r.want(name, r.m["clip.mp4"]), name=name.encode(), subject=f'"{name}" yEnc (1/12)')


@release
def nzb_bad_utf8(r):
    # Declared UTF-8 with a Latin-1 byte in it: seen in the wild, and what is meant is plain.
    r.add(r.want("Amélie.mp4", r.m["clip.mp4"]), name="Amélie.mp4".encode("latin-1"), subject='"Am@@lie.mp4" yEnc (1/12)')
    r.wrap = lambda data: data.replace(b"Am@@lie", b"Am\xe9lie")


@release
def nzb_no_namespace(r):
    r.add(r.want("clip.mp4", r.m["clip.mp4"]))
    r.wrap = lambda data: "\ufeff<nzb>".encode() + data[data.index(b' xmlns="') :].split(b">", 1)[1]


def bad(data, *kinds):
    def make(r):
        r.raw = data
        r.fails(*kinds)
    return make


HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
NZB = b'<nzb xmlns="http://www.newzbin.com/DTD/2003/nzb">'
LISTED = b'<file poster="x" date="1" subject="%s"><groups><group>a.b</group></groups><segments>%s</segments></file></nzb>'
BOMB = b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
RELEASES["bad-nzb-empty"] = bad(b"", "invalid")
RELEASES["bad-nzb-html"] = bad(b"<!DOCTYPE html><html><body>Limit reached</body></html>", "invalid")
RELEASES["bad-nzb-nofiles"] = bad(HEAD + NZB + b"</nzb>", "nothing_usable")
RELEASES["bad-nzb-nosegments"] = bad(HEAD + NZB + LISTED % (b"&quot;a.mkv&quot; (1/1)", b""), "nothing_usable")
RELEASES["bad-nzb-entities"] = bad(
    HEAD + b'<!DOCTYPE nzb [<!ENTITY a "aaaaaaaaaa">' + BOMB + b'<!ENTITY x SYSTEM "file:///etc/passwd">]>' + NZB
    + LISTED % (b"&j;&x;", b'<segment bytes="1" number="1">a@b</segment>'), "invalid", "missing")


@release
def bad_nzb_truncated(r):
    r.add(r.m["clip.mp4"], part_size=100 * KB)
    r.wrap = lambda data: data[: len(data) * 6 // 10]
    r.fails("invalid")


# What is not taken yet: several NZBs in one file. The request itself is refused, in words.


@release
def zip_of_nzbs(r):
    inner = r.dir / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.nzb", HEAD + NZB + b"</nzb>")
        archive.writestr("b.nzb", HEAD + NZB + b"</nzb>")
    r.nzb_name, r.raw = "zip-of-nzbs.zip", inner.read_bytes()
    r.fails("refused")


# Two servers.


@release
def fill_two_servers(r):
    item = r.add(r.want("clip.mp4", r.m["clip.mp4"]), part_size=100 * KB)
    item.server = lambda part: r.servers[part % 2]


# Names that lead out of the release.


@release
def unsafe_yenc(r):
    r.add(r.want("evil.bin", r.m["data.bin"]), name=b"../../../evil.bin", subject='"../../../evil.bin" yEnc (1/8)')


@release
def unsafe_rar(r):
    r.want("evil.bin", r.m["data.bin"]), r.want("abs/evil2.bin", r.m["tiny.bin"]), r.want("ok.bin", r.m["data.bin"])
    entries = [("../../../evil.bin", r.m["data.bin"]), ("/abs/evil2.bin", r.m["tiny.bin"]), ("ok.bin", r.m["data.bin"])]
    r.add(*rar4.write(r.dir / "rel", entries))


@release
def unsafe_zip(r):
    path = r.dir / "rel.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(r.want("evil.bin", r.m["data.bin"]), "../../../evil.bin")
        archive.write(r.want("ok.bin", r.m["tiny.bin"]), "ok.bin")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    r.add(path)


def shuffled(data, seed):
    """The NZB with its files, and the segments of each, in random order."""
    order = random.Random(seed)

    def mixed(pattern, text):
        pieces = re.findall(pattern, text, re.DOTALL)
        order.shuffle(pieces)
        left = iter(pieces)
        return re.sub(pattern, lambda _: next(left), text, flags=re.DOTALL)

    def segments(found):
        return mixed(rb"<segment .*?</segment>", found[0])

    return mixed(rb"<file .*?</file>", re.sub(rb"<segments>.*?</segments>", segments, data, flags=re.DOTALL))


def build(root, media, servers, name):
    r = Release(name, media, root / "tmp" / name, servers)
    RELEASES[name](r)
    nzb = root / "nzb" / r.nzb_name
    if r.raw is not None:
        nzb.write_bytes(r.raw)
    else:
        post(servers[0], r.items, nzb, meta=r.meta, **r.post)
    if r.wrap:
        data = nzb.read_bytes()
        nzb.write_bytes(gzip.compress(r.wrap(gzip.decompress(data))) if nzb.suffix == ".gz" else r.wrap(data))
    second = None
    if r.items and not r.wrap and nzb.suffix == ".nzb":
        second = root / "nzb" / "shuffled" / nzb.name
        second.write_bytes(shuffled(nzb.read_bytes(), name))
    articles = sum(len(i.parts()) for i in r.items)
    shutil.rmtree(r.dir)
    entry = {"name": name, "nzb": f"nzb/{nzb.name}", "files": r.files, "kinds": r.kinds, "only": r.only, "refuses": r.refuses}
    entry |= {"says": r.says, "password": r.password, "shuffled": second and f"nzb/shuffled/{second.name}"}
    return entry, articles


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--second-port", type=int, help="of a second news server; the same login")
    parser.add_argument("--user", required=True)
    parser.add_argument("--only", default="*")
    given = parser.parse_args()
    root = given.dir.absolute()
    (root / "nzb" / "shuffled").mkdir(parents=True)
    media = Media(root / "media")
    ports = [port for port in (given.port, given.second_port) if port]
    servers = [Server(port, given.user, os.environ["NNTP_PASSWORD"]) for port in ports]
    if len(servers) < 2:
        del RELEASES["fill-two-servers"]
    entries, articles = [], 0
    for name in RELEASES:
        if fnmatch.fnmatch(name, given.only):
            entry, count = build(root, media, servers, name)
            entries.append(entry)
            articles += count
    (root / "manifest.json").write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n")
    print(f"releases: {len(entries)}, {articles} articles")


if __name__ == "__main__":
    main()
