#!/usr/bin/env python3
"""sab-clients.py URL KEY NZB CATEGORY: drives the SABnzbd API of a running server with client libraries that nobody here
wrote: pysabnzbd (Home Assistant's) and aiosabnzbd, which reads strictly; and with plain requests where they have no call.

URL is the server with its URL base, such as http://127.0.0.1:8080/sabnzbd; NZB a file that can be imported, CATEGORY one that
is configured. A line of `ok` or `FAIL` for each check.
"""
import asyncio
import json
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from aiohttp import ClientSession, FormData
from aiosabnzbd import SABnzbdClient
from pysabnzbd import SabnzbdApi, SabnzbdApiException

url, key, nzb, category = sys.argv[1:]
name = Path(nzb).stem
failed = False


def call(**parameters):
    query = urllib.parse.urlencode({**parameters, "apikey": key, "output": "json"})
    with urllib.request.urlopen(f"{url}/api?{query}", timeout=30) as answer:
        return json.load(answer)


async def home_assistant():
    """What its coordinator and its entities call."""
    async with ClientSession() as session:
        client = SabnzbdApi(url, key, session=session)
        assert await client.check_available()
        await client.refresh_data()
        for field in ("status", "kbpersec", "mb", "mbleft", "diskspacetotal1", "diskspace1", "noofslots_total", "speedlimit"):
            assert client.queue[field] is not None, field
        for total in ("day_size", "week_size", "month_size", "total_size"):
            assert total in client.queue, total
        # These say nothing, and raise where the server refuses.
        await client.pause_queue()
        assert (await client.get_queue())["paused"] is True
        await client.resume_queue()
        assert (await client.get_queue())["paused"] is False
        await client.set_speed_limit(50)
        await client.set_speed_limit(100)


async def wrong_key():
    async with ClientSession() as session:
        try:
            await SabnzbdApi(url, "wrong", session=session).get_queue()
        except SabnzbdApiException as error:
            assert "API Key Incorrect" in str(error), error
        else:
            raise AssertionError("a wrong key was taken")


async def strict():
    async with SABnzbdClient(url=url, api_key=key) as client:
        assert await client.version()
        await client.queue()


async def added():
    """A file as Medusa sends it: everything in a multipart body, the file's name without its ending."""
    form = FormData()
    for field, value in (("mode", "addfile"), ("apikey", key), ("output", "json"), ("cat", category), ("nzbname", name)):
        form.add_field(field, value)
    form.add_field("nzbfile", Path(nzb).read_bytes(), filename=name, content_type="application/octet-stream")
    async with ClientSession() as session, session.post(f"{url}/api", data=form, allow_redirects=False) as answer:
        assert answer.status == 200, answer.status
        reply = await answer.json()
    assert reply["status"] is True, reply
    job = reply["nzo_ids"][0]
    for _ in range(600):
        slots = call(mode="history", nzo_ids=job, limit=10)["history"]["slots"]
        if slots and slots[0]["status"] in ("Completed", "Failed"):
            break
        time.sleep(0.1)
    slot = slots[0]
    assert (slot["status"], slot["name"], slot["category"]) == ("Completed", name, category), slot
    assert slot["storage"].startswith("/") and slot["bytes"] > 0, slot
    assert call(mode="history", name="delete", value=job, del_files=1) == {"status": True}
    assert not call(mode="history", nzo_ids=job)["history"]["slots"]


async def counted():
    stats = call(mode="server_stats")
    assert stats["total"] > 0 and any(server["daily"] for server in stats["servers"].values()), stats


for check in (home_assistant, wrong_key, strict, added, counted):
    title = f"SABnzbd clients: {check.__name__.replace('_', ' ')}"
    try:
        asyncio.run(check())
        print("ok  ", title)
    except Exception as error:  # one failure must not hide the others
        failed = True
        print("FAIL", f"{title}: {type(error).__name__}: {str(error)[:300]}")
sys.exit(failed)
