"""What must hold when many work at once: threads here stand for processes, each with a connection of its own."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fhircase import storage
from fhircase.errors import Conflict, FhircaseError, Stale
from fhircase.fhir.query import Query
from fhircase.plans.change import Ref
from fhircase.plans.partner import Partner
from tests.contract.making import HUB, T, commit, member, record, token, viewer

HOME = Partner("home", base_url="http://home.example", width=8)


def together(*work: Callable[[], Any]) -> list[Any]:
    """All at once, from a common start; the first exception is raised."""
    gate = threading.Barrier(len(work))

    def begin(one: Callable[[], Any]) -> Any:
        gate.wait(30)
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [done.result(60) for done in [pool.submit(begin, one) for one in work]]


@pytest.mark.parametrize("who", [HUB, viewer("home", 0)], ids=["everything", "scoped"])
def test_a_poller_never_sees_a_later_commit_before_an_earlier_one(sql_store: Any, who: Any) -> None:
    commit(sql_store, grants=[member("home", "p", "e")])
    done = threading.Event()
    seen: list[int] = []

    def write(name: str) -> None:
        for n in range(25):
            commit(sql_store, record(f"Goal/{name}{n}", client="p", case="e"), now=T)

    def writers() -> None:
        try:
            together(*(lambda name=name: write(name) for name in "ab"))
        finally:
            done.set()

    def poll() -> None:
        """The documented way: from the greatest time seen on, inclusive, following next links."""
        known: set[str] = set()
        since = 0
        while True:
            last = done.is_set()
            cursor, latest = None, since
            while True:
                with sql_store.read() as tx:
                    page = tx.plans.search(who, Query("Goal", updated=(("ge", since, since + 1),), count=3, cursor=cursor))
                for stored in page.matches:
                    if stored.id not in known:
                        known.add(stored.id)
                        seen.append(stored.seq)
                latest = max(latest, page.latest)
                cursor = page.next
                if cursor is None:
                    break
            since = latest
            if last:
                return

    together(writers, poll, poll)
    once = sorted(set(seen))
    assert len(once) == 50
    assert sorted(seen) == sorted(once * 2), "each of the two pollers has met each commit"


def test_a_poller_sees_commits_in_order(sql_store: Any) -> None:
    """One poller, so that the order in which it met them is its own."""
    done = threading.Event()
    seen: list[int] = []

    def writers() -> None:
        try:
            together(*(lambda name=name: [commit(sql_store, record(f"Goal/{name}{n}")) for n in range(30)] for name in "abc"))
        finally:
            done.set()

    def poll() -> None:
        while True:
            last = done.is_set()
            with sql_store.read() as tx:
                seqs = sorted(stored.seq for stored in tx.plans.history(HUB, None, None, since=None, count=500, cursor=None).matches)
            assert seqs == list(range(1, len(seqs) + 1)), "a gap: a later commit was visible before an earlier one"
            seen.append(len(seqs))
            if last:
                return

    together(writers, poll)
    assert seen[-1] == 90
    assert seen == sorted(seen)


def test_of_64_parallel_identical_claims_one_wins(sql_store: Any) -> None:
    def create(n: int) -> bool:
        try:
            commit(sql_store, record(f"Patient/p{n}", claims=[("mrn", "1")], index=[token("identifier", "1", "mrn")]))
        except FhircaseError as error:
            assert isinstance(error, Conflict)
            return False
        return True

    won = together(*(lambda n=n: create(n) for n in range(64)))
    assert sum(won) == 1
    with sql_store.read() as tx:
        assert tx.plans.holder("Patient", "mrn", "1") == Ref("Patient", f"p{won.index(True)}")
        assert len(tx.plans.by_identifier("Patient", "mrn", "1")) == 1


def test_of_parallel_conditional_creates_one_creates(sql_store: Any) -> None:
    """Lock the criteria, look, create: the others find what the first made."""

    def create(n: int) -> str:
        with sql_store.write() as tx:
            tx.plans.lock("Patient?identifier=mrn|1")
            there = tx.plans.by_identifier("Patient", "mrn", "1")
            if there:
                return str(there[0].id)
            stamp = tx.plans.stamp(T)
            tx.plans.save(stamp, [record(f"Patient/p{n}", index=[token("identifier", "1", "mrn")])])
            return f"p{n}"

    assert len(set(together(*(lambda n=n: create(n) for n in range(16))))) == 1


def test_of_parallel_updates_of_one_version_one_wins(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g"))

    def update() -> bool:
        try:
            commit(sql_store, record("Goal/g", 2))
        except FhircaseError as error:
            assert isinstance(error, Stale | Conflict)
            return False
        return True

    assert sum(together(*[update] * 12)) == 1
    with sql_store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g")).version == 2


def test_a_lane_is_claimed_by_one_of_many_workers(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.plans.stamp(T)
        tx.outbox.mark(HOME, [(Ref("Goal", "g"), "p")])

    def claim(n: int) -> Any:
        with sql_store.write() as tx:
            return tx.outbox.claim(f"w{n}", T, 60_000)

    lanes = [lane for lane in together(*(lambda n=n: claim(n) for n in range(12))) if lane is not None]
    assert len(lanes) == 1


def test_workers_drain_all_lanes_and_no_lane_has_two(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.plans.stamp(T)
        tx.outbox.mark(HOME, [(Ref("Goal", f"g{n}"), f"p{n}") for n in range(40)])
    busy: set[str] = set()
    sent: list[Ref] = []
    guard = threading.Lock()

    def work(me: str) -> None:
        while True:
            with sql_store.write() as tx:
                lane = tx.outbox.claim(me, T, 60_000)
            if lane is None:
                return
            with guard:
                assert lane.key not in busy
                busy.add(lane.key)
            with sql_store.read() as tx:
                marks = tx.outbox.marks(lane, 2)
            with guard:
                sent.extend(mark.ref for mark in marks)
                busy.discard(lane.key)
            with sql_store.write() as tx:
                assert tx.outbox.renew(lane, T, 60_000)
                tx.outbox.clear(marks)
                assert tx.outbox.release(lane, now=T)

    together(*(lambda n=n: work(f"w{n}") for n in range(4)))
    assert sorted(ref.id for ref in sent) == sorted(f"g{n}" for n in range(40))


def test_marking_while_a_worker_clears_loses_no_mark(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.plans.stamp(T)
        tx.outbox.mark(HOME, [(Ref("Goal", "g"), "p")])
        lane = tx.outbox.claim("w", T, 60_000)
    newest, sent = [0], [0]

    def edit() -> None:
        for n in range(1, 40):
            with sql_store.write() as tx:
                tx.plans.stamp(T)
                newest[0] = n
                tx.outbox.mark(HOME, [(Ref("Goal", "g"), "p")])

    def send() -> None:
        for _ in range(60):
            with sql_store.read() as tx:
                marks = tx.outbox.marks(lane, 10)
            if marks:
                sent[0] = newest[0]
                with sql_store.write() as tx:
                    tx.outbox.clear(marks)

    together(edit, send)
    with sql_store.read() as tx:
        assert tx.outbox.marks(lane, 10) or sent[0] == 39


def test_audits_of_many_threads_make_one_chain(sql_store: Any) -> None:
    from tests.contract.test_audit import entry

    def audit(n: int) -> None:
        for m in range(10):
            with sql_store.write() as tx:
                tx.audit.add([entry(n * 100 + m), entry(m)])

    together(*(lambda n=n: audit(n) for n in range(4)))
    with sql_store.read() as tx:
        assert tx.audit.verify() is None
        assert len(tx.audit.list(count=500)[0]) == 80


def test_a_reader_keeps_its_snapshot(sql_store: Any) -> None:
    commit(sql_store, record("Goal/a"))
    with sql_store.read() as tx:
        assert len(tx.plans.search(HUB, Query("Goal")).matches) == 1
        together(lambda: commit(sql_store, record("Goal/b")))
        assert len(tx.plans.search(HUB, Query("Goal")).matches) == 1
        assert tx.plans.get(Ref("Goal", "b")) is None
    with sql_store.read() as tx:
        assert len(tx.plans.search(HUB, Query("Goal")).matches) == 2


# ---------------------------------------------------------------------------------------------- waking


def test_those_who_wait_are_woken_by_a_commit_that_left_work(sql_store: Any) -> None:
    woken = threading.Event()
    ready = threading.Barrier(2)

    def sleep() -> None:
        sql_store.wait(0.01)
        ready.wait(30)
        for _ in range(3):
            sql_store.wait(20)
            with sql_store.read() as tx:
                if tx.plans.get(Ref("Goal", "g")):
                    woken.set()
                    return

    thread = threading.Thread(target=sleep)
    thread.start()
    ready.wait(30)
    with sql_store.write() as tx:
        stamp = tx.plans.stamp(T)
        tx.plans.save(stamp, [record("Goal/g")])
        tx.outbox.wake()
        tx.outbox.wake()
    assert woken.wait(15)
    thread.join(30)


def test_a_wake_before_the_wait_is_not_lost(sql_store: Any) -> None:
    sql_store.wait(0.3)
    with sql_store.write() as tx:
        tx.outbox.wake()
    waited = threading.Event()
    thread = threading.Thread(target=lambda: (sql_store.wait(20), waited.set()))
    thread.start()
    assert waited.wait(15)
    thread.join(30)


def test_open_calls_wake_after_the_commit_and_only_then(url: str) -> None:
    calls: list[str] = []
    store = storage.open(url, wake=lambda: calls.append("woken"))
    with store.write() as tx:
        tx.outbox.wake()
        assert calls == []
    with store.write():
        pass
    with pytest.raises(RuntimeError), store.write() as tx:
        tx.outbox.wake()
        raise RuntimeError
    assert calls == ["woken"]
    store.close()


def _other_process(url: str, count: int) -> None:
    store = storage.open(url)
    for n in range(count):
        commit(store, record(f"Task/{multiprocessing.current_process().pid}-{n}"))
    with store.write() as tx:
        tx.outbox.wake()
    store.close()


def test_processes_write_the_same_database_in_one_order(sql_store: Any, url: str) -> None:
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_other_process, args=(url, 20)) for _ in range(2)]
    for other in others:
        other.start()
    for n in range(20):
        commit(sql_store, record(f"Goal/{n}"))
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    with sql_store.read() as tx:
        seqs = sorted(stored.seq for stored in tx.plans.history(HUB, None, None, since=None, count=500, cursor=None).matches)
    assert seqs == list(range(1, 61))


def test_a_commit_of_another_process_wakes(sql_store: Any, url: str) -> None:
    sql_store.wait(0.01)
    other = multiprocessing.get_context("spawn").Process(target=_other_process, args=(url, 1))
    other.start()
    woken = threading.Event()

    def sleep() -> None:
        for _ in range(20):
            sql_store.wait(20)
            with sql_store.read() as tx:
                if tx.plans.search(HUB, Query("Task")).matches:
                    woken.set()
                    return

    thread = threading.Thread(target=sleep)
    thread.start()
    assert woken.wait(40)
    thread.join(60)
    other.join(60)


def test_a_commit_that_marks_does_not_wait_for_a_worker_that_holds_the_lane(postgres_url: str) -> None:
    """Nor can the two wait for each other: the worker may go on to commit what it found, which waits for the first commit."""
    store = storage.open(postgres_url)
    try:
        with store.write() as tx:
            tx.outbox.mark(HOME, [(Ref("Goal", "g"), "p")])
        with store.write() as working:
            lane = working.outbox.claim("worker", T, 60_000)
            assert lane is not None

            def commits() -> None:
                with store.write() as tx:
                    tx.plans.stamp(T)
                    tx.outbox.mark(HOME, [(Ref("Goal", "h"), "p")])

            with ThreadPoolExecutor(1) as pool:
                pool.submit(commits).result(20)
            assert working.outbox.renew(lane, T, 60_000)
    finally:
        store.close()
