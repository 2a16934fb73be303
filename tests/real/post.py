#!/usr/bin/env python3
"""Posts files to a news server as yEnc articles and writes their NZB, with Python's standard library alone.

    post.py --port P --user U [--tls] --nzb OUT.nzb[.gz] FILE...      (password in NNTP_PASSWORD)

As a module: `File` is one file to post, `post` posts a release.
"""
import argparse
import binascii
import dataclasses
import gzip
import os
import queue
import random
import socket
import ssl
import sys
import threading
import zlib
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

SHIFT = bytes((i + 42) % 256 for i in range(256))
ARTICLE = 716_800
GROUP = "alt.binaries.test"
POSTER = "tests <tests@altmount.test>"


def yenc(data, line=128):
    """yEnc payload (1.3), its lines ended by CRLF and dot-stuffed for NNTP."""
    text = data.translate(SHIFT)
    for critical, escaped in ((b"=", b"=}"), (b"\0", b"=@"), (b"\n", b"=J"), (b"\r", b"=M")):
        text = text.replace(critical, escaped)
    lines, at = [], 0
    while at < len(text):
        end = at + line
        if text[end - 1 : end] == b"=":  # an escape pair stays together
            end += 1
        piece = text[at:end]
        lines.append(b"." + piece if piece.startswith(b".") else piece)
        at = end
    return b"".join(piece + b"\r\n" for piece in lines)


def uuencode(name, data, part, total):
    """uuencoded lines of one part, ended by CRLF and dot-stuffed for NNTP; `data` is whole lines of 45 bytes but for the last."""
    lines = [b"begin 644 " + name] if part == 1 else []
    for at in range(0, len(data), 45):
        line = binascii.b2a_uu(data[at : at + 45], backtick=True).rstrip(b"\n")
        lines.append(b"." + line if line.startswith(b".") else line)
    if part == total:
        lines += [b"`", b"end"]
    return b"".join(line + b"\r\n" for line in lines)


