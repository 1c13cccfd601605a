"""Python's etcd3gw against one member, through the JSON gateway: keys, watches, leases, locks, users.

Usage: etcd3gw_story.py HOST PORT. Prints one line for each thing that went as it must.
"""

import importlib.metadata
import sys
import threading
import time

from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception


def done(what):
    print("ok", what, flush=True)


def keys(client):
    assert client.put("py/a", "1") is True
    assert client.get("py/a") == [b"1"]
    client.put("py/b", "2")
    found = client.get_prefix("py/", sort_order="descend")
    assert [meta["key"] for _, meta in found] == [b"py/b", b"py/a"], found
    assert client.replace("py/a", "1", "one") is True
    assert client.replace("py/a", "1", "two") is False
    assert client.create("py/a", "new") is False
    assert client.create("py/c", "new") is True
    assert client.delete("py/c") is True and client.delete("py/c") is False
    status = client.status()
    assert status["version"].startswith("3."), status
    assert len(client.members()) >= 1
    done("keys")


def watches(client):
    seen = []
    events, cancel = client.watch_prefix("py/w/")
    reader = threading.Thread(target=lambda: seen.extend(events), daemon=True)
    reader.start()
    for number in range(3):
        client.put(f"py/w/{number}", str(number))
    client.delete("py/w/0")
    deadline = time.monotonic() + 10
    while len(seen) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    cancel()
    kinds = [(event["kv"]["key"], event.get("type", "PUT")) for event in seen]
    expected = [(b"py/w/0", "PUT"), (b"py/w/1", "PUT"), (b"py/w/2", "PUT"), (b"py/w/0", "DELETE")]
    assert kinds == expected, kinds
    done("watches")


def leases(client):
    lease = client.lease(ttl=30)
    client.put("py/leased", "x", lease=lease)
    assert lease.keys() == [b"py/leased"], lease.keys()
    assert 0 < lease.ttl() <= 30
    assert lease.refresh() == 30
    lease.revoke()
    assert client.get("py/leased") == []
    done("leases")


def locks(client):
    with client.lock("py-lock", ttl=30) as lock:
        assert lock.is_acquired()
        other = client.lock("py-lock", ttl=30)
        assert other.acquire() is False
    assert other.acquire() is True
    other.release()
    # etcd's own Lock service, which etcd3gw leaves to the caller.
    held = client.post(client.get_url("/lock/lock"), json={"name": "cHktc3J2"})
    assert held["key"], held
    client.post(client.get_url("/lock/unlock"), json={"key": held["key"]})
    done("locks")


def users(client):
    def auth(path, **fields):
        return client.post(client.get_url("/auth/" + path), json=fields)

    auth("user/add", name="root", password="pw")
    auth("role/add", name="root")
    auth("user/grant", user="root", role="root")
    auth("enable")
    try:
        try:
            client.get("py/a")
            raise AssertionError("an unknown client was let in")
        except Etcd3Exception as error:
            assert "user name is empty" in str(error) or error.detail_text, error
        token = auth("authenticate", name="root", password="pw")["token"]
        client.session.headers["Authorization"] = token
        assert client.get("py/a") == [b"one"]
    finally:
        auth("disable")
        client.session.headers.pop("Authorization", None)
        auth("user/delete", name="root")
        auth("role/delete", role="root")
    done("users")


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client = Etcd3Client(host=host, port=port, api_path="/v3/", timeout=20)
    for story in (keys, watches, leases, locks, users):
        story(client)
    client.delete_prefix("py/")
    print("etcd3gw", importlib.metadata.version("etcd3gw"), "is content")


main()
