"""What only a host over SSH has: keys, hops, lost connections, transfers that go on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

from cosmos_jobs.errors import ConnectionLost, HostError, NoContact, TransferError
from cosmos_jobs.targets.executors.batch_dir import BatchDirectory
from cosmos_jobs.targets.hosts.base import Upload
from cosmos_jobs.targets.hosts.ssh.host import SSHHost
from tests.support.fixtures_ssh import Proxies, Servers
from tests.support.ssh_server import USER, Home, Proxy, new_key, public
from tests.support.waiting import until

Result = TypeVar("Result")

MEGA = 1 << 20


def use(
    work: Callable[[SSHHost], Awaitable[Result]],
    address: str = "gpu-1",
    *,
    say: Callable[[str], None] = lambda line: None,
    connect_timeout_s: float = 20,
    identity: str = "",
) -> Result:
    """Do something with a host, and close it."""

    async def body() -> Result:
        host = SSHHost(address, say=say, connect_timeout_s=connect_timeout_s, identity=identity)
        try:
            return await work(host)
        finally:
            await host.close()

    return asyncio.run(body())


async def hello(host: SSHHost) -> str:
    return (await host.run("echo hello")).stdout


def file(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def upload(source: Path, target: Path) -> Upload:
    return Upload(source, str(target), digest(source))


def fingerprint(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], capture_output=True, check=True)
    return shown.stdout.decode().split()[1]


# Who it is: host keys.


def test_an_unknown_host_key_is_refused_with_its_fingerprint(ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1", known=False)
    said: list[str] = []

    with pytest.raises(HostError) as caught:
        use(hello, say=said.append)

    assert not isinstance(caught.value, NoContact)
    assert "ssh-ed25519" in caught.value.message
    assert fingerprint(server.host_key) in caught.value.message
    assert "cosmos-jobs doctor --accept-new-host-key" in caught.value.hint
    assert not said
    assert server.connections == 0


def test_an_accepted_host_key_is_known_from_then_on(ssh_home: Home, ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1", known=False)
    ssh_home.known_hosts.unlink()

    accepted = use(lambda host: host.accept_new_host_key())

    assert fingerprint(server.host_key) in accepted[0]
    assert ssh_home.known_hosts.stat().st_mode & 0o777 == 0o600
    assert use(hello) == "hello\n"
    assert use(lambda host: host.accept_new_host_key()) == ()
    assert len(ssh_home.known_hosts.read_text().splitlines()) == 1


def test_ssh_itself_believes_the_accepted_key(ssh_home: Home, ssh_servers: Servers) -> None:
    ssh_servers("gpu-1", known=False)
    ssh_home.known_hosts.write_text("# a comment without an end of line")
    use(lambda host: host.accept_new_host_key())

    done = subprocess.run(["ssh", *ssh_home.options, "gpu-1", "echo hello"], capture_output=True)

    assert done.stdout == b"hello\n"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_changed_host_key_is_always_refused(ssh_servers: Servers, kind: str) -> None:
    server = ssh_servers("gpu-1")
    old = fingerprint(server.host_key)
    server.change_host_key(kind)
    server.restart()

    for work in (hello, lambda host: host.accept_new_host_key()):
        with pytest.raises(HostError, match="has changed") as caught:
            use(work)

        assert old in caught.value.message
        assert fingerprint(server.host_key) in caught.value.message
        assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in caught.value.hint


def test_a_revoked_host_key_is_refused(ssh_home: Home, ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1", known=False)
    ssh_home.known_hosts.write_text(f"@revoked * {public(server.host_key)}\n")

    with pytest.raises(HostError, match="revoked"):
        use(hello)


def test_hashed_entries_are_known(ssh_home: Home, ssh_servers: Servers) -> None:
    ssh_servers("gpu-1")
    subprocess.run(
        ["ssh-keygen", "-q", "-H", "-f", str(ssh_home.known_hosts)],
        check=True,
        capture_output=True,
    )

    assert ssh_home.known_hosts.read_text().startswith("|1|")
    assert use(hello) == "hello\n"


def test_other_files_and_names_of_the_config_are_honoured(
    ssh_home: Home, ssh_servers: Servers, tmp_path: Path
) -> None:
    server = ssh_servers("gpu-1", known=False)
    other = tmp_path / "other known hosts"
    other.write_text(f"the-gpu {public(server.host_key)}\n")
    ssh_home.config.write_text(
        f'Host gpu-1\nUserKnownHostsFile "{other}" {tmp_path}/none\nHostKeyAlias the-gpu\n'
        f"StrictHostKeyChecking no\n{ssh_home.config.read_text()}"
    )
    server.restart()
    # The alias goes with the port, as ssh has it; without one too.
    assert use(hello) == "hello\n"

    other.write_text("")

    with pytest.raises(HostError, match="not known"):
        use(hello)


def test_a_host_certificate_of_a_known_authority_is_believed(
    ssh_home: Home, ssh_servers: Servers, tmp_path: Path
) -> None:
    server = ssh_servers("gpu-1", known=False)
    authority = new_key(tmp_path / "authority")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "gpu", "-h", "-n", "127.0.0.1"]
    subprocess.run([*sign, f"{server.host_key}.pub"], check=True)
    ssh_home.known_hosts.write_text(f"@cert-authority * {public(authority)}\n")
    server.restart([f"HostCertificate {server.host_key}-cert.pub"])

    assert use(hello) == "hello\n"


# Who we are, and the way there.


def test_all_of_an_address_can_be_given(ssh_home: Home, ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1")
    ssh_home.config.unlink()

    assert use(hello, f"{USER}@127.0.0.1:{server.port}") == "hello\n"


def test_keys_that_do_not_exist_are_passed_over(ssh_home: Home, ssh_servers: Servers) -> None:
    ssh_servers("gpu-1")
    ssh_home.config.write_text(f"IdentityFile ~/.ssh/none\n{ssh_home.config.read_text()}")

    assert use(hello) == "hello\n"


def test_who_is_not_let_in_is_told_at_once(ssh_home: Home, ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1")
    (server.folder / "authorized_keys").write_text("")

    with pytest.raises(HostError, match="does not let us in") as caught:
        use(hello)

    assert not isinstance(caught.value, NoContact)


def test_the_agents_keys_are_used(
    ssh_home: Home, ssh_servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ssh_servers("gpu-1")
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            time.sleep(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        key = new_key(tmp_path / "only in the agent")
        server.authorize(key)
        subprocess.run(["ssh-add", "-q", str(key)], check=True, env=environment)
        key.unlink()
        ssh_home.key.unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))

        assert use(hello) == "hello\n"
    finally:
        agent.kill()
        agent.wait()


def jump(home: Home, *hops: str) -> None:
    home.config.write_text(f"Host gpu-1\nProxyJump {','.join(hops)}\n{home.config.read_text()}")


def test_jump_hosts_are_passed_one_after_the_other(
    ssh_home: Home, ssh_servers: Servers, tmp_path: Path
) -> None:
    one, two, target = (ssh_servers(name) for name in ("hop-1", "hop-2", "gpu-1"))
    jump(ssh_home, "hop-1", "hop-2")
    source = file(tmp_path / "clip.mp4", 6 * MEGA)

    async def work(host: SSHHost) -> None:
        await host.put([upload(source, tmp_path / "there.mp4")])

    use(work)

    assert digest(tmp_path / "there.mp4") == digest(source)
    assert [each.connections for each in (one, two, target)] == [1, 1, 1]


def test_a_jump_hosts_key_is_verified_too(ssh_home: Home, ssh_servers: Servers) -> None:
    hop = ssh_servers("hop-1", known=False)
    target = ssh_servers("gpu-1", known=False)
    jump(ssh_home, "hop-1")

    with pytest.raises(HostError, match="the host key of hop-1 is not known"):
        use(hello)
    accepted = use(lambda host: host.accept_new_host_key())

    assert [
        fingerprint(each.host_key) in text
        for each, text in zip([hop, target], accepted, strict=True)
    ]
    assert use(hello) == "hello\n"


def test_a_loop_of_jump_hosts_is_an_error(ssh_home: Home, ssh_servers: Servers) -> None:
    ssh_servers("gpu-1")
    jump(ssh_home, "gpu-1")

    with pytest.raises(HostError, match="loop"):
        use(hello)


def test_a_name_that_does_not_exist_is_told_at_once(ssh_home: Home) -> None:
    began = time.monotonic()

    with pytest.raises(HostError):
        use(hello, "no-such-machine.invalid", connect_timeout_s=2)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["", "a:b", "user@", "[::1"])
def test_an_address_that_is_none_is_told_at_once(ssh_home: Home, address: str) -> None:
    with pytest.raises(HostError):
        use(hello, address)


def test_a_config_that_cannot_be_read_is_told_at_once(ssh_home: Home, ssh_servers: Servers) -> None:
    ssh_servers("gpu-1")
    ssh_home.config.write_text(f"Port many\n{ssh_home.config.read_text()}")

    with pytest.raises(HostError, match=r"~/\.ssh/config"):
        use(hello)


# One connection, lost and found.


def test_a_crowd_shares_one_connection_and_eight_channels(ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1", "MaxSessions 10")

    async def work(host: SSHHost) -> None:
        done = await asyncio.gather(*(host.run(f"sleep 0.05; echo {n}") for n in range(30)))

        assert [each.stdout for each in done] == [f"{n}\n" for n in range(30)]
        assert host.traffic.connections == 1
        assert host.traffic.channels <= 8

    use(work)

    assert server.connections == 1


@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_a_host_that_allows_few_channels_is_used_as_far_as_it_goes(
    ssh_servers: Servers, tmp_path: Path, sessions: int
) -> None:
    ssh_servers("gpu-1", f"MaxSessions {sessions}")
    small, big = (file(tmp_path / name, size) for name, size in (("a", 100), ("b", 9 * MEGA)))

    async def work(host: SSHHost) -> None:
        uploads = [upload(each, tmp_path / "there" / each.name) for each in (small, big)]
        bringing = asyncio.create_task(host.put(uploads))
        done = await asyncio.gather(*(host.run(f"echo {n}") for n in range(10)))
        wrong = await bringing
        fetched = await host.get({each.target: tmp_path / "back" / each.sha256 for each in uploads})

        assert [each.stdout for each in done] == [f"{n}\n" for n in range(10)]
        assert wrong == {}
        assert len(fetched) == 2

    use(work)


def test_what_a_login_shell_says_is_no_part_of_an_answer(ssh_servers: Servers) -> None:
    ssh_servers("gpu-1", 'ForceCommand echo Welcome; echo Mind >&2; eval "$SSH_ORIGINAL_COMMAND"')

    done = use(lambda host: host.run("echo hello; echo err >&2"))

    assert (done.stdout, done.stderr) == ("hello\n", "err\n")


def test_a_server_that_restarts_is_found_again(ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1")
    said: list[str] = []

    async def work(host: SSHHost) -> list[str]:
        await hello(host)
        server.stop()
        await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(hello(host)) for _ in range(10)]
        await asyncio.sleep(0.7)
        await asyncio.to_thread(server.start)
        return [await each for each in waiting]

    assert use(work, say=said.append) == ["hello\n"] * 10

    assert said == ["gpu-1: connection lost; trying again for 20 s", "gpu-1: connected"]
    assert server.connections == 2


def test_a_machine_that_stays_away_is_no_contact(ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1")
    server.stop()
    said: list[str] = []
    began = time.monotonic()

    with pytest.raises(NoContact, match=r"no contact with gpu-1 since .*refused") as caught:
        use(hello, say=said.append, connect_timeout_s=1)

    assert time.monotonic() - began < 10
    assert "cosmos-jobs doctor" in caught.value.hint
    assert said == ["gpu-1: connection refused; trying again for 1 s"]


def test_something_that_never_speaks_is_no_contact(ssh_home: Home, ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1")
    ssh_home.config.write_text(f"ConnectTimeout 1\n{ssh_home.config.read_text()}")
    proxy = Proxy(server.port)
    with proxy:
        proxy.stall()
        ssh_home.config.write_text(
            ssh_home.config.read_text().replace(f"Port {server.port}", f"Port {proxy.port}")
        )

        with pytest.raises(NoContact, match="no answer"):
            use(hello, connect_timeout_s=2)


def test_a_script_that_a_cut_hits_is_not_run_again_but_the_next_one_is(
    ssh_servers: Servers, tmp_path: Path
) -> None:
    server = ssh_servers("gpu-1")
    times = tmp_path / "times"

    async def work(host: SSHHost) -> None:
        running = asyncio.create_task(host.run(f"echo once >> {times}; sleep 20"))
        while not times.exists():
            await asyncio.sleep(0.02)
        server.drop()
        with pytest.raises(NoContact):
            await running

        assert await hello(host) == "hello\n"
        assert times.read_text() == "once\n"

    use(work)


def test_a_shell_that_dies_leaves_an_unknown_exit_code(ssh_servers: Servers) -> None:
    ssh_servers("gpu-1")

    async def work(host: SSHHost) -> None:
        done = await host.run("echo before; kill -9 $$; sleep 1")

        assert done.exit_code is None
        assert await hello(host) == "hello\n"
        assert host.traffic.connections == 1

    use(work)


def test_a_stalled_connection_is_noticed(
    ssh_home: Home, ssh_servers: Servers, ssh_proxies: Proxies
) -> None:
    server = ssh_servers("direct")
    ssh_home.configure("Host gpu-1", "ServerAliveInterval 1", "ServerAliveCountMax 1")
    proxy = ssh_proxies("gpu-1", server)

    async def work(host: SSHHost) -> None:
        await hello(host)
        proxy.stall()
        began = time.monotonic()
        with pytest.raises(NoContact):
            await host.run("echo unheard", timeout_s=60)

        assert time.monotonic() - began < 8
        proxy.flow()
        assert await hello(host) == "hello\n"

    use(work)


def test_a_script_that_takes_too_long_beside_others_is_no_contact(ssh_servers: Servers) -> None:
    ssh_servers("gpu-1")

    async def work(host: SSHHost) -> None:
        await hello(host)
        slow = asyncio.create_task(host.run("sleep 30", timeout_s=1))
        await asyncio.sleep(0.3)
        await hello(host)
        with pytest.raises(NoContact, match="it did not answer within 1 s") as caught:
            await slow

        # Nothing was lost: there is no use in asking the same at once.
        assert not isinstance(caught.value, ConnectionLost)
        assert await hello(host) == "hello\n"
        assert host.traffic.connections == 1

    use(work)


def test_a_script_that_is_cut_on_its_way_is_not_begun(
    ssh_servers: Servers, ssh_proxies: Proxies, tmp_path: Path
) -> None:
    proxy = ssh_proxies("gpu-1", ssh_servers("direct"))
    begun = tmp_path / "begun"

    async def work(host: SSHHost) -> None:
        await hello(host)
        proxy.cut_after(MEGA, "up")
        with pytest.raises(NoContact):
            await host.run(f"touch '{begun}'\n" + f"# {'x' * 100}\n" * 40_000)
        await asyncio.sleep(0.5)

    use(work)

    assert not begun.exists()


def test_an_unknown_exit_code_is_asked_for_again_after_a_pause(
    ssh_servers: Servers, tmp_path: Path
) -> None:
    # The first two times it takes the shell down that it is in.
    times, tool = tmp_path / "times", tmp_path / "bin" / "base64"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\necho x >> "{times}"\n[ $(wc -l < "{times}") -gt 2 ] ||'
        ' kill -9 $(ps -o sid= -p $$)\nexec /usr/bin/base64 "$@"\n'
    )
    tool.chmod(0o755)
    ssh_servers("gpu-1", f"SetEnv PATH={tool.parent}:/usr/bin:/bin")
    file(tmp_path / "batches" / "ba_1" / "batch.json", 100)

    async def work(host: SSHHost) -> None:
        await hello(host)
        batches = BatchDirectory(host, str(tmp_path), client="ann@here", owner="owner1")
        began = time.monotonic()
        told = await batches.describe(["ba_1"])

        assert set(told) == {"ba_1"}
        assert times.read_text() == "x\n" * 3
        assert time.monotonic() - began >= 1

    use(work)


def test_traffic_is_told_in_fitting_units(ssh_servers: Servers, tmp_path: Path) -> None:
    ssh_servers("gpu-1")
    source = file(tmp_path / "there.bin", 3 * MEGA)

    async def work(host: SSHHost) -> None:
        await host.run(f": {'x' * 12_000}")
        await host.get({str(source): tmp_path / "here.bin"})

        told = r"1 connection, \d channels?, 1[23] kB sent, 3\.[12] MB received"
        assert re.fullmatch(told, str(host.traffic))

    use(work)


def test_nobody_is_asked_before_there_is_something_to_ask(ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1")

    async def work(host: SSHHost) -> None:
        assert host.traffic.connections == 0

    use(work)

    assert server.connections == 0


# Transfers that go on.


@pytest.fixture
def cut(ssh_servers: Servers, ssh_proxies: Proxies) -> Iterator[Proxy]:
    """Return a network in front of gpu-1 that a test cuts."""
    yield ssh_proxies("gpu-1", ssh_servers("direct"))


@pytest.mark.parametrize("seed", range(2))
def test_an_upload_that_is_cut_goes_on_where_it_was(cut: Proxy, tmp_path: Path, seed: int) -> None:
    size = 40 * MEGA
    after = random.Random(seed).randrange(25 * MEGA, 35 * MEGA)
    source = file(tmp_path / "clip.mp4", size)
    target = tmp_path / "there" / "clip.mp4"
    cut.cut_after(after, "up")

    assert use(lambda host: host.put([upload(source, target)])) == {}

    assert digest(target) == digest(source)
    assert cut.accepted == 2
    # What was on its way may go again: two ranges for each of six shells.
    assert cut.up < size + 14 * MEGA
    assert [*target.parent.iterdir()] == [target]


def test_an_upload_of_many_files_that_is_cut_goes_on(cut: Proxy, tmp_path: Path) -> None:
    sources = [file(tmp_path / "here" / f"{n}.mp4", MEGA // 2, n) for n in range(60)]
    uploads = [upload(each, tmp_path / "there" / each.name) for each in sources]
    cut.cut_after(20 * MEGA, "up")

    assert use(lambda host: host.put(uploads)) == {}

    assert all(digest(Path(each.target)) == each.sha256 for each in uploads)
    assert cut.accepted == 2
    # The script that was cut cleans up after itself.
    until(lambda: len([*(tmp_path / "there").iterdir()]) == 60)


@pytest.mark.parametrize("seed", range(2))
def test_a_download_that_is_cut_goes_on_where_it_was(cut: Proxy, tmp_path: Path, seed: int) -> None:
    size = 40 * MEGA
    source = file(tmp_path / "there.mp4", size)
    target = tmp_path / "here" / "clip.mp4"
    cut.cut_after(random.Random(seed).randrange(20 * MEGA, 35 * MEGA), "down")

    assert use(lambda host: host.get({str(source): target})) == {str(source): digest(source)}

    assert digest(target) == digest(source)
    assert cut.accepted == 2
    # The kernel's buffers go with the connection.
    assert cut.down < size + 16 * MEGA
    assert [*target.parent.iterdir()] == [target]


@pytest.mark.campaign(part="transfers")
def test_a_cut_at_any_moment_is_survived(cut: Proxy, tmp_path: Path, times: int) -> None:
    source = file(tmp_path / "clip.mp4", 5 * MEGA)
    chance = random.Random(1)

    async def work(host: SSHHost) -> None:
        for number in range(times):
            target = tmp_path / "there" / f"{number}.mp4"
            cut.cut_after(chance.randrange(6 * MEGA), "up")
            cut.cut_after(chance.randrange(6 * MEGA), "down")
            assert await host.put([upload(source, target)]) == {}
            assert await host.get({str(target): tmp_path / "here.mp4"}) == {
                str(target): digest(source)
            }
            assert digest(target) == digest(tmp_path / "here.mp4") == digest(source)

    use(work)


def test_a_network_that_cuts_again_and_again_is_no_contact(cut: Proxy, tmp_path: Path) -> None:
    source = file(tmp_path / "there.mp4", 100 * MEGA)

    async def work(host: SSHHost) -> None:
        cutting = asyncio.create_task(snip())
        try:
            await host.get({str(source): tmp_path / "here" / "clip.mp4"})
        finally:
            cutting.cancel()

    async def snip() -> None:
        while True:
            cut.cut_after(9_000, "down")
            await asyncio.sleep(0.01)

    with pytest.raises(NoContact):
        use(work, connect_timeout_s=5)

    assert not [*(tmp_path / "here").glob("*")]


def test_an_upload_goes_on_after_its_client_was_killed(cut: Proxy, tmp_path: Path) -> None:
    size = 60 * MEGA
    source = file(tmp_path / "clip.mp4", size)
    target = tmp_path / "there" / "clip.mp4"
    script = (
        "import asyncio, sys; from pathlib import Path;"
        "from cosmos_jobs.targets.hosts.ssh.host import SSHHost;"
        "from cosmos_jobs.targets.hosts.base import Upload;"
        "u = Upload(Path(sys.argv[1]), sys.argv[2], sys.argv[3]);"
        "asyncio.run(SSHHost('gpu-1', identity='abcabcabcabc').put([u]))"
    )
    command = [sys.executable, "-c", script, str(source), str(target), digest(source)]
    client = subprocess.Popen(command)
    while cut.up < 30 * MEGA:
        assert client.poll() is None
        time.sleep(0.005)
    client.kill()
    client.wait()
    sent = cut.up

    use(lambda host: host.put([upload(source, target)]), identity="abcabcabcabc")

    assert digest(target) == digest(source)
    assert cut.up - sent < size - 15 * MEGA
    assert [*target.parent.iterdir()] == [target]


def test_a_part_that_was_damaged_on_the_host_is_mended(
    ssh_servers: Servers, tmp_path: Path
) -> None:
    ssh_servers("gpu-1")
    source = file(tmp_path / "clip.mp4", 20 * MEGA)
    part = tmp_path / "there" / ".abcabcabcabc.clip.mp4"
    part.parent.mkdir()
    content = bytearray(source.read_bytes())
    content[7 * MEGA] ^= 1
    part.write_bytes(content)

    async def work(host: SSHHost) -> None:
        await host.put([upload(source, tmp_path / "there" / "clip.mp4")])

        assert host.traffic.sent < 2 * MEGA

    use(work, identity="abcabcabcabc")

    assert digest(tmp_path / "there" / "clip.mp4") == digest(source)


def test_a_file_that_changes_on_the_host_while_it_comes_is_fetched_again(
    ssh_servers: Servers, ssh_proxies: Proxies, tmp_path: Path
) -> None:
    proxy = ssh_proxies("gpu-1", ssh_servers("direct"))
    source = file(tmp_path / "there.mp4", 40 * MEGA)

    async def work(host: SSHHost) -> None:
        await hello(host)
        fetching = asyncio.create_task(host.get({str(source): tmp_path / "here.mp4"}))
        while proxy.down < 20 * MEGA:
            await asyncio.sleep(0.001)
        with source.open("r+b") as there:
            there.seek(-7, os.SEEK_END)
            there.write(b"changed")
        fetched = await fetching

        assert fetched == {str(source): digest(source)}
        assert digest(tmp_path / "here.mp4") == digest(source)

    use(work)


def test_a_file_that_cannot_be_read_is_that_files_failure(
    ssh_servers: Servers, tmp_path: Path
) -> None:
    ssh_servers("gpu-1")
    good = file(tmp_path / "good.mp4", 1000)
    source = "/proc/self/mem"  # also root cannot read it from its beginning

    with pytest.raises(TransferError, match=f"gpu-1: cannot read {source}: ") as caught:
        use(lambda host: host.get({str(good): tmp_path / "a", source: tmp_path / "b"}))

    assert not isinstance(caught.value, NoContact)


def test_a_file_that_always_changes_is_an_error(ssh_servers: Servers, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    false = folder / "sha256sum"
    false.write_text(f"#!/bin/sh\nfor f do echo {'0' * 64} x; done\n")
    false.chmod(0o755)
    ssh_servers("gpu-1", f"SetEnv PATH={folder}:/usr/bin:/bin")
    source = file(tmp_path / "there.json", 1000)

    with pytest.raises(TransferError, match="arrives damaged, also at a second try"):
        use(lambda host: host.get({str(source): tmp_path / "here.json"}))

    assert not (tmp_path / "here.json").exists()


def test_an_upload_waits_for_another_process_of_its_project(
    ssh_servers: Servers, tmp_path: Path
) -> None:
    ssh_servers("gpu-1")
    source = file(tmp_path / "clip.mp4", 5 * MEGA)
    target = tmp_path / "there" / "clip.mp4"
    locks = tmp_path / "cache" / "uploads"
    locks.mkdir(parents=True)
    other = FileLock(locks / f"abcabcabcabc-{digest(source)}.lock")

    async def work() -> None:
        host = SSHHost("gpu-1", identity="abcabcabcabc", locks=locks)
        bringing = asyncio.create_task(host.put([upload(source, target)]))
        await asyncio.sleep(1)
        is_there = target.exists()
        other.release()
        await bringing
        await host.close()

        assert not is_there

    with other:
        asyncio.run(work())

    assert digest(target) == digest(source)


def test_locks_are_nowhere_but_in_their_folder(
    ssh_servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh_servers("gpu-1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    source = file(tmp_path / "clip.mp4", 5 * MEGA)

    async def work() -> None:
        host = SSHHost("gpu-1", identity="abcabcabcabc", locks=tmp_path / "locks")
        await host.put([upload(source, tmp_path / "there" / "clip.mp4")])
        await host.close()

    asyncio.run(work())

    assert [each.name[:12] for each in (tmp_path / "locks").iterdir()] == ["abcabcabcabc"]
    assert not list((tmp_path / "tmp").iterdir())


def test_a_folder_for_locks_that_cannot_be_made_is_told(
    ssh_servers: Servers, tmp_path: Path
) -> None:
    ssh_servers("gpu-1")
    (tmp_path / "locks").touch()
    source = file(tmp_path / "clip.mp4", 5 * MEGA)

    async def work() -> None:
        host = SSHHost("gpu-1", identity="abcabcabcabc", locks=tmp_path / "locks")
        try:
            await host.put([upload(source, tmp_path / "there" / "clip.mp4")])
        finally:
            await host.close()

    with pytest.raises(HostError, match="this machine: cannot write"):
        asyncio.run(work())


@pytest.mark.parametrize("identities", [("a" * 12, "b" * 12), ("a" * 12, "a" * 12)])
@pytest.mark.parametrize("size", [20_000, 30 * MEGA])
def test_two_clients_that_bring_the_same_file_are_both_right(
    ssh_servers: Servers, tmp_path: Path, identities: tuple[str, str], size: int
) -> None:
    ssh_servers("gpu-1")
    source = file(tmp_path / "clip.mp4", size)
    target = tmp_path / "there" / "clip.mp4"

    async def both() -> list[object]:
        locks = tmp_path / "locks"
        hosts = [SSHHost("gpu-1", identity=each, locks=locks) for each in identities]
        try:
            puts = [host.put([upload(source, target)]) for host in hosts]
            return list(await asyncio.gather(*puts))
        finally:
            await asyncio.gather(*(host.close() for host in hosts))

    assert asyncio.run(both()) == [{}, {}]

    assert digest(target) == digest(source)
    assert [*target.parent.iterdir()] == [target]


def test_scripts_are_answered_while_a_big_file_is_on_its_way(
    ssh_servers: Servers, tmp_path: Path
) -> None:
    ssh_servers("gpu-1")
    source = file(tmp_path / "clip.mp4", 120 * MEGA)

    async def work(host: SSHHost) -> None:
        await hello(host)
        bringing = asyncio.create_task(host.put([upload(source, tmp_path / "there.mp4")]))
        await asyncio.sleep(0.2)
        for _ in range(3):
            await hello(host)

        assert not bringing.done()
        assert await bringing == {}

    use(work)


def test_what_a_file_holds_is_never_run(
    ssh_servers: Servers, small_disk: Path, tmp_path: Path
) -> None:
    ssh_servers("gpu-1")
    source = tmp_path / "clip.mp4"
    source.write_bytes(f"touch {tmp_path}/hacked\n".encode() * 300_000)

    with pytest.raises(HostError, match="No space left"):
        use(lambda host: host.put([upload(source, small_disk / "clip.mp4")]))

    time.sleep(0.2)
    assert not (tmp_path / "hacked").exists()


def test_500_small_files_take_a_handful_of_round_trips(cut: Proxy, tmp_path: Path) -> None:
    sources = [file(tmp_path / "here" / f"{n}.json", 2000, n) for n in range(500)]
    uploads = [upload(each, tmp_path / "there" / each.name) for each in sources]

    async def work(host: SSHHost) -> None:
        await hello(host)
        before = host.traffic
        await host.put(uploads)
        await host.get({each.target: tmp_path / "back" / each.sha256 for each in uploads})

        assert host.traffic.channels - before.channels <= 1

    use(work)


def test_nothing_secret_shows_in_the_list_of_processes(ssh_servers: Servers) -> None:
    ssh_servers("gpu-1")

    async def work(host: SSHHost) -> None:
        done = await host.run(
            "secret=hidden-word; ps -eo args; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
        )

        assert "exec sh -c" in done.stdout or "sh -c" in done.stdout
        assert not re.search("hidden-word", done.stdout)

    use(work)


def test_closing_twice_and_using_it_again_is_fine(ssh_servers: Servers) -> None:
    server = ssh_servers("gpu-1")

    async def work(host: SSHHost) -> str:
        await hello(host)
        await host.close()
        await host.close()
        return await hello(host)

    assert use(work) == "hello\n"
    assert server.connections == 2