@dataclasses.dataclass
class File:
    """One file to post."""

    path: Path
    name: "bytes | None" = None  # in =ybegin; the file's own where left out
    subject: "str | None" = None  # in the NZB; made from the name where left out
    sizes: "list[int] | None" = None  # of the parts, in full; equal ones where left out
    missing: frozenset = frozenset()  # parts, from 1, that the NZB lists and nobody posts
    corrupt: frozenset = frozenset()  # parts with one wrong byte under right checksums
    wrong_size: frozenset = frozenset()  # parts whose =ybegin and =yend state another length
    wrong_crc: frozenset = frozenset()  # parts with right bytes under a wrong checksum
    unlisted: frozenset = frozenset()  # parts that are posted and not in the NZB
    cut_short: frozenset = frozenset()  # parts that end half way, without =yend
    part_size: int = ARTICLE  # bytes of each part but the last
    uu: bool = False  # uuencode instead of yEnc
    server: object = None  # callable(part) -> Server, where the parts lie on several; the release's where left out

    def parts(self):
        """[(offset, length)]"""
        total = self.path.stat().st_size
        sizes = self.sizes or [min(self.part_size, total - at) for at in range(0, total, self.part_size)] or [0]
        if sum(sizes) != total:
            raise ValueError(f"the parts of {self.path} have {sum(sizes)} bytes, the file {total}")
        offsets = [sum(sizes[:i]) for i in range(len(sizes))]
        return list(zip(offsets, sizes))

    def checksum(self):
        """CRC-32 of the whole file, which goes into the last of its parts."""
        crc = 0
        with open(self.path, "rb") as file:
            while piece := file.read(1 << 20):
                crc = zlib.crc32(piece, crc)
        return crc

    def article(self, number, parts, checksum):
        """The body of one part, in wire form without the last dot line."""
        (offset, length), total = parts[number - 1], self.path.stat().st_size
        with open(self.path, "rb") as file:
            file.seek(offset)
            data = file.read(length)
        crc = zlib.crc32(data) ^ (number in self.wrong_crc)
        if number in self.corrupt:
            middle = length // 2
            data = data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]
        name = self.name if self.name is not None else self.path.name.encode()
        if self.uu:
            return uuencode(name, data, number, len(parts))
        if number in self.wrong_size:
            total, length = total + 1000, length + 1000
        if len(parts) == 1:
            head = b"=ybegin line=128 size=%d name=%s\r\n" % (total, name)
            tail = b"=yend size=%d crc32=%08x\r\n" % (length, crc)
        else:
            head = b"=ybegin part=%d total=%d line=128 size=%d name=%s\r\n" % (number, len(parts), total, name)
            head += b"=ypart begin=%d end=%d\r\n" % (offset + 1, offset + len(data))
            whole = b" crc32=%08x" % checksum if number == len(parts) else b""
            tail = b"=yend size=%d part=%d pcrc32=%08x%s\r\n" % (length, number, crc, whole)
        body = head + yenc(data) + tail
        return body[: body.rfind(b"\r\n", 0, len(body) // 2) + 2] if number in self.cut_short else body


@dataclasses.dataclass(frozen=True)
class Server:
    """Where to post."""

    port: int
    user: str
    password: str
    tls: bool = False
    host: str = "127.0.0.1"

    def connect(self):
        connection = socket.create_connection((self.host, self.port), timeout=60)
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # self-signed, on this machine
            connection = context.wrap_socket(connection)
        return Connection(connection, self)


class Connection:
    def __init__(self, connection, server):
        self.socket, self.replies = connection, connection.makefile("rb")
        self.expect(b"20", "the greeting")
        self.command(b"AUTHINFO USER " + server.user.encode(), b"381")
        self.command(b"AUTHINFO PASS " + server.password.encode(), b"281")

    def expect(self, code, what):
        reply = self.replies.readline()
        if not reply.startswith(code):
            raise RuntimeError(f"{what}: the server said {reply!r}")

    def command(self, line, code):
        self.socket.sendall(line + b"\r\n")
        self.expect(code, line.split()[0].decode())

    def post(self, message_id, subject, body):
        self.command(b"POST", b"340")
        headers = (
            f"From: {POSTER}\r\nNewsgroups: {GROUP}\r\nSubject: {subject}\r\nMessage-ID: <{message_id}>\r\n\r\n"
        )
        self.socket.sendall(headers.encode() + body + b".\r\n")
        self.expect(b"240", "POST")

    def close(self):
        self.socket.close()


def post(server, files, nzb, meta=(), shuffle=False, encoding="utf-8", connections=3):
    """Posts `files`, writes the NZB to the path `nzb`, and returns [[message-id of each part] of each file]."""
    work, failures, plan = queue.SimpleQueue(), [], []
    for file in files:
        parts = file.parts()
        segments = [[f"{random.randbytes(12).hex()}.{n + 1}@altmount.test", 0] for n in range(len(parts))]
        plan.append((file, parts, segments))
        checksum = file.checksum()
        for number in range(1, len(parts) + 1):
            work.put((file, number, parts, checksum, segments[number - 1]))

    def run():
        opened = {}
        try:
            while not failures:
                file, number, parts, checksum, segment = work.get_nowait()
                body = file.article(number, parts, checksum)
                segment[1] = len(body)
                if number in file.missing:
                    continue
                to = file.server(number) if file.server else server
                if to not in opened:
                    opened[to] = to.connect()
                opened[to].post(segment[0], f"{segment[0].split('@')[0]} ({number}/{len(parts)})", body)
        except queue.Empty:
            pass
        except Exception as failure:  # told by the thread that waits
            failures.append(failure)
        finally:
            for connection in opened.values():
                connection.close()

    threads = [threading.Thread(target=run) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    text = document(plan, meta, shuffle, encoding)
    data = text.encode(encoding, "xmlcharrefreplace")
    Path(nzb).write_bytes(gzip.compress(data) if str(nzb).endswith(".gz") else data)
    return [[message_id for message_id, _ in segments] for _, _, segments in plan]


def document(plan, meta, shuffle, encoding):
    lines = [
        f'<?xml version="1.0" encoding="{encoding}"?>',
        '<!DOCTYPE nzb PUBLIC "-//newzBin//DTD NZB 1.1//EN" "http://www.newzbin.com/DTD/nzb/nzb-1.1.dtd">',
        '<nzb xmlns="http://www.newzbin.com/DTD/2003/nzb">',
    ]
    if meta:
        lines.append("<head>" + "".join(f"<meta type={quoteattr(k)}>{escape(v)}</meta>" for k, v in meta) + "</head>")
    for index, (file, parts, segments) in enumerate(plan, 1):
        subject = file.subject
        if subject is None:
            name = (file.name or file.path.name.encode()).decode(encoding if encoding != "utf-16" else "utf-8", "replace")
            subject = f'[{index}/{len(plan)}] - "{name}" yEnc (1/{len(parts)}) {file.path.stat().st_size}'
        lines.append(f'<file poster={quoteattr(POSTER)} date="1767225600" subject={quoteattr(subject)}>')
        lines.append(f"<groups><group>{GROUP}</group></groups><segments>")
        numbered = [(i, s) for i, s in enumerate(segments, 1) if i not in file.unlisted]
        if shuffle:
            random.shuffle(numbered)
        lines += [f'<segment bytes="{n}" number="{i}">{escape(m)}</segment>' for i, (m, n) in numbered]
        lines.append("</segments></file>")
    return "\n".join(lines + ["</nzb>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--nzb", required=True)
    parser.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args()
    if "NNTP_PASSWORD" not in os.environ:
        sys.exit("post: put the password into NNTP_PASSWORD")
    server = Server(given.port, given.user, os.environ["NNTP_PASSWORD"], given.tls, given.host)
    ids = post(server, [File(path) for path in given.files], given.nzb)
    print(f"post: {sum(map(len, ids))} articles -> {given.nzb}")


if __name__ == "__main__":
    main()
